"""Methods that look at single values: each share's change is spelt out, one module at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.loading.torchvision_guard import guard_torchvision
from engine.merge.delta import Delta
from engine.merge.methods.base import Share

Merge = Callable[[list[Tensor], Tensor], Tensor]
"""(tensors of one shape, their weights (n,)) → one tensor."""


def on_values(shares: Sequence[Share], merge: Merge) -> Delta:
    """The merge of the weights' values, and of the biases' where there are any."""
    guard_torchvision()
    first = shares[0].delta
    result = Delta(
        first.shape,
        bias=_merged([(share.delta.bias, share.weight) for share in shares], merge),
        norm_layer=first.norm_layer,
    )
    weights = [(share.delta.matrix() if share.delta.rank else None, share.weight) for share in shares if share.weight]
    dense = _merged(weights, merge)
    # A dense result has no rank to speak of: "auto" makes it thin again.
    return replace(result, dense=dense, expanded=dense is not None and not first.norm_layer)


def _merged(values: Sequence[tuple[Tensor | None, float]], merge: Merge) -> Tensor | None:
    present = [(value, weight) for value, weight in values if value is not None]
    if not present:
        return None
    merged = merge([value for value, _ in present], torch.tensor([weight for _, weight in present]))
    return merged.float()
