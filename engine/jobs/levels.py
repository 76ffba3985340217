"""LevelKeeper: which memory level the open model has, planned for each job, followed live, lowered and raised again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from engine.errors import StudioError
from engine.jobs.plans import Plans
from engine.jobs.room import Room
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.desk import MemoryDesk
from engine.memory.ladder import raised_again
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel
from engine.memory.plan import Plan, Work
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

log = logging.getLogger("easel.worker")


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
        notice: tells a job something. plans: forecasts that others made too.
    """

    def __init__(
        self,
        desk: MemoryDesk,
        library: Library,
        *,
        device: str,
        cleanup_each_step: bool = False,
        notice: Callable[[str, Notice], None] = lambda job_id, notice: None,
        plans: Plans | None = None,
    ) -> None:
        self._desk, self._library, self._device = desk, library, device
        self._cleanup_each_step, self._notice = cleanup_each_step, notice
        self._plans = plans or Plans(desk)
        self._wished = desk.level
        # Set after memory ran out, until jobs have gone well again.
        self._floor: OptimizationLevel | None = None
        self._went_well = 0
        self.present: Planned | None = None
        self.room = Room(desk, library, self._plans)

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

    def begin(
        self, job_id: str, spec: GenerationSpec, beside: Sequence[tuple[str, GenerationSpec]] = ()
    ) -> MemoryOptimizationConfig:
        """The config for a picture that begins.

        Args:
            beside: job id and spec of each picture in progress; for their sake AUTO does not go back to a faster level.
        """
        planned = self._planned(job_id, spec, [other for their_id, other in beside if their_id != job_id])
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
        planned = [self._planned("", spec, ()) for spec in specs]
        self._wished = self._desk.level
        return self._settle(max(planned, key=lambda each: each.config.level.rank))

    def ran_out(self, level: OptimizationLevel) -> None:
        """Memory ran out: until further notice no job begins under an easier level."""
        self._went_well = 0
        self._plans.forget()
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

    def _planned(self, job_id: str, spec: GenerationSpec, others: Sequence[GenerationSpec]) -> Planned:
        work = Work(spec.width or 0, spec.height or 0)
        try:
            entry = self._library.find_model(spec.model)
            work = self._desk.adviser.work_of(spec, entry)
            work = self.room.together(self._lowered(job_id, entry, work), spec, others)
            plan = self._with_floor(job_id, entry, work)
            if not plan.fits:
                plan = self._harder(job_id, entry, work, plan)
        except StudioError as error:
            # Whether the model can be used shows when it is opened.
            log.warning("no forecast: %s", error)
            level = self._floor or self._desk.level or _NONE
            return Planned(spec.model or "", work, self._config(self._bare(level)))
        return Planned(entry.view.id, work, self._config(plan.chosen.config), plan)

    def _lowered(self, job_id: str, entry: ModelEntry, work: Work) -> Work:
        """The work with as many pictures at once as there is room for."""
        count = self.room.at_once(entry, work)
        if count < work.pictures:
            message = f"There is memory for {count} at once, so {count} are made at once instead of {work.pictures}."
            self._notice(job_id, Notice(code="batch_reduced", message=message))
        return replace(work, pictures=count)

    def _harder(self, job_id: str, entry: ModelEntry, work: Work, plan: Plan) -> Plan:
        """Where the level does not fit and too much cannot be caught: a harder one that does."""
        found = self.room.fitting(entry, work)
        if not found.fits or found.chosen.level.rank <= plan.chosen.level.rank:
            return plan
        message = (
            f"At the level {plan.chosen.level.value} this does not fit into memory, so it is made at the level "
            f"{found.chosen.level.value}, which is slower."
        )
        self._notice(job_id, Notice(code="memory_level_lowered", message=message, level="warning"))
        return found

    def _with_floor(self, job_id: str, entry: ModelEntry, work: Work) -> Plan:
        plan = self._plans.of(entry, work, self._desk.level)
        floor, wished = self._floor, plan.chosen.level
        if floor is None:
            return plan
        if raised_again(floor, wished, fits=plan.fits, quiet_jobs=self._went_well):
            self._floor = None
            message = f"Memory is there again: the level is {wished.value}, as before."
            self._notice(job_id, Notice(code="memory_level_raised", message=message))
            return plan
        return plan if wished.rank >= floor.rank else self._plans.of(entry, work, floor)

    def _bare(self, level: OptimizationLevel) -> MemoryOptimizationConfig:
        return MemoryOptimizationConfig.from_level(level, device=self._device)

    def _config(self, config: MemoryOptimizationConfig) -> MemoryOptimizationConfig:
        return replace(config, cleanup_each_step=True) if self._cleanup_each_step else config


_NONE = OptimizationLevel.NONE
