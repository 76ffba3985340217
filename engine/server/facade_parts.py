"""What the facade takes and gives: its config, its state, a view of a part, the result of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from PIL.Image import Image

from engine.memory.offload import OffloadStrategy
from engine.memory.quantize import DTypePolicy, storage_dtype_of
from engine.memory.steps import LoadingStrategy
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec


class PipelineState(StrEnum):
    """Where a pipeline is in its life."""

    UNINITIALIZED = "uninitialized"
    READY = "ready"
    GENERATING = "generating"
    CLOSED = "closed"


@dataclass(frozen=True)
class DiffusionPipelineConfig:
    """How a pipeline begins.

    Attributes:
        model_id: an id or file name of the library; None takes the default model.
        loras: (name, scale) of adapters to begin with.
        max_vram_usage_gb: use no more VRAM, however much is free; None is no limit.
        loading_strategy: EAGER holds all parts, SEQUENTIAL lends each to the stage that needs it.
    """

    model_id: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    offload_strategy: OffloadStrategy = OffloadStrategy.AUTO
    loading_strategy: LoadingStrategy = LoadingStrategy.EAGER
    dtype_policy: DTypePolicy = DTypePolicy.AUTO
    max_vram_usage_gb: float | None = None


@dataclass(frozen=True)
class GenerationResult:
    """Pictures with the resolved spec that makes them; a call that ends before the decode has none."""

    images: tuple[Image, ...]
    spec: GenerationSpec
    notices: tuple[Notice, ...] = ()

    @property
    def image(self) -> Image | None:
        """The first one."""
        return self.images[0] if self.images else None


class PartView:
    """A part of the pipeline's model. Asking for it loads nothing.

    Args:
        find: the loaded module, or None. rests: the device where the part rests. dtype: the format it computes in.
    """

    def __init__(self, name: str, find: Callable[[], Any], rests: str, dtype: torch.dtype) -> None:
        self.name = name
        self._find, self._rests, self._dtype = find, rests, dtype

    @property
    def is_loaded(self) -> bool:
        """Whether it is in memory now."""
        return self._find() is not None

    @property
    def device(self) -> torch.device:
        """Where it rests; with offloading it computes on the GPU all the same."""
        module = self._find()
        if module is None:
            return torch.device(self._rests)
        return next(module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The format that it computes in."""
        return self._dtype

    @property
    def storage_dtype(self) -> str:
        """The format that its weights rest in, torch's name or "int4"."""
        module = self._find()
        return str(self._dtype).removeprefix("torch.") if module is None else storage_dtype_of(module)

    @property
    def module(self) -> Any:
        """The loaded module itself, or None. Not to be kept: the pool may release it between two calls."""
        return self._find()
