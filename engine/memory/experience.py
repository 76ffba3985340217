"""Experience: what this machine has measured, peaks of jobs and times of levels, and what follows for the forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median

from engine.memory.correction import MeasuredPeak, correcting
from engine.memory.levels import CPU_TIME_FACTORS, TIME_FACTORS, OptimizationLevel
from engine.memory.plan import LevelForecast, Work
from engine.store.measurements import MeasurementStore

_PEAK, _TIME, _LEVEL, _ATTENTION = "peak_memory", "level_time", "level_measured", "attention_time"
KERNELS = ("sdpa_flash", "sdpa_efficient", "sdpa_math", "sliced", "xformers")
_PEAKS_LOOKED_AT, _TIMES_LOOKED_AT = 24, 5


@dataclass(frozen=True)
class LevelResult:
    """What a usual picture of a model took under a level: `seconds` when the model was used before, of them
    `step_seconds` a step, `peak` bytes, and `cold_seconds` of a first, shorter picture that reads the files.

    `width`, `height`: of the picture, in pixels; 0 where it was not kept. Only pictures of one size can be compared.
    """

    level: OptimizationLevel
    seconds: float
    step_seconds: float
    peak: int
    cold_seconds: float = 0.0
    width: int = 0
    height: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Of the picture."""
        return self.width, self.height


class Experience:
    """Reads and writes the store's measurements.

    Args:
        device: names the device, since numbers of another one say nothing. on_gpu: whether it is a GPU.
    """

    def __init__(
        self, measurements: MeasurementStore, device: Callable[[], str], on_gpu: Callable[[], bool] = lambda: True
    ) -> None:
        self._measurements, self._device, self._on_gpu = measurements, device, on_gpu

    def add_peak(self, model_id: str, dtype: str, forecast: LevelForecast, work: Work, peak: int) -> None:
        """A job under `forecast.level` took `peak` bytes at most where models compute."""
        work = work.under(forecast.config)
        self._measurements.add(
            _PEAK,
            self._peak_key(model_id, dtype, forecast.level),
            float(peak),
            {
                "activations": forecast.activations,
                "width": work.width,
                "height": work.height,
                "pictures": work.pictures,
                "guided": work.guided,
                "adapter_bytes": work.adapter_bytes,
                "control_bytes": work.control_bytes,
                "controls": work.controls,
                "upscale": work.upscale,
            },
        )

    def add_time(self, level: OptimizationLevel, time: float) -> None:
        """A picture under a level took so long, in any unit, model and setting being the same for all levels."""
        self._measurements.add(_TIME, self._time_key(level), time)

    def add_levels(self, model_id: str, results: Mapping[OptimizationLevel, LevelResult]) -> None:
        """A model was measured under these levels, NONE among them or not."""
        base = results.get(OptimizationLevel.NONE)
        for level, result in results.items():
            context = {name: value for name, value in asdict(result).items() if name != "level"}
            self._measurements.add(_LEVEL, self._time_key(level, model_id), result.seconds, context)
            if base is not None and base.seconds:
                # What other models have to go by.
                self.add_time(level, result.seconds / base.seconds)

    def levels(self, model_id: str) -> dict[OptimizationLevel, LevelResult]:
        """What was measured last of a model on this device."""
        found: dict[OptimizationLevel, LevelResult] = {}
        for level in OptimizationLevel:
            for row in self._measurements.recent(_LEVEL, self._time_key(level, model_id), 1):
                found[level] = LevelResult(level, **row.context)  # type: ignore[arg-type]
        return found

    def add_attention(self, seconds: Mapping[str, float]) -> None:
        """One attention call took so long with each kernel."""
        for kernel, took in seconds.items():
            self._measurements.add(_ATTENTION, f"{kernel}|{self._device()}", took)

    def attention(self) -> dict[str, float]:
        """Seconds of one call with each kernel that was measured here, the fastest first."""
        rows = {name: self._measurements.recent(_ATTENTION, f"{name}|{self._device()}", 1) for name in KERNELS}
        found = {name: rows[name][0].value for name in rows if rows[name]}
        return dict(sorted(found.items(), key=lambda row: row[1]))

    def correction(self, model_id: str, dtype: str) -> Callable[[LevelForecast, Work], LevelForecast]:
        """A planner's `correct` for a model; each level is looked up once."""
        known: dict[OptimizationLevel, list[MeasuredPeak]] = {}

        def history(forecast: LevelForecast, work: Work) -> list[MeasuredPeak]:
            if forecast.level not in known:
                known[forecast.level] = self._peaks(model_id, dtype, forecast.level)
            return known[forecast.level]

        return correcting(history)

    def time_factors(self, model_id: str = "") -> tuple[dict[OptimizationLevel, float], frozenset[OptimizationLevel]]:
        """Time against NONE by level, and which of them were measured here: of the model, else of another one; the
        rest is what is generally so."""
        factors = dict(TIME_FACTORS if self._on_gpu() else CPU_TIME_FACTORS)
        measured: set[OptimizationLevel] = set()
        for times in (self._times_of_others(), self._own_times(model_id)):
            if base := times.get(OptimizationLevel.NONE):
                factors |= {level: took / base for level, took in times.items()}
                measured |= times.keys()
        return factors, frozenset(measured)

    def _own_times(self, model_id: str) -> dict[OptimizationLevel, float]:
        """Seconds of the model's pictures of the size that was measured under NONE."""
        found = self.levels(model_id) if model_id else {}
        base = found.get(OptimizationLevel.NONE)
        return {level: each.seconds for level, each in found.items() if base is not None and each.size == base.size}

    def _times_of_others(self) -> dict[OptimizationLevel, float]:
        rows = {
            level: self._measurements.recent(_TIME, self._time_key(level), _TIMES_LOOKED_AT)
            for level in OptimizationLevel
        }
        return {level: median(row.value for row in found) for level, found in rows.items() if found}

    def _time_key(self, level: OptimizationLevel, model_id: str = "") -> str:
        return f"{level.value}|{self._device()}" + (f"|{model_id}" if model_id else "")

    def _peaks(self, model_id: str, dtype: str, level: OptimizationLevel) -> list[MeasuredPeak]:
        rows = self._measurements.recent(_PEAK, self._peak_key(model_id, dtype, level), _PEAKS_LOOKED_AT)
        return [MeasuredPeak(int(row.value), **row.context) for row in rows]  # type: ignore[arg-type]

    def _peak_key(self, model_id: str, dtype: str, level: OptimizationLevel) -> str:
        return f"{model_id}|{level.value}|{self._device()}|{dtype}"
