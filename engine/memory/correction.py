"""Correcting the forecast by peaks that were measured on this machine. Pure; the store keeps the numbers.

The same setting again: the median of its last measured peaks, a little up (what the allocator keeps differs; one odd
run must not count for ever). Another size or batch: a line through the peaks of other settings of the same model, level
and device, over the activations that were predicted for them; those grow with size and batch exactly, so a line is the
right curve. Far beyond the largest that was measured it rises at least as the forecast does: the peaks of small
pictures differ by noise, and noise has no slope. The answer leans to the high side: an underestimate costs a job, an
overestimate some speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from engine.memory.plan import LevelForecast, Work

_LATEST = 3
# Private memory differs by some percent from run to run; a line through other settings errs by a little more.
_HEADROOM, _LINE_HEADROOM = 1.04, 1.08
_LEAST_SETTINGS = 2
# As far beyond the largest measured activations the line's own slope is believed.
_REACH = 2


@dataclass(frozen=True)
class MeasuredPeak:
    """A peak of one finished picture.

    peak: bytes where models compute; activations: the forecast's, of that time; both for one setting
    (`width`, `height`, `pictures`, `guided`).
    """

    peak: int
    activations: int
    width: int
    height: int
    pictures: int
    guided: bool = True
    adapter_bytes: int = 0
    control_bytes: int = 0
    controls: int = 0
    upscale: int = 1

    @property
    def bare(self) -> int:
        """The peak without what adapters and ControlNets weigh."""
        return self.peak - self.adapter_bytes - self.control_bytes

    def same(self, work: Work) -> bool:
        """Whether it is of this very setting."""
        return setting_of(self) == setting_of(work)


def setting_of(of: MeasuredPeak | Work) -> tuple[int | bool, ...]:
    """What tells one setting from another: of an adapter's and a ControlNet's files only their size."""
    return (of.width, of.height, of.pictures, of.guided, of.adapter_bytes, of.control_bytes, of.controls, of.upscale)


History = Callable[[LevelForecast, Work], Iterable[MeasuredPeak]]


def correcting(history: History) -> Callable[[LevelForecast, Work], LevelForecast]:
    """A `Planner`'s `correct`: looks up what was measured of the same model, level and device, newest first."""

    def correct(forecast: LevelForecast, work: Work) -> LevelForecast:
        return corrected(forecast, work, list(history(forecast, work)))

    return correct


def corrected(forecast: LevelForecast, work: Work, peaks: Sequence[MeasuredPeak]) -> LevelForecast:
    """The forecast with its peak corrected.

    Args:
        peaks: newest first, all of the same model, level and device.
    """
    same = [each.peak for each in peaks if each.same(work)][:_LATEST]
    if same:
        return replace(forecast, peak=int(median(same) * _HEADROOM), measured=True)
    # What enlarging holds grows in another way than what painting holds.
    alike = [each for each in peaks if each.upscale == work.upscale]
    line = _line(alike)
    if line is None:
        return forecast
    base, slope = line
    near = min(forecast.activations, _REACH * max(each.activations for each in alike))
    far = forecast.activations - near
    predicted = base + slope * near + max(slope, 1.0) * far + work.adapter_bytes + work.control_bytes
    return replace(forecast, peak=int(predicted * _LINE_HEADROOM), measured=True)


def _line(peaks: Sequence[MeasuredPeak]) -> tuple[float, float] | None:
    """(bytes at no activations, bytes a predicted byte): least squares; None with fewer than two different settings."""
    if len({each.activations for each in peaks}) < _LEAST_SETTINGS:
        return None
    count = len(peaks)
    mean_x = sum(each.activations for each in peaks) / count
    mean_y = sum(each.bare for each in peaks) / count
    spread = sum((each.activations - mean_x) ** 2 for each in peaks)
    slope = sum((each.activations - mean_x) * (each.bare - mean_y) for each in peaks) / spread
    # A larger picture never takes less: a negative slope is noise.
    slope = max(0.0, slope)
    base = mean_y - slope * mean_x
    if base < 0:
        # Nothing takes less than nothing: two noisy peaks close together would foretell it for small pictures.
        return 0.0, sum(each.activations * each.bare for each in peaks) / sum(each.activations**2 for each in peaks)
    return base, slope
