"""Errands: jobs that paint nothing new (enlarge a picture, merge adapters), done in steps between evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from engine.jobs.queue import Claim
from engine.jobs.running import Running
from engine.protocol.jobs import Stage


@dataclass(frozen=True)
class ErrandStep:
    """How far an errand is: `fraction` 0.0–1.0."""

    stage: Stage
    fraction: float


class Errand(Protocol):
    """One kind of such work. `kind` is that of the job."""

    kind: str

    def run(self, running: Running) -> Iterator[ErrandStep]:
        """Do what the job's payload says; other work goes on wherever this yields.

        When the iterator ends, the result is stored and the job's task is marked done. Closing it early leaves nothing
        half-written. Run again after a crash, it starts anew. Raises StudioError.
        """
        ...


class RunningErrand:
    """An errand in progress."""

    def __init__(self, claim: Claim, errand: Errand) -> None:
        self.running = Running(claim)
        self._steps = errand.run(self.running)

    def advance(self) -> ErrandStep | None:
        """The next step; None when it is done."""
        return next(self._steps, None)

    def close(self) -> None:
        """Let go of it, done or not."""
        close = getattr(self._steps, "close", None)
        if close is not None:
            close()
