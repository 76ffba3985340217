"""One module as it goes into the file: its form, its numbers in the file's dtype, and what both lose.

A thin change that nothing reduces is rounded as little as can be: all factors (weights, alpha ÷ rank) go into one side,
the other side keeps the file's own numbers, or those times a power of two, which rounds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import frexp, inf, sqrt

import torch
from torch import Tensor

from engine.adapters.modules import ModuleKey, TargetModule
from engine.merge.delta import Delta, distance2, norm2, norm2_and_rounding2
from engine.merge.reduction import auto_reduction, lossless, reduce
from engine.merge.writer import FILE_DTYPES
from engine.protocol.merge import AdapterTarget

# Powers of two by which both sides of a thin change may differ before they are brought together.
_FAR_APART = 3


@dataclass(frozen=True)
class Form:
    """How one module stands in the file.

    Attributes:
        rank: of its thin form, 0 where it has none; full_rank: before anything was reduced.
        energy: the share of ‖exact‖² that is kept. alpha: the file's, 0 where it has none.
    """

    key: ModuleKey
    kind: str
    rank: int
    full_rank: int
    energy: float
    alpha: float


@dataclass(frozen=True)
class Measured:
    """What one module loses: ‖written − exact‖² and ‖exact‖², and the same against the stack."""

    form: Form
    error2: float
    size2: float
    parity2: float
    stack2: float


@dataclass(frozen=True)
class Written:
    """One module as it goes into the file.

    Attributes:
        tensors: by LyCORIS' suffixes, in the file's dtype.
        measure: works out what it loses, from tensors that nobody changes any more: any thread may call it.
    """

    form: Form
    tensors: Mapping[str, Tensor]
    measure: Callable[[], Measured]


def written_delta(
    key: ModuleKey,
    delta: Delta,
    stack: Delta | None,
    target: TargetModule,
    asked: AdapterTarget,
    *,
    alpha: float = 0.0,
) -> Written:
    """A change in the form that the target asks for, rounded to its dtype.

    Args:
        alpha: that of the whole file; 0: this module decides it. Ranks may differ, but some readers (diffusers) take
            one alpha for all modules, so it must not.
    """
    energy = 1.0
    final = delta
    # Norms, biases, word lists: there is no thin form that adapters could hold.
    matrix_like = target.kind in ("linear", "conv")
    if matrix_like and asked.kind != "full":
        rule = auto_reduction(delta, asked.reduction, asked.kind)
        if rule is not None:
            reduced = reduce(delta, rule)
            final, energy = reduced.delta, reduced.energy
        elif delta.dense is not None and (delta.expanded or asked.kind == "lora" or asked.layout == "diffusers"):
            final = lossless(delta)
    elif delta.thin is not None:
        final = replace(delta, thin=None, dense=delta.matrix())
    dtype = FILE_DTYPES[asked.dtype]
    if asked.layout == "diffusers" or final.thin is None:
        alpha = float(final.rank) if final.thin is not None else 0.0
    else:
        alpha = alpha or float(final.rank)
    as_it_is = final is delta
    final = _levelled(final, alpha)
    tensors = _tensors(final, target, dtype, alpha)
    readable = _read_back(tensors, final, alpha)
    form = Form(key, _kind(final, target), final.rank if final.thin is not None else 0, delta.rank, energy, alpha)

    def measure() -> Measured:
        if as_it_is:
            size2, error2 = norm2_and_rounding2(final, readable)
        else:
            size2, error2 = norm2(delta), distance2(readable, delta)
        if stack is None:
            return Measured(form, error2, size2, error2, size2)
        return Measured(form, error2, size2, distance2(readable, stack), norm2(stack))

    return Written(form, tensors, measure)


def _levelled(delta: Delta, alpha: float) -> Delta:
    """The same change, its thin sides brought together by a power of two, which rounds nothing.

    They are left as they are unless they are so far apart that one would leave what float16 holds well.
    """
    if delta.thin is None:
        return delta
    up, down = delta.thin
    sizes = [float(torch.linalg.vector_norm(each)) / sqrt(each.numel()) for each in (up, down)]
    apart = up.shape[1] / alpha * sizes[0] / sizes[1] if sizes[1] > 0.0 else 0.0
    halvings = frexp(apart)[1] // 2 if 0.0 < apart < inf else 0
    if abs(halvings) < _FAR_APART:
        return delta
    return replace(delta, thin=(up * 2.0**-halvings, down * 2.0**halvings))


def _tensors(delta: Delta, target: TargetModule, dtype: torch.dtype, alpha: float) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if delta.thin is not None:
        up, down = delta.thin
        ones, factor = [1] * (len(target.shape) - 2), up.shape[1] / alpha
        whole = up if factor == 1.0 else up * factor
        found["lora_up.weight"] = whole.reshape(*up.shape, *ones).to(dtype)
        found["lora_down.weight"] = down.reshape(-1, *target.shape[1:]).to(dtype)
        found["alpha"] = alpha_tensor(alpha, dtype)
    elif delta.dense is not None:
        found["w_norm" if delta.norm_layer else "diff"] = delta.dense.reshape(target.shape).to(dtype)
    if delta.bias is not None:
        found["b_norm" if "w_norm" in found else "diff_b"] = delta.bias.to(dtype)
    return found


def alpha_tensor(alpha: float, dtype: torch.dtype) -> Tensor:
    """As wide as the file's other tensors, so that they stay aligned; float16 holds every rank there is exactly."""
    return torch.tensor(alpha, dtype=torch.float32 if dtype == torch.float32 else torch.float16)


def _read_back(tensors: Mapping[str, Tensor], delta: Delta, alpha: float) -> Delta:
    """The change that the rounded tensors say."""
    bias = tensors.get("b_norm", tensors.get("diff_b"))
    dense = tensors.get("w_norm", tensors.get("diff"))
    thin = None
    if "lora_up.weight" in tensors:
        up, down = tensors["lora_up.weight"].float().flatten(1), tensors["lora_down.weight"].float().flatten(1)
        factor = up.shape[1] / alpha
        thin = (up if factor == 1.0 else up / factor, down)
    return replace(
        delta,
        thin=thin,
        dense=None if dense is None else dense.float().reshape(delta.shape[0], -1),
        bias=None if bias is None else bias.float(),
    )


def written_within(key: ModuleKey, tensors: Mapping[str, Tensor], asked: AdapterTarget) -> Written:
    """(IA)³ or GLoRA merged within its kind, by LyCORIS' suffixes, float32, rounded to the file's dtype."""
    dtype = FILE_DTYPES[asked.dtype]
    cast = {
        suffix: alpha_tensor(float(tensor), dtype) if tensor.dim() == 0 else tensor.to(dtype)
        for suffix, tensor in tensors.items()
    }
    kind, rank = ("(IA)³", 0) if "on_input" in tensors else ("GLoRA", int(tensors["alpha"]))
    form = Form(key, kind, rank, rank, energy=1.0, alpha=0.0)

    def measure() -> Measured:
        whole = {suffix: tensor.double() for suffix, tensor in tensors.items() if tensor.dim()}
        size2 = sum(float(tensor.square().sum()) for tensor in whole.values())
        error2 = sum(float((cast[suffix].double() - tensor).square().sum()) for suffix, tensor in whole.items())
        return Measured(form, error2, size2, error2, size2)

    return Written(form, cast, measure)


def _kind(delta: Delta, target: TargetModule) -> str:
    if delta.thin is not None:
        return "LoCon" if target.kind == "conv" and max(target.shape[2:]) > 1 else "LoRA"
    return "Norm" if delta.norm_layer else "Full"
