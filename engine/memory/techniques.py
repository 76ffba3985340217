"""Techniques: the single measures out of which a memory level is made; each can be put on and taken off again.

All have the same verbs. `apply` and `remove` work on a model's modules by part name ("unet", "vae", "text_encoder", …),
whether they belong to a diffusers pipeline or to Easel's own bundle, and say what they did. `saving` is the share of
that part's weights or activations which the technique is expected to save, for the panel; the forecast counts bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from engine.memory.attention import EfficientAttention
from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.quantize import QuantizationEngine
from engine.memory.resources import SystemResources
from engine.memory.sizes import GIB, module_nbytes

Modules = Mapping[str, Any]
TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
DENOISERS = ("unet", "transformer", "controlnet")
# The order in which parts work: each leaves the GPU when the next one comes.
WORK_ORDER = (*TEXT_PARTS, "image_encoder", "controlnet", "unet", "transformer", "vae")
_LAYERWISE = "layerwise_casting"
_GROUP_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


@dataclass(frozen=True)
class Applied:
    """What a technique did. `why` says in a sentence why it did nothing, or what it cost; `reload` names parts whose
    weights must be read again from their file to be what they were."""

    name: str
    done: bool
    why: str = ""
    reload: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """Where the modules compute and rest."""

    resources: SystemResources
    onload: torch.device
    offload: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def travels(self) -> bool:
        """Whether moving weights away saves anything."""
        return self.onload != self.offload and not self.resources.unified


class Technique(Protocol):
    """One measure."""

    name: str

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """Put it on."""
        ...

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """Take it off; the modules are then as before, but for what `Applied.reload` names."""
        ...

    def saving(self) -> str:
        """What it saves and costs, in words."""
        ...


class ChannelsLast:
    """Convolutions laid out with channels last: no memory, but time from two rows up."""

    name = "channels_last"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        for module in _those(modules, DENOISERS):
            module.to(memory_format=torch.channels_last)
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for module in _those(modules, DENOISERS):
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
            for module in _those(modules, DENOISERS):
                EfficientAttention.use_xformers(module)
        return Applied(self.name, True, f"attention runs on {chosen}")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`: what torch brings stays, nothing is slower without a reason."""
        for module in _those(modules, DENOISERS):
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
        for module in _those(modules, DENOISERS):
            if hasattr(module, "set_attention_slice"):
                module.set_attention_slice("auto")
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for module in _those(modules, DENOISERS):
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
        _tile_side(vae, config.vae_tile_size)
        return _switch(self.name, vae, "enable_tiling")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        vae = modules.get("vae")
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
        for module in _those(modules, (*DENOISERS, *TEXT_PARTS)):
            if not _has_hook(module, _LAYERWISE):
                QuantizationEngine().quantize_model(module, torch.float8_e4m3fn)
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


class ComponentOffload:
    """Each part is on the GPU only while it works."""

    name = "component_offload"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        if not machine.travels:
            return _stays(self.name, machine)
        from accelerate import cpu_offload_with_hook

        hook = None
        for part in _ordered(modules):
            module = modules[part]
            module.to(machine.offload)
            _, hook = cpu_offload_with_hook(module, machine.onload, prev_module_hook=hook)
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`: the parts lie where they compute afterwards."""
        return _unhook(self.name, modules, machine)

    def saving(self) -> str:
        """See `Technique`."""
        return "all weights but the largest part's"


class SequentialOffload:
    """Each layer is on the GPU only while it works: the least memory that there is, and by far the slowest."""

    name = "sequential_offload"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        if not machine.travels:
            return _stays(self.name, machine)
        from accelerate import cpu_offload

        for part in _ordered(modules):
            cpu_offload(modules[part].to(machine.offload), machine.onload, offload_buffers=True)
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        return _unhook(self.name, modules, machine)

    def saving(self) -> str:
        """See `Technique`."""
        return "nearly all weights; every step moves all of them"


class GroupOffload:
    """Blocks of the UNet travel in groups while others compute; as many as fit stay (`resident_gb`).

    Text encoders and VAE travel whole, as under `ComponentOffload`: they work once a picture.
    """

    name = "group_offload"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        if not machine.travels:
            return _stays(self.name, machine)
        others = {part: module for part, module in modules.items() if part not in DENOISERS}
        ComponentOffload().apply(others, machine, config)
        budget = int(config.resident_gb * GIB)
        for part in _ordered(modules):
            if part in DENOISERS:
                budget -= _stream(modules[part], machine, budget, streams=config.use_streams)
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for module in _those(modules, DENOISERS):
            for layer in module.modules():
                for name in _GROUP_HOOKS:
                    _drop_hook(layer, name)
            module.to(machine.onload)
        return _unhook(self.name, {part: m for part, m in modules.items() if part not in DENOISERS}, machine)

    def saving(self) -> str:
        """See `Technique`."""
        return "the weights that do not fit; they travel while others compute"


TECHNIQUES: dict[str, Technique] = {
    technique.name: technique
    for technique in (
        ChannelsLast(),
        BestAttention(),
        AttentionSlicing(),
        ForwardChunking(),
        VaeTiling(),
        VaeSlicing(),
        Fp8Storage(),
        ComponentOffload(),
        GroupOffload(),
        SequentialOffload(),
    )
}


def resident_blocks(sizes: Iterable[tuple[str, int]], budget: int) -> tuple[str, ...]:
    """Names of the blocks that stay within `budget` bytes. All are used once a step, so only bytes count: largest first
    fills the budget best."""
    kept: list[str] = []
    left = budget
    for name, size in sorted(sizes, key=lambda row: (-row[1], row[0])):
        if size <= left:
            kept.append(name)
            left -= size
    return tuple(kept)


def _stream(module: Any, machine: Machine, budget: int, *, streams: bool) -> int:
    """Let the module's blocks travel, but for those that fit into `budget`; returns the bytes that stay."""
    from diffusers.hooks import apply_group_offloading

    blocks = dict(_blocks(module))
    sizes = {name: module_nbytes(block) for name, block in blocks.items()}
    kept = set(resident_blocks(sizes.items(), budget))
    stream = streams and machine.onload.type == "cuda"
    for name, block in blocks.items():
        if name in kept:
            block.to(machine.onload)
        else:
            apply_group_offloading(
                block, machine.onload, machine.offload, "leaf_level", use_stream=stream, non_blocking=stream
            )
    return sum(sizes[name] for name in kept)


def _blocks(module: Any) -> Iterable[tuple[str, Any]]:
    """The pieces of a network that are moved together: the entries of its lists, and its other children."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.ModuleList):
            yield from ((f"{name}.{index}", entry) for index, entry in enumerate(child))
        else:
            yield name, child


def _those(modules: Modules, parts: Iterable[str]) -> list[Any]:
    return [modules[part] for part in parts if isinstance(modules.get(part), torch.nn.Module)]


def _ordered(modules: Modules) -> list[str]:
    known = [part for part in WORK_ORDER if part in modules]
    return [part for part in (*known, *(part for part in modules if part not in WORK_ORDER))
            if isinstance(modules[part], torch.nn.Module)]  # fmt: skip


def _chunkable(modules: Modules) -> Iterable[Any]:
    for module in _those(modules, DENOISERS):
        yield from (block for block in module.modules() if hasattr(block, "set_chunk_feed_forward"))


def _tile_side(vae: Any, side: int) -> None:
    """Set the side of a decoder's tiles in pixels; 0 is the VAE's own."""
    if not hasattr(vae, "tile_latent_min_size"):
        return
    sample = vae.config.sample_size
    own = int(sample[0] if isinstance(sample, list | tuple) else sample)
    chosen = min(own, side) if side else own
    vae.tile_sample_min_size = chosen
    vae.tile_latent_min_size = max(8, chosen // 2 ** (len(vae.config.block_out_channels) - 1))


def _switch(name: str, vae: Any, method: str) -> Applied:
    if not hasattr(vae, method):
        return Applied(name, False, "the VAE cannot do that")
    getattr(vae, method)()
    return Applied(name, True)


def _stays(name: str, machine: Machine) -> Applied:
    where = "GPU and CPU share one memory" if machine.resources.unified else "there is no GPU"
    return Applied(name, False, f"nothing to move: {where}")


def _unhook(name: str, modules: Modules, machine: Machine) -> Applied:
    from accelerate.hooks import remove_hook_from_module

    for module in (m for m in modules.values() if isinstance(m, torch.nn.Module)):
        if any(hasattr(layer, "_hf_hook") for layer in module.modules()):
            remove_hook_from_module(module, recurse=True)
            module.to(machine.onload)
    return Applied(name, True)


def _has_hook(module: Any, name: str) -> bool:
    return any(
        hasattr(layer, "_diffusers_hook") and layer._diffusers_hook.get_hook(name) is not None
        for layer in module.modules()
    )


def _widen(layer: Any) -> None:
    """Take layerwise casting off; diffusers itself refuses to, since the weights stay rounded, which we tell."""
    registry = getattr(layer, "_diffusers_hook", None)
    hook = None if registry is None else registry.get_hook(_LAYERWISE)
    if hook is not None:
        hook.deinitalize_hook = lambda module: module.to(hook.compute_dtype)
        registry.remove_hook(_LAYERWISE, recurse=False)


def _drop_hook(layer: Any, name: str) -> None:
    registry = getattr(layer, "_diffusers_hook", None)
    if registry is not None and registry.get_hook(name) is not None:
        registry.remove_hook(name, recurse=False)
