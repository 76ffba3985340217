"""Workbench: the model that is on the bench, leased from the pool."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any

import torch

from engine.errors import StudioError
from engine.jobs.adapters import AdapterKey, AdapterShop, LentStack
from engine.jobs.controls import ControlKey, ControlShop, LentControls
from engine.jobs.unit_kinds import UnitPartKey
from engine.library.entries import ModelEntry, VaeEntry
from engine.library.library import Library
from engine.memory.cache import ByteCache
from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.optimizer import MemoryOptimizer
from engine.memory.pool import ModelPool
from engine.memory.steps import GenerationStep
from engine.pipeline.model import EmbeddingCache, ModelBundle, open_model
from engine.pipeline.parts import LeasedParts
from engine.pipeline.patching import PatchedComponents
from engine.protocol.specs import GenerationSpec


class Workbench:
    """Holds the leases of the model (and VAE) that the pictures in progress use; one at a time."""

    def __init__(
        self,
        pool: ModelPool,
        library: Library,
        shop: AdapterShop,
        controls: ControlShop,
        *,
        device: str,
        dtype: str,
        optimizer: MemoryOptimizer,
        resting: Callable[[], MemoryOptimizationConfig],
    ) -> None:
        """`resting`: the memory level of a model that nobody has asked a picture of yet."""
        self._pool = pool
        self._library = library
        self._shop = shop
        self._controls = controls
        self._patched = PatchedComponents()
        self._device = device
        self._dtype = dtype
        self._optimizer, self._resting = optimizer, resting
        self._bundle: ModelBundle | None = None
        self._key: tuple[str | None, str | None] | None = None
        self.embeddings = EmbeddingCache()

    @property
    def bundle(self) -> ModelBundle:
        """The open model."""
        if self._bundle is None:
            raise AssertionError("no model is open")
        return self._bundle

    def holds(self, spec: GenerationSpec) -> bool:
        """Whether the open model is the one that `spec` needs."""
        return self._bundle is not None and self._key == (spec.model, spec.vae)

    @property
    def staged(self) -> bool:
        """Whether the open model's parts come and go with the stages."""
        return self._bundle is not None and self._parts.config.staged_loading

    @property
    def pooled_bytes(self) -> int:
        """What the pool holds where models compute."""
        return self._pool.used_bytes

    @property
    def leased_bytes(self) -> int:
        """What of it is in use."""
        return sum(entry.nbytes for entry in self._pool.entries() if entry.leases)

    def pooled_bytes_of(self, entry: ModelEntry, config: MemoryOptimizationConfig) -> int:
        """What the pool holds of a model's own parts, as `config` wants them."""
        parts = self._lending(entry, None, config)
        keys = {parts.key(part) for part in entry.family.parts}
        return sum(held.nbytes for held in self._pool.entries() if held.key in keys)

    def open(self, spec: GenerationSpec, config: MemoryOptimizationConfig | None = None) -> None:
        """Lease the model that `spec` needs, and let go of the one before. Raises ModelFileError, OutOfMemoryError."""
        self.close()
        entry = self._library.find_model(spec.model)
        vae = self._library.find_vae(spec.vae) if spec.vae else None
        self._bundle = self._opened(entry, vae, config or self._resting())
        self._bundle.find_embeddings = lambda: self._library.embeddings
        self._key = (spec.model, spec.vae)

    def fit(self, config: MemoryOptimizationConfig) -> None:
        """Another memory level for the open model, live. Raises ModelFileError, OutOfMemoryError."""
        self._parts.change(config)

    def enter(self, step: GenerationStep) -> None:
        """A stage begins; with staged loading, what it does not need goes."""
        self.bundle.enter(step)
        if self.staged and step is GenerationStep.DECODE:
            self._evict_lent()

    def after_step(self) -> None:
        """A step is done."""
        if self._parts.config.cleanup_each_step:
            self._optimizer.cleanup()

    def expect(self, specs: Iterable[GenerationSpec]) -> None:
        """Tell the pool which parts the waiting pictures need, so that it evicts others first."""
        demand: Counter[Hashable] = Counter()
        for model, count in Counter(spec.model for spec in specs).items():
            try:
                entry = self._library.find_model(model)
            except StudioError:
                # It is refused when its turn comes.
                continue
            parts = self._lending(entry, None, self._resting())
            demand.update({parts.key(part): count for part in entry.family.parts})
        self._pool.expect(dict(demand))

    def load_ahead(self, entry: ModelEntry, *, pin: bool = False) -> None:
        """Bring all parts of a model into the pool, for whoever comes next. Raises ModelFileError, OutOfMemoryError."""
        config = replace(self._resting(), staged_loading=False, after_job="keep")
        with self._opened(entry, None, config) as bundle:
            for key in bundle.parts.keys if pin else ():
                self._pool.pin(key)

    def lend(self, entry: ModelEntry, config: MemoryOptimizationConfig) -> ModelBundle:
        """A model for work that is no job's picture, under a level of its own; whoever asks closes it. Nothing else is
        open meanwhile. Raises ModelFileError, OutOfMemoryError."""
        self.close()
        return self._opened(entry, None, config)

    @property
    def embedded_hints(self) -> ByteCache[Any]:
        """Hints as ControlNets take them, kept for the next picture."""
        return self._controls.embedded

    def stack(self, spec: GenerationSpec, job_id: str) -> LentStack:
        """The adapters of `spec`, read for the open model. Raises AdapterError, ModelFileError, SpecError."""
        return self._shop.lend(spec, self.bundle, job_id, rounding=self._parts.config.rounds)

    def controls(self, spec: GenerationSpec) -> LentControls:
        """The ControlNet units of `spec`. Raises ControlError, ModelFileError, OutOfMemoryError."""
        return self._controls.lend(spec, self.bundle)

    def rest(self) -> None:
        """Nothing is in progress: the leases go back; what the pool keeps is the pool's decision."""
        self.close()

    def close(self) -> None:
        """Give the leases back."""
        if self._bundle is not None:
            released = self._parts.config.after_job != "keep"
            self._bundle.close()
            if released:
                self._evict_lent()
        self._bundle = None
        self._key = None

    def release_all(self) -> None:
        """Out of memory: let go of the model too where nothing is in progress on it, and of all that nobody uses."""
        gc.collect()
        self._pool.clear()

    def release_memory(self) -> None:
        """After a fault: drop what the traceback may still hold."""
        gc.collect()

    def clean_up(self) -> None:
        """Give everything back to the system that nobody holds; takes a tenth of a second."""
        self._optimizer.cleanup()

    @property
    def _parts(self) -> LeasedParts:
        parts = self.bundle.parts
        assert isinstance(parts, LeasedParts)
        return parts

    def _opened(self, entry: ModelEntry, vae: VaeEntry | None, config: MemoryOptimizationConfig) -> ModelBundle:
        return open_model(
            self._pool,
            entry,
            vae,
            device=self._device,
            dtype=self._dtype,
            patched=self._patched,
            optimizer=self._optimizer,
            config=config,
        )

    def _lending(self, entry: ModelEntry, vae: VaeEntry | None, config: MemoryOptimizationConfig) -> LeasedParts:
        return LeasedParts(
            self._pool,
            entry,
            vae,
            device=torch.device(self._device),
            dtype=getattr(torch, self._dtype),
            patched=self._patched,
            config=config,
        )

    def _evict_lent(self) -> None:
        """What was read for one picture and is not in use any more: ControlNets, what looks at pictures, adapters."""
        for entry in self._pool.entries():
            if isinstance(entry.key, AdapterKey | ControlKey | UnitPartKey) and not entry.pinned:
                self._pool.evict(entry.key)
