"""Offloading: where each part of a model rests, and how its weights get to where they are needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch

from engine.errors import SpecError
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel
from engine.memory.meter import Meter
from engine.memory.optimizer import MemoryOptimizer, modules_of, moves
from engine.memory.resources import SystemResources, detect_resources
from engine.memory.technique import Applied


class OffloadStrategy(StrEnum):
    """Where parts rest.

    AUTO: by the VRAM that is free. SEQUENTIAL: everything in RAM, layer by layer on the GPU. CPU_OFFLOAD: the UNet on
    the GPU, the rest in RAM until it works. FULL_GPU: everything on the GPU.
    """

    AUTO = "auto"
    SEQUENTIAL = "sequential"
    CPU_OFFLOAD = "cpu_offload"
    FULL_GPU = "full_gpu"


@dataclass(frozen=True)
class OffloadConfig:
    """Where each part rests: a device name. What rests on "cpu" beside a GPU still computes on the GPU, moved there for
    the time of its work. `note` says in a sentence why there is nothing to distribute."""

    unet_device: str
    text_encoder_device: str
    vae_device: str
    lora_device: str
    sequential: bool = False
    note: str = ""

    def device_of(self, part: str) -> str:
        """Where a part ("unet", "text_encoder_2", "vae", …) rests; parts that are not named go with the UNet."""
        if part.startswith("text_encoder"):
            return self.text_encoder_device
        return self.vae_device if part == "vae" else self.unet_device


# Free VRAM in GB → whether everything streams, and what rests on the GPU: UNet, text encoders, VAE.
_SEQUENTIAL_BELOW, _UNET_BELOW, _ENCODERS_BELOW = 8.0, 12.0, 16.0


class ModelOffloader:
    """Distributes the parts of a pipeline.

    Args:
        strategy: see `OffloadStrategy`.
        max_vram_gb: use no more, however much is free; None is no limit.
        resources: the machine; detected where it is None.

    Raises:
        SpecError: `memory_budget_out_of_range`, `max_vram_gb` is not above zero.
    """

    def __init__(
        self,
        strategy: OffloadStrategy | str = OffloadStrategy.AUTO,
        max_vram_gb: float | None = None,
        *,
        resources: SystemResources | None = None,
        meter: Meter | None = None,
    ) -> None:
        if max_vram_gb is not None and not max_vram_gb > 0:
            raise SpecError(
                "memory_budget_out_of_range",
                f"A limit of {max_vram_gb} GB of VRAM leaves nothing to compute with.",
                "Give a number above zero, or leave the limit out.",
            )
        self.strategy = OffloadStrategy(strategy)
        self.max_vram_gb = max_vram_gb
        self.resources = resources or detect_resources()
        self._meter = meter

    @property
    def usable_vram_gb(self) -> float:
        """What may be used: the free VRAM, or the limit where that is less."""
        free = self.resources.available_vram_gb
        return free if self.max_vram_gb is None else min(free, self.max_vram_gb)

    def distribute_pipeline(self, pipeline: Any = None) -> OffloadConfig:
        """Where the parts rest. Nothing is moved. Without a GPU everything stays in RAM, and `note` says so.

        AUTO: below 8 GB everything streams; below 12 GB the UNet stays on the GPU, below 16 GB the text encoders too,
        from there on everything. The numbers are a first guess; `engine.memory.plan` decides by the model's real size.
        """
        device = self.resources.device
        if not self.resources.has_gpu:
            why = "GPU and CPU share one memory" if self.resources.unified else "this machine has no GPU"
            return OffloadConfig(device, device, device, device, note=f"Nothing is moved: {why}.")
        if self.strategy is OffloadStrategy.SEQUENTIAL:
            return self._sequential()
        if self.strategy is OffloadStrategy.CPU_OFFLOAD:
            return OffloadConfig(device, "cpu", "cpu", device)
        if self.strategy is OffloadStrategy.FULL_GPU:
            return OffloadConfig(device, device, device, device)
        return self._auto(device)

    def apply(self, pipeline: Any, config: OffloadConfig | None = None) -> tuple[Applied, ...]:
        """Put the parts of a diffusers pipeline where `config` says (the strategy's own where it is None).

        Parts that rest in RAM get hooks that move them for the time of their work. Returns what was done.
        """
        chosen = config or self.distribute_pipeline(pipeline)
        modules = modules_of(pipeline)
        resting = {part: module for part, module in modules.items() if chosen.device_of(part) == "cpu"}
        staying = {part: module for part, module in modules.items() if part not in resting}
        base = MemoryOptimizationConfig.from_level(OptimizationLevel.NONE, device=self.resources.device)
        moves = self.resources.has_gpu
        optimizer = MemoryOptimizer(
            replace(
                base,
                enable_model_offload=moves and not chosen.sequential,
                enable_sequential_offload=moves and chosen.sequential,
                enable_vae_tiling=moves and "vae" in resting,
            ),
            resources=self.resources,
            meter=self._meter,
        )
        for part, module in staying.items():
            self.move_to_device(module, chosen.device_of(part))
        if not moves:
            return (Applied("component_offload", False, chosen.note),)
        return optimizer.optimize_modules(resting)

    def move_to_device(self, model: Any, device: str, dtype: torch.dtype | None = None) -> Any:
        """Move a module, in another number format where `dtype` says so, and give back what it leaves behind."""
        moved = model.to(device=device, dtype=dtype) if dtype is not None else model.to(device)
        if self._meter is not None:
            self._meter.release()
        elif self.resources.has_cuda:
            torch.cuda.empty_cache()
        return moved

    def _sequential(self) -> OffloadConfig:
        return OffloadConfig("cpu", "cpu", "cpu", "cpu", sequential=True)

    def _auto(self, device: str) -> OffloadConfig:
        vram = self.usable_vram_gb
        if vram < _SEQUENTIAL_BELOW:
            return self._sequential()
        if vram < _UNET_BELOW:
            return OffloadConfig(device, "cpu", "cpu", device)
        if vram < _ENCODERS_BELOW:
            return OffloadConfig(device, device, "cpu", device)
        return OffloadConfig(device, device, device, device)


class TorchMover:
    """Moves pooled modules between the GPU and RAM; what is no module stays as it is."""

    def __init__(self, device: str) -> None:
        self._device = device

    def to_rest(self, value: Any) -> Any:
        """Into RAM."""
        return value.to("cpu") if isinstance(value, torch.nn.Module) else value

    def to_work(self, value: Any) -> Any:
        """Onto the GPU, but for what travels there by itself."""
        return value.to(self._device) if isinstance(value, torch.nn.Module) and not moves(value) else value
