"""Attention of a UNet lent to units for one call: processors are put in, and the ones before are put back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

# From an attention module and the processor that it has to the one that it shall have.
Wrap = Callable[[str, Any], Any]


def attentions(unet: nn.Module, name: str) -> dict[str, Any]:
    """A UNet's attention modules by their place: `name` is "attn1" (to itself) or "attn2" (to the text)."""
    return {place: module for place, module in unet.named_modules() if place.rpartition(".")[2] == name}


@contextlib.contextmanager
def lent(modules: Mapping[str, Any], wrap: Wrap) -> Iterator[None]:
    """While inside, each module has the processor that `wrap` makes of its place and its own processor.

    Contexts without such units never see it: the UNet is shared, its attention is lent for one call.
    """
    before = {place: module.processor for place, module in modules.items()}
    try:
        for place, module in modules.items():
            module.processor = wrap(place, before[place])
        yield
    finally:
        for place, module in modules.items():
            module.processor = before[place]
