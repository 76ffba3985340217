"""Techniques: the single measures out of which a memory level is made; each can be put on and taken off again.

All have the same verbs. `apply` and `remove` work on a model's modules by part name ("unet", "vae", "text_encoder", …),
whether they belong to a diffusers pipeline or to Easel's own bundle, and say what they did. `saving` is the share of
that part's weights or activations which the technique is expected to save, for the panel; the forecast counts bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from engine.memory.attention import EfficientAttention
from engine.memory.file_storage import FileStorage
from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.movers import ComponentOffload, GroupOffload, SequentialOffload
from engine.memory.quantize import QuantizationEngine
from engine.memory.technique import DENOISERS, TEXT_PARTS, Applied, Machine, Modules, Technique, those

_LAYERWISE = "layerwise_casting"
# The side of a tile of VAEs that do not say their own.
_TILE = 512
# Parameters of a network for which channels last pays on a CPU.
LARGE = 100_000_000


class ChannelsLast:
    """Convolutions laid out with channels last: no memory, but time from two rows up."""

    name = "channels_last"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        large = [module for module in those(modules, DENOISERS) if gains_by_channels_last(module)]
        for module in large:
            module.to(memory_format=torch.channels_last)
        return Applied(self.name, bool(large), "" if large else "it would be slower")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for module in those(modules, DENOISERS):
            module.to(memory_format=torch.contiguous_format)
        return Applied(self.name, True)

    def saving(self) -> str:
        """See `Technique`."""
        return "saves time, no memory"


class BestAttention:
    """The fastest attention kernel that the machine has."""

    name = "efficient_attention"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        chosen = EfficientAttention(machine.resources).choose()
        if chosen == "xformers":
            for module in those(modules, DENOISERS):
                EfficientAttention.use_xformers(module)
        return Applied(self.name, True, f"attention runs on {chosen}")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`: what torch brings stays, nothing is slower without a reason."""
        for module in those(modules, DENOISERS):
            EfficientAttention.use_sdpa(module)
        return Applied(self.name, True)

    def saving(self) -> str:
        """See `Technique`."""
        return "never keeps whole score matrices; also faster"


class AttentionSlicing:
    """Attention heads one after another; only where no efficient kernel exists, since it is slower than any."""

    name = "attention_slicing"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        if machine.resources.efficient_attention:
            return Applied(self.name, False, "not needed: an efficient attention kernel is there")
        for module in those(modules, DENOISERS):
            if hasattr(module, "set_attention_slice"):
                module.set_attention_slice("auto")
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for module in those(modules, DENOISERS):
            EfficientAttention.use_sdpa(module)
        return Applied(self.name, True)

    def saving(self) -> str:
        """See `Technique`."""
        return "most of the score matrices, where they are kept at all; slower"


class ForwardChunking:
    """Feed-forward layers row by row: with guidance there are two rows a picture."""

    name = "forward_chunking"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        blocks = list(_chunkable(modules))
        for block in blocks:
            # One row at a time: the batch always divides by one, the tokens need not divide by anything.
            block.set_chunk_feed_forward(chunk_size=1, dim=0)
        return Applied(self.name, bool(blocks), "" if blocks else "the model has no feed-forward blocks")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for block in _chunkable(modules):
            block.set_chunk_feed_forward(chunk_size=None, dim=0)
        return Applied(self.name, True)

    def saving(self) -> str:
        """See `Technique`."""
        return "a part of the activations from two rows up; hardly slower"


class VaeTiling:
    """Decode in overlapping tiles: the picture's size no longer counts, its seams differ by less than a grey level."""

    name = "vae_tiling"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        vae = modules.get("vae")
        if not tiles_fit(vae):
            return Applied(self.name, False, "this small VAE cannot decode in tiles, and needs little memory without")
        _tile_side(vae, config.vae_tile_size)
        return _switch(self.name, vae, "enable_tiling")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        vae = modules.get("vae")
        if tiles_fit(vae):
            _tile_side(vae, 0)
        return _switch(self.name, vae, "disable_tiling")

    def saving(self) -> str:
        """See `Technique`."""
        return "nearly all of what decoding a large picture takes; slower decode"


class VaeSlicing:
    """Decode the pictures of a batch one by one."""

    name = "vae_slicing"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        return _switch(self.name, modules.get("vae"), "enable_slicing")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        return _switch(self.name, modules.get("vae"), "disable_slicing")

    def saving(self) -> str:
        """See `Technique`."""
        return "what decoding several pictures together takes"


class Fp8Storage:
    """Weights of UNet and text encoders rest in FP8 (e4m3) and are widened layer by layer; norms stay as they are.

    The VAE is left alone: it is small, and its numbers are what people see.
    """

    name = "fp8_storage"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        for module in those(modules, (*DENOISERS, *TEXT_PARTS)):
            if not _has_hook(module, _LAYERWISE):
                QuantizationEngine(machine.compute).quantize_model(module, torch.float8_e4m3fn)
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`: the weights are wide again, but rounded; only their file knows what they were."""
        rounded: list[str] = []
        for part, module in modules.items():
            if isinstance(module, torch.nn.Module) and _has_hook(module, _LAYERWISE):
                for layer in module.modules():
                    _widen(layer)
                rounded.append(part)
        return Applied(self.name, True, "the weights were rounded" if rounded else "", tuple(rounded))

    def saving(self) -> str:
        """See `Technique`."""
        return "half of the 16-bit weights; pictures differ slightly"


TECHNIQUES: dict[str, Technique] = {
    technique.name: technique
    for technique in (
        ChannelsLast(),
        BestAttention(),
        AttentionSlicing(),
        ForwardChunking(),
        VaeTiling(),
        VaeSlicing(),
        FileStorage(),
        Fp8Storage(),
        ComponentOffload(),
        GroupOffload(),
        SequentialOffload(),
    )
}


def _chunkable(modules: Modules) -> Iterable[Any]:
    for module in those(modules, DENOISERS):
        yield from (block for block in module.modules() if hasattr(block, "set_chunk_feed_forward"))


def gains_by_channels_last(module: torch.nn.Module, device: torch.device | None = None) -> bool:
    """Large networks do, from two rows up, and on a GPU all of them. On a CPU the group norms of a small one lose more
    than its convolutions win: a step of the starter took 7 to 10 % longer, with ControlNets and without. `device`:
    where it will compute; None: where its weights lie."""
    weights = list(module.parameters())
    on_cpu = bool(weights) and (device or weights[0].device).type == "cpu"
    return not on_cpu or sum(weight.numel() for weight in weights) >= LARGE


def tiles_fit(vae: Any) -> bool:
    """Whether the VAE's own tiles join: AutoencoderTiny of diffusers 0.42 takes every tile to be enlarged 8 times."""
    assumed = getattr(vae, "spatial_scale_factor", None)
    return assumed is None or assumed == 2 ** (len(vae.config.block_out_channels) - 1)


def _tile_side(vae: Any, side: int) -> None:
    """Set the side of a decoder's tiles in pixels; 0 is the VAE's own."""
    if not hasattr(vae, "tile_latent_min_size"):
        return
    sample = getattr(vae.config, "sample_size", None) or _TILE
    own = int(sample[0] if isinstance(sample, list | tuple) else sample)
    chosen = min(own, side) if side else own
    vae.tile_sample_min_size = chosen
    vae.tile_latent_min_size = max(8, chosen // 2 ** (len(vae.config.block_out_channels) - 1))


def _switch(name: str, vae: Any, method: str) -> Applied:
    if not hasattr(vae, method):
        return Applied(name, False, "the VAE cannot do that")
    getattr(vae, method)()
    return Applied(name, True)


def _has_hook(module: Any, name: str) -> bool:
    return any(
        hasattr(layer, "_diffusers_hook") and layer._diffusers_hook.get_hook(name) is not None
        for layer in module.modules()
    )


def _widen(layer: Any) -> None:
    """Take layerwise casting off; diffusers itself refuses to, since the weights stay rounded, which we tell."""
    registry: Any = getattr(layer, "_diffusers_hook", None)
    hook = registry.get_hook(_LAYERWISE) if registry is not None else None
    if registry is not None and hook is not None:
        hook.deinitalize_hook = lambda module: module.to(hook.compute_dtype)
        registry.remove_hook(_LAYERWISE, recurse=False)
