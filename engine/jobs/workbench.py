"""Workbench: the model that is on the bench, leased from the pool."""

from __future__ import annotations

import gc
from typing import Any

from engine.jobs.adapters import AdapterShop, LentStack
from engine.jobs.controls import ControlShop, LentControls
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.cache import ByteCache
from engine.memory.pool import ModelPool
from engine.pipeline.model import EmbeddingCache, ModelBundle, open_model
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
    ) -> None:
        self._pool = pool
        self._library = library
        self._shop = shop
        self._controls = controls
        self._patched = PatchedComponents()
        self._device = device
        self._dtype = dtype
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

    def open(self, spec: GenerationSpec) -> None:
        """Lease the model that `spec` needs, and let go of the one before. Raises ModelFileError."""
        self.close()
        entry = self._library.find_model(spec.model)
        vae = self._library.find_vae(spec.vae) if spec.vae else None
        self._bundle = open_model(self._pool, entry, vae, device=self._device, dtype=self._dtype, patched=self._patched)
        self._bundle.find_embeddings = lambda: self._library.embeddings
        self._key = (spec.model, spec.vae)

    def load_ahead(self, entry: ModelEntry) -> None:
        """Bring all parts of a model into the pool, for whoever comes next. Raises ModelFileError, OutOfMemoryError."""
        open_model(self._pool, entry, device=self._device, dtype=self._dtype, patched=self._patched).close()

    @property
    def embedded_hints(self) -> ByteCache[Any]:
        """Hints as ControlNets take them, kept for the next picture."""
        return self._controls.embedded

    def stack(self, spec: GenerationSpec, job_id: str) -> LentStack:
        """The adapters of `spec`, read for the open model. Raises AdapterError, ModelFileError, SpecError."""
        return self._shop.lend(spec, self.bundle, job_id)

    def controls(self, spec: GenerationSpec) -> LentControls:
        """The ControlNet units of `spec`. Raises ControlError, ModelFileError, OutOfMemoryError."""
        return self._controls.lend(spec, self.bundle)

    def rest(self) -> None:
        """Nothing is in progress: the leases go back; what the pool keeps is the pool's decision."""
        self.close()

    def close(self) -> None:
        """Give the leases back."""
        if self._bundle is not None:
            self._bundle.close()
        self._bundle = None
        self._key = None

    def release_all(self) -> None:
        """Out of memory: let go of the model too where nothing is in progress on it, and of all that nobody uses."""
        gc.collect()
        self._pool.clear()

    def release_memory(self) -> None:
        """After a fault: drop what the traceback may still hold."""
        gc.collect()
