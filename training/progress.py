"""Lines of progress with the time left, and the moment a time budget ends."""

from __future__ import annotations

import time


class Progress:
    """Counts steps of one run. `minutes` (None = no limit) is measured from construction, for this run only."""

    def __init__(
        self, title: str, steps: int, first: int = 0, minutes: float | None = None, every: float = 30.0
    ) -> None:
        self.title, self.steps, self.first, self.minutes, self.every = title, steps, first, minutes, every
        self.start = time.monotonic()
        self._said = self.start

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.start

    def fraction(self, step: int) -> float:
        """How far the run is, 0–1: by steps, or by time where there is a time limit that comes earlier."""
        by_steps = step / max(1, self.steps)
        if self.minutes is None:
            return min(1.0, by_steps)
        return min(1.0, max(by_steps, self.elapsed / (self.minutes * 60)))

    def over(self, step: int) -> bool:
        return self.fraction(step) >= 1.0

    def say(self, step: int, **values: float) -> None:
        """Print at most every `every` seconds."""
        now = time.monotonic()
        if now - self._said < self.every and not self.over(step):
            return
        self._said = now
        done = self.fraction(step)
        left = self.elapsed * (1 - done) / max(done, 1e-6)
        rate = (step - self.first) / max(self.elapsed, 1e-6)
        text = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
        clock = time.strftime("%H:%M:%S")
        print(f"{clock} {self.title} step {step}  {text}  {rate:.2f} steps/s  {left / 60:.1f} min left", flush=True)
