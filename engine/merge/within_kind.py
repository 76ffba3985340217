"""(IA)³ with (IA)³, and GLoRA with GLoRA: what stacking them does is of their kind again, so no base is needed.

Stacked in order, each on what the ones before it made:
- (IA)³: W ∘ Π (1 + sᵢvᵢ), so the merged vector is Π (1 + sᵢvᵢ) − 1.
- GLoRA: W₂ = W₁(I + s₂A₂) + s₂B₂ with W₁ = W(I + A) + B gives A' = A + s₂(I + A)A₂ and B' = B(I + s₂A₂) + s₂B₂;
  written as products, both have the ranks' sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.adapters.kinds.glora import GLora
from engine.adapters.kinds.ia3 import IA3
from engine.adapters.kinds.parts import matrix
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch


def merged_within(shares: Sequence[tuple[ModulePatch, float]], target: TargetModule) -> Mapping[str, Tensor] | None:
    """The module's tensors by LyCORIS' suffixes, float32; None where the patches are not of one such kind."""
    patches = [patch for patch, _ in shares]
    vectors = [patch for patch in patches if isinstance(patch, IA3)]
    if len(vectors) == len(patches) and len({vector.on_input for vector in vectors}) == 1:
        # peft's vectors on outputs scale the bias too, which LyCORIS's do not.
        scales_bias = target.bias and not vectors[0].on_input and any(vector.factors for vector in vectors)
        return None if scales_bias else _ia3(vectors, [scale for _, scale in shares])
    generalised = [patch for patch in patches if isinstance(patch, GLora)]
    if len(generalised) == len(patches):
        return _glora(generalised, [scale for _, scale in shares], target)
    return None


def _ia3(vectors: Sequence[IA3], scales: Sequence[float]) -> Mapping[str, Tensor]:
    product = torch.ones(vectors[0].vector.numel(), dtype=torch.float64)
    for each, scale in zip(vectors, scales, strict=True):
        vector = each.vector.double() - 1.0 if each.factors else each.vector.double()
        product *= 1.0 + scale * vector
    on_input = vectors[0].on_input
    vector = (product - 1.0).float()
    # LyCORIS keeps a row vector for inputs, a column for outputs; the flag as a number keeps the file aligned.
    return {"weight": vector.reshape(1, -1) if on_input else vector.reshape(-1, 1), "on_input": torch.tensor(on_input)}


def _glora(patches: Sequence[GLora], scales: Sequence[float], target: TargetModule) -> Mapping[str, Tensor]:
    rows, width, kernel = target.shape[0], target.shape[1], tuple(target.shape[2:])
    up, down = torch.zeros(width, 0), torch.zeros(0, width)
    added_up, added_down = torch.zeros(rows, 0), torch.zeros(0, width, *kernel)
    for patch, scale in zip(patches, scales, strict=True):
        more_up, more_down = matrix(patch.up) * (patch.factor * scale), matrix(patch.down)
        thin_up, thin_down = patch.added.low_rank()
        moved = (added_down.movedim(1, -1) @ more_up) @ more_down
        added_down = torch.cat([added_down + moved.movedim(-1, 1), thin_down.reshape(-1, width, *kernel)])
        added_up = torch.cat([added_up, thin_up * scale], 1)
        up = torch.cat([up, more_up + up @ (down @ more_up)], 1)
        down = torch.cat([down, more_down])
    ones = [1] * len(kernel)
    return {
        "a1.weight": up.reshape(*up.shape, *ones),
        "a2.weight": down.reshape(*down.shape, *ones),
        "b1.weight": added_up.reshape(*added_up.shape, *ones),
        "b2.weight": added_down,
        "alpha": torch.tensor(float(down.shape[0])),
    }
