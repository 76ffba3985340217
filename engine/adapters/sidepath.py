"""SidePath: adapters beside the layers instead of in them, for weights that must not be written to (quantized ones)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from engine.adapters.kinds.operation import on_channels, operate
from engine.adapters.merged import Moved
from engine.adapters.plan import NO_CHANGES, Changes, PatchPlan, signature_of
from engine.adapters.work_in import bias_of, work_in


class SidePath:
    """The same result as `MergedWeights`, at a cost per step and no cost per move: each layer's output gets its share.

    Kinds with a path of their own (`bypass`) cost two thin products; the others, and layers on which the order matters,
    cost a second pass of the layer with ΔW.

    Args:
        component: "unet", "text_encoder" or "text_encoder_2".
        root: the module; its weights are not touched.
    """

    def __init__(self, component: str, root: nn.Module) -> None:
        self.component = component
        self._modules: Mapping[str, nn.Module] = {path: each for path, each in root.named_modules() if path}
        self._carried: dict[str, tuple[Changes, RemovableHandle]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes beyond the model's own."""
        return 0

    def move_to(self, plan: PatchPlan) -> Moved:
        """Let the layers carry `plan` from the next call on."""
        wanted = plan.of(self.component)
        moved = 0
        for path in dict.fromkeys((*self._carried, *wanted)):
            before, changes = self._carried.get(path), wanted.get(path, ())
            if before is not None and signature_of(before[0]) == signature_of(changes):
                continue
            moved += 1
            if before is not None:
                before[1].remove()
                del self._carried[path]
            if changes:
                handle = self._modules[path].register_forward_hook(partial(_add_shares, changes))
                self._carried[path] = (changes, handle)
        return Moved(moved, len(self._carried))

    def restore(self) -> Moved:
        """Take every side path away."""
        return self.move_to(NO_CHANGES)


def _add_shares(changes: Changes, module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
    x: Tensor = inputs[0]
    if len(changes) == 1 or not any(change.patch.needs_base for change in changes):
        asked = [change.patch.bypass(x, module, out, change.scale) for change in changes]
        shares = [share for share in asked if share is not None]
        if len(shares) == len(changes):
            return torch.stack([out, *shares]).sum(0) if len(shares) > 1 else out + shares[0]
    return out + _whole(changes, module, x, out)


def _whole(changes: Changes, module: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    """The share of all changes together, by way of ΔW."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    moved = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
    work_in(weight.detach(), changes, moved)
    own = getattr(module, "bias", None)
    bias = bias_of(own, changes)
    share = _by_kind(module, x, moved, weight, out)
    if bias is not None:
        share = share + on_channels(module, bias if own is None else bias - own.float(), out)
    return share.to(out.dtype)


def _by_kind(module: nn.Module, x: Tensor, moved: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    if isinstance(module, nn.Embedding):
        return nn.functional.embedding(x, moved - weight.float())
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        difference = moved - weight.float()
        # The normalised input, times what the weight has changed by.
        if isinstance(module, nn.LayerNorm):
            return nn.functional.layer_norm(x, module.normalized_shape, None, None, module.eps) * difference.to(x)
        plain = nn.functional.group_norm(x, module.num_groups, None, None, module.eps)
        return plain * on_channels(module, difference, out)
    share = operate(module, x, moved - weight.float())
    if share is None:
        raise TypeError(f"{type(module).__name__} has no side path")
    return share
