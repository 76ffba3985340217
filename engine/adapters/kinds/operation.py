"""The operation of a layer with another weight: what side paths are made of."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

_POINTWISE = (F.conv1d, F.conv2d, F.conv3d)


def operate(module: nn.Module, x: Tensor, weight: Tensor) -> Tensor | None:
    """`module(x)` with that weight and no bias, in x's dtype; None where the module has no such operation.

    Args:
        weight: (any out, in) or (any out, in / groups, *kernel).
    """
    weight = weight.to(x)
    if isinstance(module, nn.Linear):
        return F.linear(x, weight)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        # The layer's own method, because it knows the padding mode (tiling pictures pad in a circle).
        return cast(Tensor, module._conv_forward(x, weight, None))
    return None


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A matrix (out, in) on the channels: the last axis of x where it has at most 3, else the second."""
    weight = weight.to(x)
    dims = x.dim() - 2
    return _POINTWISE[dims - 1](x, weight.reshape(*weight.shape[:2], *[1] * dims))


def on_channels(module: nn.Module, vector: Tensor, out: Tensor) -> Tensor:
    """A vector of the channels, shaped so that it spreads over `out`."""
    if isinstance(module, nn.Linear) or out.dim() < 3:
        return vector.to(out)
    return vector.to(out).reshape(-1, *[1] * (out.dim() - 2))


def without_bias(module: nn.Module, out: Tensor) -> Tensor:
    """The module's output less its bias."""
    bias = getattr(module, "bias", None)
    return out if bias is None else out - on_channels(module, bias, out)
