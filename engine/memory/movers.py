"""Movers: the techniques that keep weights in RAM and bring them to the GPU when they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.sizes import GIB, module_nbytes
from engine.memory.technique import DENOISERS, Applied, Machine, Modules, ordered, those

_GROUP_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


class ComponentOffload:
    """Each part is on the GPU only while it works."""

    name = "component_offload"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        if not machine.travels:
            return _stays(self.name, machine)
        from accelerate import cpu_offload_with_hook

        hook = None
        for part in ordered(modules):
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

        for part in ordered(modules):
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
        for part in ordered(modules):
            if part in DENOISERS:
                budget -= _stream(modules[part], machine, budget, streams=config.use_streams)
        return Applied(self.name, True)

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`."""
        for module in those(modules, DENOISERS):
            for layer in module.modules():
                for name in _GROUP_HOOKS:
                    _drop_hook(layer, name)
            module.to(machine.onload)
        return _unhook(self.name, {part: m for part, m in modules.items() if part not in DENOISERS}, machine)

    def saving(self) -> str:
        """See `Technique`."""
        return "the weights that do not fit; they travel while others compute"


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


def _drop_hook(layer: Any, name: str) -> None:
    registry = getattr(layer, "_diffusers_hook", None)
    if registry is not None and registry.get_hook(name) is not None:
        registry.remove_hook(name, recurse=False)
