"""Answers about memory: the panel's view, forecasts, and what a person decides."""

from __future__ import annotations

from engine.memory.desk import MemoryDesk
from engine.protocol.memory import ForecastView, MemoryView
from engine.protocol.memory_commands import (
    Forecast,
    GetMemory,
    PinModel,
    PreloadModel,
    ReleaseMemory,
    SetLevel,
)
from engine.server.dispatch import Answers


class MemoryAnswers:
    """Reads copies; what changes the pool is done by the worker's thread."""

    def __init__(self, desk: MemoryDesk) -> None:
        self._desk = desk

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            GetMemory: self.get,
            Forecast: self.forecast,
            ReleaseMemory: self.release,
            PinModel: self.pin,
            PreloadModel: self.preload,
            SetLevel: self.set_level,
        }

    def get(self, command: GetMemory) -> MemoryView:
        """The view now."""
        return self._desk.view()

    def forecast(self, command: Forecast) -> ForecastView:
        """Whether a spec will fit."""
        return self._desk.forecast(command.spec, command.level)

    def release(self, command: ReleaseMemory) -> MemoryView:
        """Free what can be freed."""
        self._desk.release(command.key)
        return self._desk.view()

    def pin(self, command: PinModel) -> MemoryView:
        """Keep something, or no more."""
        self._desk.pin(key=command.key, model=command.model, pinned=command.pinned, warm=command.warm)
        return self._desk.view()

    def preload(self, command: PreloadModel) -> MemoryView:
        """Load ahead."""
        self._desk.ahead.ask(command.model)
        return self._desk.view()

    def set_level(self, command: SetLevel) -> MemoryView:
        """Change settings."""
        self._desk.set_level(command.level, command.policy, command.pool_gb)
        return self._desk.view()
