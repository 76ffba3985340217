"""LevelKeeper: which memory level the open model has, planned for each job, followed live, lowered and raised again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from engine.errors import StudioError
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.desk import MemoryDesk
from engine.memory.ladder import raised_again
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel
from engine.memory.plan import Plan, Work
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

log = logging.getLogger("easel.worker")

# A plan holds so long: what else the machine does changes what is free. Planning takes 2 ms, a picture must not.
PLAN_SECONDS = 30.0
_PLANS_KEPT = 200


@dataclass(frozen=True)
class Planned:
    """What was decided for a spec: the config to make it with; `plan` is None where nothing could be forecast."""

    model: str
    work: Work
    config: MemoryOptimizationConfig
    plan: Plan | None = None


class LevelKeeper:
    """One for the worker; the model on the bench has one level at a time.

    Args:
        device: "cuda", "mps" or "cpu". cleanup_each_step: give memory back after every step.
        notice: tells a job something.
    """

    def __init__(
        self,
        desk: MemoryDesk,
        library: Library,
        *,
        device: str,
        cleanup_each_step: bool = False,
        notice: Callable[[str, Notice], None] = lambda job_id, notice: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._library, self._device = desk, library, device
        self._cleanup_each_step, self._notice, self._clock = cleanup_each_step, notice, clock
        self._plans: dict[object, tuple[Plan, float]] = {}
        self._wished = desk.level
        # Set after memory ran out, until jobs have gone well again.
        self._floor: OptimizationLevel | None = None
        self._went_well = 0
        self.present: Planned | None = None

    @property
    def level(self) -> OptimizationLevel:
        """The level that the model has now."""
        return self.resting.level if self.present is None else self.present.config.level

    @property
    def resting(self) -> MemoryOptimizationConfig:
        """The config of a model that is loaded before anybody asked for a picture."""
        if self.present is not None:
            return self.present.config
        return self._config(MemoryOptimizationConfig.from_level(self._desk.level or _NONE, device=self._device))

    def begin(self, job_id: str, spec: GenerationSpec, beside: int = 0) -> MemoryOptimizationConfig:
        """The config for a picture that begins.

        Args:
            beside: how many pictures are in progress already; for their sake AUTO does not go back to a faster level.
        """
        planned = self._planned(job_id, spec, beside)
        now = self.present
        if beside and now is not None and self._wished is self._desk.level:
            planned = now if now.config.level.rank >= planned.config.level.rank else planned
        return self._settle(planned)

    @property
    def chosen_anew(self) -> bool:
        """Whether another level was chosen in the panel since the last plan."""
        return self._desk.level is not self._wished

    def follow(self, specs: Iterable[GenerationSpec]) -> MemoryOptimizationConfig:
        """The config for what is in progress, after another level was chosen: what a person chooses holds at once."""
        self._floor = None
        planned = [self._planned("", spec, 0) for spec in specs]
        self._wished = self._desk.level
        return self._settle(max(planned, key=lambda each: each.config.level.rank))

    def ran_out(self, level: OptimizationLevel) -> None:
        """Memory ran out: until further notice no job begins under an easier level."""
        self._went_well = 0
        self._plans.clear()
        self._desk.tell("out_of_memory", "Memory ran out; a job goes on with less.")
        if level.rank > self.level.rank or self._floor is not None:
            self._floor = level

    def went_well(self) -> None:
        """A picture was made without trouble."""
        self._went_well += 1

    def largest(self, spec: GenerationSpec) -> tuple[tuple[int, int] | None, int]:
        """What would fit of a spec: (size, pictures at once)."""
        try:
            entry = self._library.find_model(spec.model)
            plan = self._desk.plan(entry, self._desk.adviser.work_of(spec, entry), advise=True)
        except StudioError:
            return None, 0
        return plan.largest_size, plan.largest_batch

    # --- inside ----------------------------------------------------------------------------------------------------

    def _settle(self, planned: Planned) -> MemoryOptimizationConfig:
        self.present, self._wished = planned, self._desk.level
        self._desk.tell_level(planned.config.level)
        return planned.config

    def _planned(self, job_id: str, spec: GenerationSpec, beside: int) -> Planned:
        work = Work(spec.width or 0, spec.height or 0)
        try:
            entry = self._library.find_model(spec.model)
            work = self._desk.adviser.work_of(spec, entry)
            if beside:
                work = replace(work, pictures=work.pictures + beside)
            plan = self._with_floor(job_id, entry, work)
        except StudioError as error:
            # Whether the model can be used shows when it is opened.
            log.warning("no forecast: %s", error)
            level = self._floor or self._desk.level or _NONE
            return Planned(spec.model or "", work, self._config(self._bare(level)))
        return Planned(entry.view.id, work, self._config(plan.chosen.config), plan)

    def _with_floor(self, job_id: str, entry: ModelEntry, work: Work) -> Plan:
        plan = self._plan(entry, work, self._desk.level)
        floor, wished = self._floor, plan.chosen.level
        if floor is None:
            return plan
        if raised_again(floor, wished, fits=plan.fits, quiet_jobs=self._went_well):
            self._floor = None
            message = f"Memory is there again: the level is {wished.value}, as before."
            self._notice(job_id, Notice(code="memory_level_raised", message=message))
            return plan
        return plan if wished.rank >= floor.rank else self._plan(entry, work, floor)

    def _plan(self, entry: ModelEntry, work: Work, level: OptimizationLevel | None) -> Plan:
        key, now = (entry.view.id, str(entry.stamp), work, level), self._clock()
        known = self._plans.get(key)
        if known is None or now - known[1] > PLAN_SECONDS:
            if len(self._plans) > _PLANS_KEPT:
                self._plans.clear()
            known = self._plans[key] = (self._desk.plan(entry, work, level=level), now)
        return known[0]

    def _bare(self, level: OptimizationLevel) -> MemoryOptimizationConfig:
        return MemoryOptimizationConfig.from_level(level, device=self._device)

    def _config(self, config: MemoryOptimizationConfig) -> MemoryOptimizationConfig:
        return replace(config, cleanup_each_step=True) if self._cleanup_each_step else config


_NONE = OptimizationLevel.NONE
