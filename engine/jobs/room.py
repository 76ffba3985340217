"""Room: how many pictures a machine without a GPU can make at once, and whether one fits at all.

On a GPU too much is an error that can be caught, and the job goes on with less (`engine.memory.ladder`). On a CPU the
system ends the engine instead, so it is looked at before the work begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine.errors import OutOfMemoryError, StudioError
from engine.jobs.plans import Plans
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.desk import MemoryDesk
from engine.memory.levels import OptimizationLevel
from engine.memory.plan import Plan, Work
from engine.memory.sizes import in_words
from engine.protocol.specs import GenerationSpec

# Pixels of a picture up to which a CPU makes two in one call in less time than one after another.
_IN_COMPANY = 256 * 256


class Room:
    """Asked on any thread. Where models do not compute on a CPU, everything has room."""

    def __init__(self, desk: MemoryDesk, library: Library, plans: Plans) -> None:
        self._desk, self._library, self._plans = desk, library, plans

    @property
    def watched(self) -> bool:
        """Whether too much would end the engine."""
        return self._desk.computes_on == "cpu"

    def at_once(self, entry: ModelEntry, work: Work) -> int:
        """How many of `work.pictures` go at once; at least 1."""
        if not self.watched or self.fitting(entry, work).fits:
            return work.pictures
        count = 1
        while count + 1 < work.pictures and self.fitting(entry, replace(work, pictures=count + 1)).fits:
            count += 1
        return count

    def fitting(self, entry: ModelEntry, work: Work) -> Plan:
        """The plan under the chosen level; where that does not fit, under the first harder one that does."""
        plan = self._plans.of(entry, work, self._desk.level)
        if plan.fits or not self.watched:
            return plan
        harder = (self._plans.of(entry, work, level) for level in _harder(self._desk.level))
        return next((other for other in harder if other.fits), plan)

    def joins(self, spec: GenerationSpec, others: Sequence[GenerationSpec]) -> bool:
        """Whether a picture can begin beside others of its model that are in progress."""
        if not (self.watched and others):
            return True
        try:
            entry = self._library.find_model(spec.model)
            work = self._desk.adviser.work_of(spec, entry)
            return self.fitting(entry, self.together(replace(work, pictures=1), spec, others)).fits
        except StudioError:
            # Whether the model can be used shows when it is opened.
            return True

    def gains(self, spec: GenerationSpec) -> bool:
        """Whether pictures of several jobs are done sooner together. Large ones are not on a CPU: all would be done
        when the last one is, and whoever came first would wait for them."""
        return not self.watched or (spec.width or 0) * (spec.height or 0) <= _IN_COMPANY

    def together(self, work: Work, spec: GenerationSpec, others: Sequence[GenerationSpec]) -> Work:
        """The work of `spec` in one call with those of `others` that have its size; only they can share one."""
        alike = [other for other in others if (other.width, other.height) == (spec.width, spec.height)]
        if not alike:
            return work
        units = max(sum(not unit.muted for unit in other.controls) for other in alike)
        guided = work.guided or any((other.guidance or 0.0) > 1.0 for other in alike)
        count = work.pictures + len(alike)
        return replace(work, pictures=count, guided=guided, controls=max(work.controls, units))

    def refusal(self, spec: GenerationSpec) -> OutOfMemoryError | None:
        """Why not even one picture of a spec fits; None where it may, or where nothing can be forecast.

        The margin of the forecast is left out, and what the engine itself holds would be given back: who is refused
        would not have been served a moment later either.
        """
        if not self.watched:
            return None
        try:
            entry = self._library.find_model(spec.model)
            work = replace(self._desk.adviser.work_of(spec, entry), pictures=1)
            plan = self._plans.of(entry, work, self._desk.level)
            held = self._desk.bytes_held()
            room = plan.budget.free - held["pool"] + max(held["pool"], held["ram"])
            need = min(each.peak for each in (plan.chosen, *plan.alternatives))
            if plan.fits or need <= room:
                return None
            size = self._desk.plan(entry, work, advise=True).largest_size
        except StudioError:
            return None
        hint = f"Take at most {size[0]} × {size[1]} px." if size is not None else "Take a smaller model."
        return OutOfMemoryError(
            "out_of_memory",
            f"A picture of {work.width} × {work.height} px takes {in_words(need)} of memory at the least, and "
            f"{in_words(room)} can be had.",
            hint,
        )

    def check(self, spec: GenerationSpec) -> None:
        """Raises OutOfMemoryError, see `refusal`."""
        error = self.refusal(spec)
        if error is not None:
            raise error


def _harder(level: OptimizationLevel | None) -> Iterator[OptimizationLevel]:
    while level is not None and (level := level.harder) is not None:
        yield level
