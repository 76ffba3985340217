"""IntelligentGenerationPipeline: the engine's parts behind a few synchronous verbs, for notebooks and scripts.

It is the engine without queue, database and processes: one pool, one model at a time, the same admission, encode,
denoise and decode as the worker, the same merge studio. It stands here, beside the in-process client, because it needs
`engine.pipeline`, `engine.merge` and `engine.jobs`, and the first two do not know each other. One thread at a time may
use it.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from engine.control.annotators import AnnotatorFiles
from engine.errors import ConflictError, SpecError
from engine.images.assets import AssetStore
from engine.jobs.adapters import AdapterShop, LentStack
from engine.jobs.admission import Admission, Admitted
from engine.jobs.control_admission import ControlAdmission
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.library.styles import StyleFile
from engine.loading.torchvision_guard import guard_torchvision
from engine.memory.budget import pool_budget
from engine.memory.lease import LoadedModel
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel, first_guess
from engine.memory.offload import ModelOffloader, OffloadStrategy, TorchMover
from engine.memory.optimizer import MemoryOptimizer
from engine.memory.pool import ModelPool
from engine.memory.quantize import choose_dtype
from engine.memory.resources import SystemResources, detect_resources
from engine.memory.steps import GenerationStep, LoadingStrategy
from engine.pipeline.context import GenerationContext
from engine.pipeline.decode import decode
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin
from engine.pipeline.model import EmbeddingCache, ModelBundle, open_model
from engine.pipeline.parts import LeasedParts
from engine.pipeline.patching import PatchedComponents
from engine.protocol.specs import GenerationSpec
from engine.server.facade_adapters import PipelineAdapters
from engine.server.facade_parts import DiffusionPipelineConfig, GenerationResult, PartView, PipelineState
from engine.settings import Settings, load_settings
from engine.store.store import open_store

_LEVELS = {
    OffloadStrategy.FULL_GPU: OptimizationLevel.NONE,
    OffloadStrategy.CPU_OFFLOAD: OptimizationLevel.BALANCED,
    OffloadStrategy.SEQUENTIAL: OptimizationLevel.AGGRESSIVE,
}


@dataclass
class _Begun:
    """A request that is under way, with the adapters that are lent to it."""

    spec: GenerationSpec
    admitted: Admitted
    contexts: list[GenerationContext] = field(default_factory=list)
    lent: list[LentStack] = field(default_factory=list)

    def close(self) -> None:
        """Give the adapters back."""
        while self.lent:
            self.lent.pop().close()


class IntelligentGenerationPipeline:
    """A model, its adapters, and pictures.

    Args:
        model_id: as in `DiffusionPipelineConfig`; so are all that follow it up to `max_vram_usage_gb`.
        settings: folders and the default model; config.toml's where it is None.
        resources: the machine; detected where it is None.

    Raises:
        SpecError, ModelFileError: there is no such model, or it cannot be used.
    """

    def __init__(
        self,
        model_id: str | None = None,
        *,
        offload_strategy: OffloadStrategy = OffloadStrategy.AUTO,
        loading_strategy: LoadingStrategy = LoadingStrategy.EAGER,
        dtype_policy: Any = DiffusionPipelineConfig.dtype_policy,
        max_vram_usage_gb: float | None = None,
        settings: Settings | None = None,
        resources: SystemResources | None = None,
    ) -> None:
        guard_torchvision()
        self.state = PipelineState.UNINITIALIZED
        self.resources = resources or detect_resources()
        self._scratch = Path(tempfile.mkdtemp(prefix="easel-pipeline-"))
        (self._scratch / "loras").mkdir()
        given = settings or load_settings()
        # What is merged and not saved lies in a models folder of its own.
        paths = given.paths.model_copy(update={"extra": (*given.paths.extra, str(self._scratch))})
        self._settings = given.model_copy(update={"paths": paths})
        self._store = open_store(self._scratch / "state")
        self.library = Library(self._settings, self._store.library)
        self.pool = ModelPool(pool_budget(self.resources).work, mover=TorchMover(self.resources.device))
        self._patched = PatchedComponents()
        self._cache = EmbeddingCache()
        self._shop = AdapterShop(
            self.pool, self._store, partial(self.library.path_of, "adapter"), storage=given.memory.adapter_storage
        )
        annotators = AnnotatorFiles([given.models_dir / "annotators", given.starter_dir / "annotators"])
        controls = ControlAdmission(ControlShelf(self.library), annotators, AssetStore(self._scratch / "state").path)
        self._admission = Admission(self.library, StyleFile(given.data_dir / "styles.csv"), controls)
        self._bundle: ModelBundle | None = None
        self._adapters = PipelineAdapters(self.library, self._scratch / "loras", given.models_dir / "loras")
        self._begun: _Begun | None = None
        self._config = DiffusionPipelineConfig(
            model_id, (), offload_strategy, loading_strategy, dtype_policy, max_vram_usage_gb
        )
        self.initialize(self._config)

    # --- life ------------------------------------------------------------------------------------------------------

    def initialize(self, config: DiffusionPipelineConfig | None = None) -> None:
        """Begin, or begin anew with another config. With EAGER all parts are loaded now, otherwise nothing is."""
        self._close_model()
        config = self._config = config or self._config
        self._offloader = ModelOffloader(config.offload_strategy, config.max_vram_usage_gb, resources=self.resources)
        self._places = self._offloader.distribute_pipeline()
        self._dtype: torch.dtype = getattr(torch, choose_dtype(config.dtype_policy, self.resources).compute_dtype)
        self._adapters.scales.clear()
        for name, scale in config.loras:
            self.add_lora(name, scale)
        self.library.find_model(config.model_id)
        if config.loading_strategy is LoadingStrategy.EAGER:
            self._model()
        self.state = PipelineState.READY

    def use_model(self, model: str | LoadedModel) -> None:
        """Another model from the next picture on; a handle of the pool counts as used."""
        if isinstance(model, LoadedModel):
            model.touch()
            model = model.name
        entry = self.library.find_model(model)
        self._close_model()
        self._config = replace(self._config, model_id=entry.view.id)
        if self._config.loading_strategy is LoadingStrategy.EAGER:
            self._model()

    def shutdown(self) -> None:
        """Give all memory back; the pipeline cannot be used afterwards. Twice does nothing."""
        if self.state is PipelineState.CLOSED:
            return
        self._close_model()
        self.pool.clear()
        self.library.close()
        self._store.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self.state = PipelineState.CLOSED

    def __enter__(self) -> IntelligentGenerationPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    # --- pictures --------------------------------------------------------------------------------------------------

    def generate(
        self, prompt: str | GenerationSpec, *, step: GenerationStep | None = None, **fields: Any
    ) -> GenerationResult:
        """Paint.

        Args:
            prompt: words, or a whole spec. fields: what else a `GenerationSpec` has.
            step: do one stage only. Later ones go on where the same request was left; an earlier one is made up for.

        Raises:
            StudioError: what the request is refused for, or what went wrong.
        """
        self._open()
        spec = prompt if isinstance(prompt, GenerationSpec) else GenerationSpec(prompt=prompt, **fields)
        self.state = PipelineState.GENERATING
        try:
            return self._generated(spec, step)
        except BaseException:
            self._let_go()
            if self._config.loading_strategy is LoadingStrategy.SEQUENTIAL:
                self._close_model()
            raise
        finally:
            self.state = PipelineState.READY

    def _generated(self, spec: GenerationSpec, step: GenerationStep | None) -> GenerationResult:
        begun = self._begun
        if step is None or step is GenerationStep.ENCODE_PROMPT or begun is None or begun.spec != spec:
            self._let_go()
            begun = self._begun = self._encoded(spec)
        contexts, admitted = begun.contexts, begun.admitted
        notices = (*admitted.notices, *(notice for context in contexts for notice in context.notices))
        if step is GenerationStep.ENCODE_PROMPT:
            return GenerationResult((), admitted.spec, notices)
        bundle = self._model()
        bundle.enter(GenerationStep.DENOISE)
        while waiting := [context for context in contexts if not context.finished]:
            tick(bundle, waiting[:1])
        if step is GenerationStep.DENOISE:
            return GenerationResult((), admitted.spec, notices)
        bundle.enter(GenerationStep.DECODE)
        decoded = decode(bundle, contexts)
        self._let_go()
        if self._config.loading_strategy is LoadingStrategy.SEQUENTIAL:
            self._close_model()
        return GenerationResult(
            tuple(each.image for each in decoded),
            admitted.spec,
            (*notices, *(notice for each in decoded for notice in each.notices)),
        )

    def _encoded(self, spec: GenerationSpec) -> _Begun:
        if spec.controls:
            raise SpecError("bad_request", "The pipeline does not take ControlNet units.", "Use the studio's client.")
        fields = {"model": spec.model or self._config.model_id, "adapters": spec.adapters or self._adapters.stack}
        admitted = self._admission.admit(spec.model_copy(update=fields))
        if spec.model is not None and spec.model != self._config.model_id:
            self.use_model(spec.model)
        bundle = self._model()
        bundle.enter(GenerationStep.ENCODE_PROMPT)
        begun = _Begun(spec, admitted)
        try:
            for index in range(admitted.spec.count):
                name = uuid.uuid4().hex
                begun.lent.append(self._shop.lend(admitted.spec, bundle, name))
                stack = begun.lent[-1].stack
                context = begin(bundle, admitted.spec, index, context_id=name, cache=self._cache, stack=stack)
                begun.contexts.append(context)
        except BaseException:
            begun.close()
            raise
        return begun

    def _let_go(self) -> None:
        if self._begun is not None:
            self._begun.close()
            self._begun = None

    # --- adapters --------------------------------------------------------------------------------------------------

    def load_lora(self, name: str) -> str:
        """Find an adapter of the library; returns its id. Raises SpecError `adapter_unknown`, ModelFileError."""
        self._open()
        return self._adapters.load(name)

    def add_lora(self, name: str, scale: float = 1.0) -> str:
        """Put an adapter on the stack, for all pictures from now on; returns its id. Raises as `load_lora`."""
        self._open()
        return self._adapters.add(name, scale)

    def set_lora_scale(self, name: str, scale: float) -> None:
        """Another weight for an adapter of the stack. Raises SpecError `adapter_unknown`."""
        self._adapters.set_scale(name, scale)

    def remove_adapter(self, name: str) -> None:
        """Take an adapter off the stack. Raises SpecError `adapter_unknown`."""
        self._adapters.remove(name)

    @property
    def adapters(self) -> dict[str, float]:
        """Adapters of the stack with their weights."""
        return dict(self._adapters.scales)

    def merge_loras(self, names: Sequence[str], weights: Sequence[float], normalize: bool = False) -> str:
        """One adapter that does what several do together; returns the id under which it can be added.

        It is kept until `shutdown`; `save_merged` keeps it longer. `normalize` divides the weights by their sum first.
        Raises SpecError, MergeError, AdapterError; see `PipelineAdapters.merge`.
        """
        self._open()
        base = self.library.find_model(self._config.model_id)
        return self._adapters.merge(names, weights, normalize, base)

    def save_merged(self, name: str, *, replace: bool = False) -> Path:
        """Keep what was merged last in the models folder as `name`. Raises as `PipelineAdapters.save_merged`."""
        self._open()
        return self._adapters.save_merged(name, replace=replace)

    # --- parts -----------------------------------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether every part of the model is in memory now."""
        return all(self._loaded_part(part) is not None for part in self._weights())

    @property
    def unet(self) -> PartView:
        """The UNet."""
        return self._part("unet")

    @property
    def vae(self) -> PartView:
        """The VAE."""
        return self._part("vae")

    @property
    def text_encoder(self) -> PartView:
        """The (first) text encoder."""
        return self._part("text_encoder")

    def _part(self, name: str) -> PartView:
        rests = self._places.device_of(name)
        return PartView(name, partial(self._loaded_part, name), rests, self._dtype)

    def _weights(self) -> list[str]:
        parts = self.library.find_model(self._config.model_id).family.parts
        return [part for part in parts if not part.startswith(("tokenizer", "scheduler"))]

    def _loaded_part(self, name: str) -> Any:
        parts = self._bundle.parts if self._bundle is not None else None
        if not isinstance(parts, LeasedParts) or not self.pool.holds(parts.key(name)):
            return None
        return self.pool.value_of(parts.key(name))

    def _model(self) -> ModelBundle:
        if self._bundle is None:
            config = self._level()
            optimizer = MemoryOptimizer(
                config, resources=self.resources, device=self.resources.device, compute=self._dtype
            )
            self._bundle = open_model(
                self.pool,
                self.library.find_model(self._config.model_id),
                device=self.resources.device,
                dtype=self._dtype,
                patched=self._patched,
                optimizer=optimizer,
                config=config,
            )
            self._bundle.find_embeddings = lambda: self.library.embeddings
        return self._bundle

    def _level(self) -> MemoryOptimizationConfig:
        """The strategy as a memory level: on a GPU by what is free, without one by when parts are loaded."""
        strategy, staged = self._config.offload_strategy, self._config.loading_strategy is LoadingStrategy.SEQUENTIAL
        level = OptimizationLevel.BALANCED if staged else OptimizationLevel.NONE
        if self.resources.has_gpu:
            level = _LEVELS.get(strategy) or first_guess(self._offloader.usable_vram_gb)
        config = MemoryOptimizationConfig.from_level(level, device=self.resources.device)
        return replace(config, staged_loading=staged, after_job="release" if staged else "keep")

    def _close_model(self) -> None:
        self._let_go()
        if self._bundle is not None:
            self._bundle.close()
            self._bundle = None

    def _open(self) -> None:
        if self.state is PipelineState.CLOSED:
            raise ConflictError("not_loaded", "The pipeline was shut down.", "Make a new one.")
