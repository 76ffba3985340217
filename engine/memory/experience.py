"""Experience: what this machine has measured, peaks of jobs and times of levels, and what follows for the forecast."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from engine.memory.correction import MeasuredPeak, correcting
from engine.memory.levels import TIME_FACTORS, OptimizationLevel
from engine.memory.plan import LevelForecast, Work
from engine.store.measurements import MeasurementStore

_PEAK, _TIME = "peak_memory", "level_time"
_PEAKS_LOOKED_AT, _TIMES_LOOKED_AT = 24, 5


class Experience:
    """Reads and writes the store's measurements.

    Args:
        device: names the device, since numbers of another one say nothing.
    """

    def __init__(self, measurements: MeasurementStore, device: Callable[[], str]) -> None:
        self._measurements, self._device = measurements, device

    def add_peak(self, model_id: str, dtype: str, forecast: LevelForecast, work: Work, peak: int) -> None:
        """A job under `forecast.level` took `peak` bytes at most where models compute."""
        self._measurements.add(
            _PEAK,
            self._peak_key(model_id, dtype, forecast.level),
            float(peak),
            {
                "activations": forecast.largest.activations,
                "width": work.width,
                "height": work.height,
                "pictures": work.pictures,
                "guided": work.guided,
                "adapter_bytes": work.adapter_bytes,
                "control_bytes": work.control_bytes,
                "controls": work.controls,
            },
        )

    def add_time(self, level: OptimizationLevel, seconds: float) -> None:
        """A step under a level took so long, the setting being the same for all levels."""
        self._measurements.add(_TIME, f"{level.value}|{self._device()}", seconds)

    def correction(self, model_id: str, dtype: str) -> Callable[[LevelForecast, Work], LevelForecast]:
        """A planner's `correct` for a model; each level is looked up once."""
        known: dict[OptimizationLevel, list[MeasuredPeak]] = {}

        def history(forecast: LevelForecast, work: Work) -> list[MeasuredPeak]:
            if forecast.level not in known:
                known[forecast.level] = self._peaks(model_id, dtype, forecast.level)
            return known[forecast.level]

        return correcting(history)

    def time_factors(self) -> tuple[dict[OptimizationLevel, float], frozenset[OptimizationLevel]]:
        """Time against NONE by level, and which of them were measured here; the others are what is generally so."""
        seconds: dict[OptimizationLevel, float] = {}
        for level in OptimizationLevel:
            rows = self._measurements.recent(_TIME, f"{level.value}|{self._device()}", _TIMES_LOOKED_AT)
            if rows:
                seconds[level] = median(row.value for row in rows)
        base = seconds.get(OptimizationLevel.NONE)
        if not base:
            return dict(TIME_FACTORS), frozenset()
        return {**TIME_FACTORS, **{level: took / base for level, took in seconds.items()}}, frozenset(seconds)

    def _peaks(self, model_id: str, dtype: str, level: OptimizationLevel) -> list[MeasuredPeak]:
        rows = self._measurements.recent(_PEAK, self._peak_key(model_id, dtype, level), _PEAKS_LOOKED_AT)
        return [MeasuredPeak(int(row.value), **row.context) for row in rows]  # type: ignore[arg-type]

    def _peak_key(self, model_id: str, dtype: str, level: OptimizationLevel) -> str:
        return f"{model_id}|{level.value}|{self._device()}|{dtype}"
