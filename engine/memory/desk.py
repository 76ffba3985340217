"""MemoryDesk: where the panel's wishes, the worker's numbers and the store meet.

The worker's thread owns pool and models. It calls `attach` once and `attend` between its turns; everything else may be
called from any thread: it reads copies, or posts a wish that is granted at the next `attend` (or the next lease).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from engine.errors import ConflictError, SpecError, StudioError
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.adviser import Adviser
from engine.memory.ahead import LoadAhead
from engine.memory.budget import checked_budget, pool_budget
from engine.memory.care import Care
from engine.memory.eviction import EvictionPolicy, PoolEntry, parse_policy
from engine.memory.experience import Experience
from engine.memory.levels import OptimizationLevel, parse_level
from engine.memory.meter import Meter, ProcessMeter
from engine.memory.monitor import Timeline, leak_hint
from engine.memory.pins import Pins, check_pins
from engine.memory.plan import LevelForecast, Plan, Work
from engine.memory.pool import ModelPool
from engine.memory.resources import Probe, SystemResources, TorchProbe, detect_resources
from engine.memory.sizes import GIB, in_words
from engine.memory.views import bytes_by_kind, entry_view, key_text, name_of, title_of
from engine.protocol.memory import ForecastView, LevelName, MemoryEventView, MemoryView, SampleView
from engine.protocol.specs import GenerationSpec
from engine.settings import MemorySettings
from engine.store.store import Store

SAMPLE_SECONDS = 1.0
_SHOWN_SAMPLES = 240
_PATIENCE = 1.0
_HISTORY_DAYS = 30
_WORDS = {
    "loaded": "was loaded",
    "returned": "came back from RAM",
    "rested": "rests in RAM now",
    "evicted": "was released",
}


class _NoGpuYet(TorchProbe):
    """Before the worker has imported torch, only RAM is asked for."""

    def cuda_count(self) -> int:
        return 0

    def mps_memory(self) -> tuple[int, int] | None:
        return None

    def cpu_bf16(self) -> bool:
        return False


class MemoryDesk:
    """One for an engine.

    Args:
        level, pool_gb: from config.toml; what was chosen in the panel wins.
        probe: asks the machine; the real one where it is None.
        wake: tells an idle worker to look.
        settings: quiet times, caches and checks of files, as config.toml has them.
        report: tells everybody what is wrong with a loaded file.
    """

    def __init__(
        self,
        store: Store,
        library: Library,
        *,
        level: str = "auto",
        pool_gb: float = 0.0,
        probe: Probe | None = None,
        wake: Callable[[], None] = lambda: None,
        settings: MemorySettings | None = None,
        report: Callable[[StudioError], None] = lambda error: None,
    ) -> None:
        self._store, self._library, self._probe, self._wake = store, library, probe, wake
        self._level = parse_level(store.memory.setting("level") or level)
        self._policy = _kept_policy(store.memory.setting("policy") or "")
        self._pool_gb = float(store.memory.setting("pool_gb") or pool_gb)
        self._pool: ModelPool | None = None
        self._meter: Meter = ProcessMeter()
        self._device: str | None = None
        self._dtype = "float32"
        self._effective = self._level or OptimizationLevel.NONE
        self._pins = Pins(store.memory)
        self.experience = Experience(
            store.measurements, lambda: self.resources().device_name, lambda: self.resources().has_gpu
        )
        self._timeline = Timeline()
        self._sampled = 0.0
        self._freed_at = 0.0
        self._events: deque[MemoryEventView] = deque(maxlen=200)
        self._rests: deque[int] = deque(maxlen=50)
        settings = settings or MemorySettings()
        self.adviser = Adviser(
            store, library, self.experience, self.resources, lambda: self._pool, settings.adapter_storage
        )
        self._waiting = 0
        self._guard = threading.Lock()
        self.care = Care(library, settings, self.tell, report)
        self.ahead = LoadAhead(library, self.adviser.weights, self._room, self.tell)

    # --- the worker's side -----------------------------------------------------------------------------------------

    def attach(self, pool: ModelPool, meter: Meter, *, device: str, dtype: str) -> None:
        """Take the worker's pool and give it its budgets; on its thread, once, with torch imported.

        `device` and `dtype`: where and in what weights compute.
        """
        self._pool, self._meter, self._device, self._dtype = pool, meter, device, dtype
        self.adviser.dtype = dtype
        pool.eviction_policy = self._policy
        resources = self.resources()
        try:
            budget = pool_budget(resources, self._pool_gb)
        except SpecError as error:
            self.tell("refused", f"{error.message} The size is chosen by itself.")
            budget = pool_budget(resources)
        pool.resize(budget.work)
        if pool.has_rest:
            pool.rest_bytes = budget.rest
        self.care.attach(pool, meter)

    def attend(self) -> None:
        """Grant wishes and take a sample, at most one a second; the worker calls it between its turns."""
        if self._pool is not None:
            self._pool.attend()
        self.care.attend()
        if time.monotonic() - self._sampled >= SAMPLE_SECONDS:
            self.sample()

    def changed(self, what: str, entry: PoolEntry) -> None:
        """The pool's `on_change`: pins hold again, the log and the store follow."""
        if not entry.nbytes:
            return
        self.tell(what, f"The {name_of(entry)} ({in_words(entry.nbytes)}) {_WORDS.get(what, what)}.")
        if self._pool is not None:
            if what == "loaded":
                self.care.loaded(entry.key)
                self._pins.restore(self._pool, entry)
            self._pins.save(self._pool.entries())

    def sample(self, mark: str = "") -> None:
        """Put the present use on the timeline."""
        self._sampled = time.monotonic()
        parts = {} if self._pool is None else bytes_by_kind(self._pool.entries())
        self._timeline.add(self._meter.now(), at=time.time(), mark=mark, pool=sum(parts.values()), parts=parts)

    def rested(self) -> None:
        """Nothing is in progress and what could be released was: what is still held is compared with other rests."""
        usage = self._meter.now()
        self._rests.append(usage.vram or usage.ram)

    def tell(self, kind: str, message: str) -> None:
        """Add a line to the panel's log, and a mark to its chart."""
        self._events.append(MemoryEventView(at=time.time(), kind=kind, message=message))
        self.sample(kind)

    def tell_level(self, level: OptimizationLevel) -> None:
        """The level that holds now: chosen, found by AUTO, or climbed to after an out of memory."""
        if level is not self._effective:
            self._effective = level
            self.tell("level", f"The memory level is {level.value} now.")

    def used(self, model_id: str) -> None:
        """A job for a model began."""
        self._store.memory.used(model_id)

    def record_peak(self, model_id: str, forecast: LevelForecast, work: Work, peak: int) -> None:
        """A job under `forecast.level` took `peak` bytes at most where models compute; forecasts learn from it."""
        self.experience.add_peak(model_id, self._dtype, forecast, work, peak)

    @property
    def pinned_models(self) -> list[str]:
        """Models to load at the start."""
        return self._store.memory.pinned_models()

    def preloads(self, waiting: Mapping[str, int], *, quiet: bool) -> list[str]:
        """Models worth loading now, only what fits beside what is loaded; see `Adviser.preloads`."""
        return (
            []
            if self._pool is None
            else self.adviser.preloads(self._pool, waiting, quiet=quiet, freed_at=self._freed_at)
        )

    # --- planning --------------------------------------------------------------------------------------------------

    @property
    def level(self) -> OptimizationLevel | None:
        """The level that was chosen; None is AUTO: the forecast decides for each job."""
        return self._level

    @property
    def computes_on(self) -> str:
        """Where models compute: "cuda", "mps" or "cpu"; "" before there is a worker."""
        return self._device or ""

    def resources(self) -> SystemResources:
        """The machine now."""
        probe = self._probe or (None if self._pool is not None else _NoGpuYet())
        return detect_resources(probe, device=self._device)

    def plan(
        self, entry: ModelEntry, work: Work, *, level: OptimizationLevel | None = None, advise: bool = False
    ) -> Plan:
        """The fastest level that fits (or `level`, or the chosen one), from what is free now. Raises ModelFileError."""
        return self.adviser.plan(entry, work, level=level or self._level, advise=advise)

    def forecast(self, spec: GenerationSpec, level: str | None = None) -> ForecastView:
        """Whether a spec will fit, and how. Raises SpecError, ModelFileError."""
        return self.adviser.forecast(spec, parse_level(level) if level is not None else self._level)

    def bytes_held(self) -> dict[str, int]:
        """Bytes now, by kind: of the pool, and of the process in RAM and in VRAM."""
        usage = self._meter.now()
        return {"pool": 0 if self._pool is None else self._pool.used_bytes, "ram": usage.ram, "vram": usage.vram}

    # --- the panel's side ------------------------------------------------------------------------------------------

    def view(self) -> MemoryView:
        """Everything that the panel shows."""
        resources, usage, pool = self.resources(), self._meter.now(), self._pool
        if time.monotonic() - self._sampled >= SAMPLE_SECONDS:
            self.sample()
        entries = () if pool is None else tuple(entry_view(entry) for entry in pool.entries())
        resting = () if pool is None else tuple(entry_view(entry, "resting") for entry in pool.resting())
        return MemoryView.model_validate(
            {
                "device": resources.device_name,
                "vram_total": int(resources.total_vram_gb * GIB),
                "vram_free": int(resources.available_vram_gb * GIB),
                "ram_total": int(resources.total_ram_gb * GIB),
                "ram_available": int(resources.available_ram_gb * GIB),
                "engine_ram": usage.ram,
                "pool_used": 0 if pool is None else pool.used_bytes,
                "pool_limit": 0 if pool is None else pool.budget_bytes,
                "pool_gb": self._pool_gb,
                "rest_used": 0 if pool is None else pool.resting_bytes,
                "rest_limit": 0 if pool is None else pool.rest_bytes,
                "fragmentation": round(usage.fragmentation, 4),
                "level": self._level.value if self._level is not None else "auto",
                "effective_level": self._effective.value,
                "policy": self._policy.value,
                "compute_dtypes": resources.compute_dtypes,
                "storage_dtypes": resources.storage_dtypes,
                "attention": resources.attention,
                "entries": (*entries, *resting),
                "levels": self.adviser.default_levels(self._level),
                "timeline": self._samples(),
                "events": tuple(self._events),
                "hits": 0 if pool is None else pool.hits,
                "loads": 0 if pool is None else pool.loads,
                "evictions": 0 if pool is None else pool.evictions,
                "waiting": self._waiting,
                "caches": self.care.caches(),
                "ahead": self.ahead.waiting,
                "hint": leak_hint(tuple(self._rests)),
            }
        )

    def release(self, key: str | None = None) -> None:
        """Free everything that is neither in use nor pinned, or one part. Raises ConflictError."""
        if key is None:
            # Nothing of it comes back by itself.
            self._freed_at = time.time()
            self._wish(lambda pool: self._cleared(pool))
            return
        entry = self._entry(key)
        if entry.leases:
            raise ConflictError(
                "in_use", f"The {name_of(entry)} is in use and stays.", "Wait for the running pictures."
            )
        self._wish(lambda pool: self._evicted(pool, entry))

    def pin(self, *, key: str | None = None, model: str | None = None, pinned: bool = True, warm: bool = False) -> None:
        """Keep a part or a model loaded, or stop. Raises SpecError, ConflictError, OutOfMemoryError, ModelFileError."""
        if (key is None) == (model is None):
            raise SpecError("bad_request", "Name either the key of a part or a model to pin, one of them.", "")
        if model is not None:
            self._pin_model(model, pinned)
            return
        entry = self._entry(key or "")
        if pinned and not warm and self._pool is not None:
            room = self._pool.budget_bytes
            check_pins(self._pool.entries(), room, entry.nbytes, f"The {name_of(entry)}", besides=key or "")
        self._pins.mark(entry, pinned=pinned and not warm, warm=pinned and warm)

        def mark(pool: ModelPool) -> None:
            pool.pin(entry.key, pinned and not warm)
            pool.warm(entry.key, pinned and warm)

        self._wish(mark)

    def set_level(
        self, level: LevelName | None = None, policy: str | None = None, pool_gb: float | None = None
    ) -> None:
        """Change settings, live, and keep them. Raises SpecError; nothing has changed then."""
        resources = self.resources()
        chosen = parse_level(level) if level is not None else self._level
        budget = pool_budget(resources, pool_gb) if pool_gb is not None else None
        leaves_first = parse_policy(policy) if policy is not None else self._policy
        if level is not None:
            self._level = chosen
            self._store.memory.set_setting("level", level)
            self.tell("level", f"The memory level {level} was chosen.")
        if policy is not None:
            self._policy = leaves_first
            self._store.memory.set_setting("policy", policy)
            if self._pool is not None:
                self._pool.eviction_policy = self._policy
        if budget is not None and pool_gb is not None:
            self._pool_gb = checked_budget(resources, pool_gb)
            self._store.memory.set_setting("pool_gb", str(pool_gb))
            size = budget.work
            self._wish(lambda pool: pool.resize(size))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _wish(self, act: Callable[[ModelPool], None]) -> None:
        """Post a wish and wait a moment for it, so that the answer shows what became of it."""
        if self._pool is None:
            return
        granted = threading.Event()
        with self._guard:
            self._waiting += 1

        def grant(pool: ModelPool) -> None:
            try:
                act(pool)
            finally:
                with self._guard:
                    self._waiting -= 1
                granted.set()

        self._pool.post(grant)
        self._wake()
        granted.wait(_PATIENCE)

    def _room(self) -> int | None:
        return None if self._pool is None else self._pool.budget_bytes

    def _cleared(self, pool: ModelPool) -> None:
        freed = pool.clear()
        self._meter.release()
        self.tell("released", f"{in_words(freed)} were released.")

    def _evicted(self, pool: ModelPool, entry: PoolEntry) -> None:
        if pool.evict(entry.key, rest=False):
            self._meter.release()

    def _entry(self, key: str) -> PoolEntry:
        if self._pool is not None:
            for entry in (*self._pool.entries(), *self._pool.resting()):
                if key_text(entry.key) == key:
                    return entry
        raise ConflictError("not_loaded", "That part is not loaded any more.", "Look at the list again.")

    def _pin_model(self, model: str, pinned: bool) -> None:
        entry = self._library.find_model(model)
        name = entry.path.name
        entries = () if self._pool is None else self._pool.entries()
        present = [each for each in entries if title_of(each.key) == name]
        if pinned and self._pool is not None:
            need = self.adviser.weights(entry)
            others = [each for each in entries if each not in present]
            check_pins(others, self._pool.budget_bytes, need, entry.view.title)
        self._store.memory.pin_model(entry.view.id, pinned)
        for each in present:
            self._pins.mark(each, pinned=pinned)
        keys = [each.key for each in present]

        def mark(pool: ModelPool) -> None:
            for key in keys:
                pool.pin(key, pinned)

        self._wish(mark)

    def _samples(self) -> tuple[SampleView, ...]:
        return tuple(
            SampleView(
                at=each.at,
                vram=each.usage.vram,
                ram=each.usage.ram,
                pool=each.pool,
                parts=dict(each.parts),
                mark=each.mark,
            )
            for each in self._timeline.samples(_SHOWN_SAMPLES)
        )


def _kept_policy(name: str) -> EvictionPolicy:
    """The policy that was chosen once; one that this Easel does not know is as none."""
    try:
        return parse_policy(name)
    except SpecError:
        return EvictionPolicy.SCORE
