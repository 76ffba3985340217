"""Answers about memory: the panel's view, forecasts, what a person decides, and what the levels take here."""

from __future__ import annotations

from typing import Any

from engine.errors import ConflictError, StudioError
from engine.jobs.admission import Admission
from engine.jobs.picture_size import checked_side
from engine.jobs.queue import JobQueue
from engine.library.library import Library
from engine.library.model_list import STARTER
from engine.memory.desk import MemoryDesk
from engine.memory.views import measured_levels
from engine.protocol.jobs import FINISHED
from engine.protocol.memory import AttentionView, ForecastView, MeasuredView, MemoryView
from engine.protocol.memory_commands import (
    Forecast,
    GetMemory,
    MeasureLevels,
    PinModel,
    PreloadModel,
    ReleaseMemory,
    SetLevel,
)
from engine.protocol.specs import GenerationSpec
from engine.server.dispatch import Answers
from engine.store.jobs import JobRecord
from engine.store.store import Store

MEASURE = "measure"


class MemoryAnswers:
    """Reads copies; what changes the pool is done by the worker's thread. Measurements are jobs of kind "measure"."""

    def __init__(self, desk: MemoryDesk, queue: JobQueue, store: Store, library: Library, admission: Admission) -> None:
        self._desk, self._queue, self._store = desk, queue, store
        self._library, self._admission = library, admission

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            GetMemory: self.get,
            Forecast: self.forecast,
            ReleaseMemory: self.release,
            PinModel: self.pin,
            PreloadModel: self.preload,
            MeasureLevels: self.measure,
            SetLevel: self.set_level,
        }

    def get(self, command: GetMemory) -> MemoryView:
        """The view now."""
        return self._view(command.owner)

    def forecast(self, command: Forecast) -> ForecastView:
        """Whether a spec will fit. Raises SpecError for a size that no picture may have."""
        for name, side in (("width", command.spec.width), ("height", command.spec.height)):
            if side is not None:
                checked_side(name, side)
        return self._desk.forecast(command.spec, command.level)

    def release(self, command: ReleaseMemory) -> MemoryView:
        """Free what can be freed."""
        self._desk.release(command.key)
        return self._view(command.owner)

    def pin(self, command: PinModel) -> MemoryView:
        """Keep something, or no more."""
        self._desk.pin(key=command.key, model=command.model, pinned=command.pinned, warm=command.warm)
        return self._view(command.owner)

    def preload(self, command: PreloadModel) -> MemoryView:
        """Load ahead."""
        self._desk.ahead.ask(command.model)
        return self._view(command.owner)

    def measure(self, command: MeasureLevels) -> MemoryView:
        """Begin to measure, or end it. Raises SpecError, ModelFileError, ConflictError."""
        present = self._measuring(command.owner)
        if command.cancel:
            if present is None:
                raise ConflictError("job_already_finished", "Nothing is being measured.", "")
            self._queue.cancel(present.id, command.owner, None)
            return self._view(command.owner)
        if present is not None:
            raise ConflictError(
                "in_use", "The memory levels are being measured already.", "Wait for it, or cancel it first."
            )
        entry = self._library.find_model(command.model or self._usual())
        spec = GenerationSpec(
            prompt=f"memory levels of {entry.view.title}", model=entry.view.id, width=command.width,
            height=command.height, sampler="euler", seed=1,
        )  # fmt: skip
        self._queue.submit_errand(MEASURE, self._admission.admit(spec).spec, {}, owner=command.owner)
        return self._view(command.owner)

    def set_level(self, command: SetLevel) -> MemoryView:
        """Change settings."""
        self._desk.set_level(command.level, command.policy, command.pool_gb)
        return self._view(command.owner)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _usual(self) -> str | None:
        """The starter, which everybody has; None is the default model."""
        return STARTER if any(model.view.id == STARTER for model in self._library.models()) else None

    def _measuring(self, owner: str) -> JobRecord | None:
        records = self._store.jobs.of_kind(MEASURE, owner, 1)
        return records[0] if records and records[0].status not in FINISHED else None

    def _view(self, owner: str) -> MemoryView:
        return self._desk.view().model_copy(update={"measured": self._measured(owner)})

    def _measured(self, owner: str) -> MeasuredView:
        """The newest measurement of the owner, under way or done; without one, what is known of the default model."""
        records = self._store.jobs.of_kind(MEASURE, owner, 1)
        attention = self._desk.experience.attention()
        kernels = tuple(AttentionView(kernel=name, seconds=took) for name, took in attention.items())
        found = MeasuredView(attention=kernels, **(self._told(records[0]) if records else {}))
        try:
            entry = self._library.find_model(records[0].spec.model if records else self._usual())
        except StudioError:
            # The model left meanwhile: a measurement under way can be canceled all the same.
            return found
        levels = measured_levels(self._desk.experience.levels(entry.view.id))
        return found.model_copy(update={"model": entry.view.id, "title": entry.view.title, "levels": levels})

    def _told(self, record: JobRecord) -> dict[str, Any]:
        """What the view says of the measurement itself."""
        told = self._queue.view(record).progress
        going = record.status not in FINISHED
        return {
            "width": record.spec.width or 0,
            "height": record.spec.height or 0,
            "job_id": record.id if going else "",
            "fraction": told.fraction if going else 0.0,
            "seconds_left": told.eta_seconds if going else None,
            "error": record.error.message if record.error is not None else "",
            "notes": tuple(notice.message for notice in record.notices),
        }
