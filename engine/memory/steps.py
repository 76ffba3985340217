"""Stages of a picture, and loading only what the present stage needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from engine.memory.pool import Lease, ModelPool


class GenerationStep(StrEnum):
    """The stages of a picture."""

    ENCODE_PROMPT = "encode_prompt"
    DENOISE = "denoise"
    DECODE = "decode"

    def needs(self, part: str) -> bool:
        """Whether the stage works with a part ("text_encoder", "unet", "vae", "controlnet", …)."""
        if part.startswith(("text_encoder", "tokenizer", "image_encoder")):
            return self is GenerationStep.ENCODE_PROMPT
        if part.startswith("vae"):
            return self is GenerationStep.DECODE
        return self is GenerationStep.DENOISE


class LoadingStrategy(StrEnum):
    """When parts are loaded: all of them at the begin, or those of a stage when it begins."""

    EAGER = "eager"
    SEQUENTIAL = "sequential"


Loader = Callable[[], Any]


class StagedParts:
    """The parts of a model, lent stage by stage.

    Args:
        pool: where loaded parts live.
        loaders: part name → (what loads it, its size in bytes as the pool counts it).
        strategy: SEQUENTIAL loads at a stage's begin and lets go at its end; EAGER holds everything until `close()`.
        keep: whether parts of an ended stage may stay in the pool while there is room.
        released: called after a stage's parts are gone, to give their memory back.
        name: tells this model's parts from others in the pool.
    """

    def __init__(
        self,
        pool: ModelPool,
        loaders: Mapping[str, tuple[Loader, int]],
        *,
        strategy: LoadingStrategy = LoadingStrategy.SEQUENTIAL,
        keep: bool = False,
        released: Callable[[], None] = lambda: None,
        name: str = "model",
    ) -> None:
        self._pool, self._loaders, self._strategy = pool, dict(loaders), strategy
        self._keep, self._released, self._name = keep, released, name
        self._held: dict[str, Lease[Any]] = {}
        if strategy is LoadingStrategy.EAGER:
            self._take(self._loaders)

    @property
    def is_loaded(self) -> bool:
        """Whether every part is in memory now."""
        return all(self._pool.holds((self._name, part)) for part in self._loaders)

    @property
    def loaded_parts(self) -> tuple[str, ...]:
        """Parts that are in memory now."""
        return tuple(part for part in self._loaders if self._pool.holds((self._name, part)))

    @contextmanager
    def stage(self, step: GenerationStep) -> Iterator[dict[str, Any]]:
        """The parts of a stage by name, while the `with` runs; also after an error nothing stays that need not."""
        wanted = [part for part in self._loaders if step.needs(part)]
        fresh = [part for part in wanted if part not in self._held]
        try:
            self._take(fresh)
            yield {part: self._held[part].value for part in wanted}
        finally:
            if self._strategy is LoadingStrategy.SEQUENTIAL:
                self._let_go(fresh)

    def close(self) -> None:
        """Let go of everything."""
        self._let_go(list(self._held))

    def _take(self, parts: Any) -> None:
        for part in parts:
            load, size = self._loaders[part]
            self._held[part] = self._pool.lease((self._name, part), load, size)

    def _let_go(self, parts: list[str]) -> None:
        for part in parts:
            lease = self._held.pop(part, None)
            if lease is not None:
                lease.close()
                if not self._keep:
                    self._pool.evict(lease.key)
        self._released()
