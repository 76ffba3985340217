"""What is in progress: a picture between its claim and its file, or an errand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from engine.jobs.adapters import LentStack
from engine.jobs.controls import LentControls
from engine.jobs.queue import Claim
from engine.jobs.schedule import class_weight
from engine.pipeline.context import GenerationContext


@dataclass
class Running:
    """One task of a job in progress."""

    claim: Claim
    began: float = field(default_factory=time.monotonic, kw_only=True)

    @property
    def job_id(self) -> str:
        return self.claim.job.id

    @property
    def index(self) -> int:
        return self.claim.task.index

    @property
    def image_id(self) -> str:
        return self.claim.task.image_id

    @property
    def owner(self) -> str:
        return self.claim.job.owner


@dataclass
class RunningPicture(Running):
    """What the worker keeps of a picture.

    `lent` are its adapters and `controls` its ControlNets, given back when it is over. `alone` is set after a shared
    call failed, so that the next failure names its culprit. `counted` is the number of evaluations that the store
    knows of.
    """

    context: GenerationContext
    lent: LentStack
    controls: LentControls = field(default_factory=LentControls)
    alone: bool = False
    counted: int = 0
    last_preview: float = 0.0
    last_snapshot: float = field(default_factory=time.monotonic)

    def let_controls_go(self) -> None:
        """Its ControlNets are done, before the picture is decoded."""
        self.context.end_controls()
        self.controls.close()

    def close(self) -> None:
        """Give back what was lent for it."""
        self.lent.close()
        self.controls.close()

    @property
    def weight(self) -> float:
        return class_weight(self.claim.job.priority)

    @property
    def group_key(self) -> object:
        """Pictures with equal keys may share a UNet call."""
        return (self.context.key, self.image_id) if self.alone else self.context.key
