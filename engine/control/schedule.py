"""How strong a unit is at a step: its window in one of two percentage rules, its ramp, its weight. Pure numbers.

Programs disagree about what "20 % to 80 %" means. A1111 and diffusers count steps (rule "step"); ComfyUI and Forge go
by the noise that is left, through the model's training timesteps (rule "sigma"). With schedules that spend many steps
on little noise (Karras) the difference is large, so each unit says which rule it follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine.protocol.specs import ControlRamp, PercentRule

TRAINING_STEPS = 1000


@dataclass(frozen=True)
class Moment:
    """One evaluation of a picture.

    Attributes:
        place, total: its number among the entries of `scheduler.timesteps`, and how many there are.
        timestep: training timestep, 0 (no noise) to `training_steps` − 1.
    """

    place: int
    total: int
    timestep: float
    training_steps: int = TRAINING_STEPS


@dataclass(frozen=True)
class Window:
    """From where to where a unit works, 0.0–1.0, and how its strength moves inside."""

    start: float = 0.0
    end: float = 1.0
    ramp: ControlRamp = "constant"
    rule: PercentRule = "step"

    def factor(self, moment: Moment) -> float:
        """What the weight is multiplied by: 0.0 outside of the window, 0.0–1.0 inside."""
        inside = self._in_steps(moment) if self.rule == "step" else self._in_sigmas(moment)
        return self._ramped(moment) if inside else 0.0

    def _in_steps(self, moment: Moment) -> bool:
        """A step counts when the whole of it lies inside, as in diffusers."""
        return not (moment.place / moment.total < self.start or (moment.place + 1) / moment.total > self.end)

    def _in_sigmas(self, moment: Moment) -> bool:
        """As in ComfyUI: the noise at a percentage is that of the training timestep at that share of the way; the very
        beginning and end are always inside. Noise grows with the timestep, so timesteps are compared."""
        last = moment.training_steps - 1
        begun = self.start <= 0 or moment.timestep <= (1 - self.start) * last
        over = self.end < 1 and moment.timestep < (1 - self.end) * last
        return begun and not over

    def _ramped(self, moment: Moment) -> float:
        if self.ramp == "constant":
            return 1.0
        if self.rule == "step":
            # The middle of the step: with few steps, the first of a rising ramp is not lost.
            reached = (moment.place + 0.5) / moment.total
        else:
            reached = 1 - moment.timestep / (moment.training_steps - 1)
        width = self.end - self.start
        share = min(max((reached - self.start) / width, 0.0), 1.0) if width > 0 else 0.0
        return _RAMPS[self.ramp](share)


def signal_share(scheduler: Any, timestep: float) -> float:
    """ᾱ at a training timestep, also between two of them: how much of a picture's variance is not noise, 0.0–1.0."""
    shares = scheduler.alphas_cumprod
    place = min(max(timestep, 0.0), len(shares) - 1.0)
    below = int(place)
    above = min(below + 1, len(shares) - 1)
    return float(shares[below]) + (place - below) * (float(shares[above]) - float(shares[below]))


_RAMPS = {
    "linear_in": lambda share: share,
    "linear_out": lambda share: 1 - share,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
}
