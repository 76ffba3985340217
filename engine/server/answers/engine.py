"""Answers about the engine itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from engine.jobs.queue import JobQueue
from engine.metrics.registry import Metrics
from engine.protocol.commands import (
    Done,
    EngineStatus,
    GetMetrics,
    GetStatus,
    GetValue,
    MetricsText,
    SetValue,
    Value,
)
from engine.protocol.extensions import EngineHalves, ListEngineHalves
from engine.server.dispatch import Answers
from engine.server.state import StateMachine
from engine.store.store import Store


class EngineAnswers:
    """Status, metrics, stored values and the engine's halves of extensions."""

    def __init__(
        self,
        state: StateMachine,
        queue: JobQueue,
        store: Store,
        metrics: Metrics,
        last_seq: Callable[[], int],
        memory: Callable[[], Mapping[str, int]],
        halves: Callable[[], EngineHalves],
    ) -> None:
        self._halves = halves
        self._state, self._queue, self._store = state, queue, store
        self._metrics, self._last_seq, self._memory = metrics, last_seq, memory

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            GetStatus: self.status,
            GetMetrics: self.metrics,
            ListEngineHalves: self.halves,
            GetValue: self.get_value,
            SetValue: self.set_value,
        }

    def status(self, command: GetStatus) -> EngineStatus:
        """What the engine is doing."""
        queued, running = self._queue.counts()
        return EngineStatus(
            state=self._state.state,
            message=self._state.message,
            fraction=self._state.fraction,
            pid=os.getpid(),
            device=self._state.device,
            queued=queued,
            running=running,
            last_seq=self._last_seq(),
        )

    def metrics(self, command: GetMetrics) -> MetricsText:
        """Prometheus text."""
        self._metrics.set_jobs(self._store.jobs.counts())
        self._metrics.set_memory(self._memory())
        return MetricsText(text=self._metrics.render())

    def halves(self, command: ListEngineHalves) -> EngineHalves:
        """What became of each."""
        return self._halves()

    def get_value(self, command: GetValue) -> Value:
        """A stored value."""
        return Value(value=self._store.values.get(command.owner, command.key))

    def set_value(self, command: SetValue) -> Done:
        """Store a value."""
        self._store.values.set(command.owner, command.key, command.value)
        return Done(count=1)
