"""Stopping inside a forward pass: between the blocks of a UNet, the layers and tiles of a VAE."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Up to here a block takes milliseconds; in larger models the layers inside the blocks are stopping points too.
SMALL_MODEL = 200_000_000


class Stopped(Exception):
    """Somebody asked to stop. The model and every context are as they were before the call."""


@contextlib.contextmanager
def stopping_at(points: Iterable[Any], should_stop: Callable[[], bool] | None) -> Iterator[None]:
    """While inside, `should_stop` is asked whenever one of these modules is about to run; True raises `Stopped`."""
    if should_stop is None:
        yield
        return

    def ask(*_: Any) -> None:
        if should_stop():
            raise Stopped

    handles = [point.register_forward_pre_hook(ask) for point in points]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def unet_points(unet: Any) -> tuple[Any, ...]:
    """Where a UNet may be stopped: at its blocks, and in large ones at each ResNet and transformer layer."""
    blocks = [*unet.down_blocks, *([unet.mid_block] if unet.mid_block is not None else []), *unet.up_blocks]
    if sum(parameter.numel() for parameter in unet.parameters()) <= SMALL_MODEL:
        return tuple(blocks)
    layers = ("ResnetBlock2D", "BasicTransformerBlock")
    return tuple(module for block in blocks for module in block.modules() if type(module).__name__ in layers)


def vae_points(vae: Any) -> tuple[Any, ...]:
    """Where a VAE's decoding may be stopped: at the decoder itself (each tile runs it once) and at its layers."""
    decoder = vae.decoder
    layers = [*getattr(decoder, "up_blocks", ()), *getattr(decoder, "layers", ())]
    return (decoder, *layers)
