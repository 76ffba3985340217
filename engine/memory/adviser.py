"""Adviser: the forecast for specs and models of the library, and what is worth loading ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from engine.errors import StudioError
from engine.library.adapter_storage import AdapterStorage, StorageFormat, kept_nbytes, storage_format
from engine.library.controlnets import control_facts_at
from engine.library.entries import ModelEntry
from engine.library.headers import read_header
from engine.library.library import Library
from engine.library.stamps import stamp_if_there, stamp_of
from engine.memory.experience import Experience
from engine.memory.levels import FP8, FROM_FILE, OptimizationLevel
from engine.memory.parts import ModelSizes, file_nbytes, sizes_of
from engine.memory.plan import Beside, Plan, Planner, Work
from engine.memory.pool import ModelPool
from engine.memory.preload import HOUR, Use, choose_preloads, hour_weights, predict
from engine.memory.resources import SystemResources
from engine.memory.resting import resting_format
from engine.memory.views import forecast_view, level_views, title_of
from engine.protocol.memory import ForecastView, LevelView
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store

_HISTORY_DAYS = 30
_LOOKED_AT = 8


class Adviser:
    """May be asked from any thread.

    Args:
        resources: the machine as it is when asked. pool: the worker's, None before there is one.
        adapter_storage: how adapters are kept, as `[memory] adapter_storage` says.
    """

    def __init__(
        self,
        store: Store,
        library: Library,
        experience: Experience,
        resources: Callable[[], SystemResources],
        pool: Callable[[], ModelPool | None],
        adapter_storage: AdapterStorage = "auto",
    ) -> None:
        self._store, self._library, self._experience = store, library, experience
        self._resources, self._pool = resources, pool
        self._adapter_storage: AdapterStorage = adapter_storage
        self._sizes: dict[tuple[str, str], ModelSizes] = {}
        self.dtype = "float32"

    def sizes(self, entry: ModelEntry) -> ModelSizes:
        """A model's sizes, read once for each state of its file. Raises ModelFileError."""
        key = (str(entry.path), f"{entry.stamp}|{entry.vae_path}")
        if key not in self._sizes:
            self._sizes[key] = sizes_of(entry)
        return self._sizes[key]

    def weights(self, entry: ModelEntry) -> int:
        """Bytes of all of a model's weights as they compute. Raises ModelFileError."""
        known = self.sizes(entry)
        return sum(known.nbytes(part, self.dtype) for part in known.elements)

    def work_of(self, spec: GenerationSpec, entry: ModelEntry) -> Work:
        """What a spec asks for, with the model's defaults where it says nothing. Raises SpecError, ModelFileError."""
        defaults = entry.view.defaults
        guidance = spec.guidance if spec.guidance is not None else defaults.guidance
        controls = [unit for unit in spec.controls if not unit.muted]
        paths = [self._library.path_of("controlnet", name) for name in {unit.model for unit in controls if unit.model}]
        adapters = {ref.name for ref in spec.adapters if ref.enabled}

        def beside(asked: str) -> Beside:
            short = asked not in ("", FROM_FILE)
            return Beside(
                sum(self._adapter_bytes(name, short=short) for name in adapters),
                sum(self._control_bytes(path, asked) for path in paths),
            )

        usual = beside("")
        return Work(
            width=spec.width or defaults.width or 512,
            height=spec.height or defaults.height or 512,
            pictures=max(1, min(spec.count, spec.batch_size)),
            guided=guidance is None or guidance > 1.0,
            adapter_bytes=usual.adapters,
            control_bytes=usual.controls,
            narrow=beside(FROM_FILE),
            rounded=beside(FP8),
            controls=len(controls),
            upscale=spec.upscale if spec.upscale is not None else defaults.upscale or 1,
        )

    def _adapter_bytes(self, name: str, *, short: bool) -> int:
        """Bytes of an adapter as it is held beside the weights; 0 for one that is not there: the job is refused for it,
        and this is only its forecast. `short`: see `storage_format`; that the pool itself is too full for an adapter
        shows when it is read, so what "auto" then saves is not counted on."""
        try:
            path = self._library.path_of("adapter", name)
            return _kept_nbytes(path, stamp_of(path), storage_format(self._adapter_storage, short=short))
        except (StudioError, OSError):
            return 0

    def _control_bytes(self, path: Path, asked: str) -> int:
        """Bytes of a ControlNet where a level asks weights to rest in that format. Raises ModelFileError."""
        facts = control_facts_at(path)
        resting = resting_format(asked, facts.dtype, self.dtype) if facts.rests else self.dtype
        return _file_nbytes(path, stamp_if_there(path), resting)

    def plan(
        self, entry: ModelEntry, work: Work, *, level: OptimizationLevel | None = None, advise: bool = False
    ) -> Plan:
        """The fastest level that fits, or `level`, from what is free now. Raises ModelFileError."""
        factors, _ = self._experience.time_factors(entry.view.id)
        pool = self._pool()
        planner = Planner(
            self._resources(),
            dtype=self.dtype,
            time_factors=factors,
            correct=self._experience.correction(entry.view.id, self.dtype),
            held_bytes=0 if pool is None else pool.used_bytes,
        )
        return planner.plan(self.sizes(entry), work, level=level, advise=advise)

    def forecast(self, spec: GenerationSpec, level: OptimizationLevel | None) -> ForecastView:
        """Whether a spec will fit, and how. Raises SpecError, ModelFileError."""
        entry = self._library.find_model(spec.model)
        plan = self.plan(entry, self.work_of(spec, entry), level=level, advise=True)
        return forecast_view(entry.view.id, plan, self.levels(plan, entry.view.id))

    def levels(self, plan: Plan | None = None, model_id: str = "") -> tuple[LevelView, ...]:
        """The levels on this machine, with what the plan's picture of a model takes under each."""
        factors, measured = self._experience.time_factors(model_id)
        if plan is None:
            return level_views(self._resources(), factors, measured)
        forecasts = {each.level: each for each in plan.alternatives}
        return level_views(self._resources(), factors, measured, forecasts, plan.budget.usable)

    def default_levels(self, level: OptimizationLevel | None = None) -> tuple[LevelView, ...]:
        """The levels with what the default model takes at its own size."""
        try:
            entry = self._library.find_model(None)
            return self.levels(self.plan(entry, self.work_of(GenerationSpec(), entry), level=level), entry.view.id)
        except StudioError:
            return self.levels()

    def preloads(self, pool: ModelPool, waiting: Mapping[str, int], *, quiet: bool, freed_at: float = 0.0) -> list[str]:
        """Models worth loading now: asked for in the last hour at this time of day, or waited for; only if they fit
        beside what is loaded.

        Args:
            waiting: model id → pictures in the queue.
            freed_at: when somebody freed memory by hand, seconds since the epoch: what was not asked for since stays
                away.
        """
        now = time.time()
        uses = [Use(model, at) for model, at in self._store.memory.uses(now - _HISTORY_DAYS * 24 * HOUR)]
        weights = hour_weights(uses, time.localtime(now).tm_hour)
        wanted = {use.model for use in uses if use.at > freed_at} | set(waiting)
        predicted = [row for row in predict(uses, now=now, weights=weights, waiting=waiting) if row[0] in wanted]
        present = {title_of(entry.key) for entry in pool.entries()}
        sizes: dict[str, int] = {}
        here: list[str] = []
        for model, _ in predicted[:_LOOKED_AT]:
            try:
                entry = self._library.find_model(model)
                sizes[model] = self.weights(entry)
            except StudioError:
                continue
            if entry.path.name in present:
                here.append(model)
        free = pool.budget_bytes - pool.used_bytes
        return choose_preloads(predicted, loaded=here, sizes=sizes, free_bytes=free, quiet=quiet)


@lru_cache(maxsize=512)
def _kept_nbytes(path: Path, stamp: str, wanted: StorageFormat | None) -> int:
    return kept_nbytes(read_header(path), wanted)


@lru_cache(maxsize=512)
def _file_nbytes(path: Path, stamp: str, dtype: str) -> int:
    return file_nbytes(path, dtype)
