"""MeasureErrand: a model run through the memory levels, one after another, and what each takes on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.errors import OutOfMemoryError
from engine.jobs.errands import ErrandStep
from engine.jobs.faults import as_studio_error
from engine.jobs.in_progress import InProgress
from engine.jobs.pulse import Pulse
from engine.jobs.queue import JobQueue
from engine.jobs.running import Running
from engine.jobs.workbench import Workbench
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.loading.loader import part_config
from engine.memory.attention import measure_attention
from engine.memory.desk import MemoryDesk
from engine.memory.experience import LevelResult
from engine.memory.levels import OptimizationLevel
from engine.memory.meter import Meter
from engine.memory.monitor import MemoryMonitor
from engine.memory.parts import ModelSizes
from engine.memory.plan import LevelForecast
from engine.memory.steps import GenerationStep
from engine.pipeline.decode import decode
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin
from engine.pipeline.model import ModelBundle
from engine.pipeline.stop import Stopped
from engine.protocol.jobs import Stage
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store

# Two pictures of few steps give the seconds of a step and of all the rest, and with them those of a usual picture.
FEW, MORE, USUAL = 2, 5, 20
_LOOK_SECONDS = 0.05
_SCORE_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class _Run:
    """Seconds and bytes of one picture."""

    seconds: float
    peak: int


class MeasureErrand:
    """The job's spec says the model and the size. What is found goes to the desk's experience; no picture is kept.

    Other jobs come in between two levels; a level itself is measured alone: it waits until nothing is in progress.

    Args:
        device: where models compute, "cuda", "mps" or "cpu". stopping: whether the engine is about to end.
    """

    kind = "measure"

    def __init__(
        self,
        store: Store,
        desk: MemoryDesk,
        bench: Workbench,
        library: Library,
        queue: JobQueue,
        pictures: InProgress,
        meter: Meter,
        pulse: Pulse,
        *,
        device: str,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store, self._desk, self._bench = store, desk, bench
        self._library, self._queue = library, queue
        self._pictures, self._meter, self._pulse = pictures, meter, pulse
        self._device, self._stopping, self._clock = device, stopping, clock

    def run(self, running: Running) -> Iterator[ErrandStep]:
        """See `Errand`. Where a level runs out of memory, that is its result, and the next one is measured."""
        spec = running.claim.job.spec
        entry = self._library.find_model(spec.model)
        levels = list(OptimizationLevel)
        results: dict[OptimizationLevel, LevelResult] = {}
        # A first picture reads the file and imports libraries: nobody's fault, so nobody's number.
        share = 1.0 / (len(levels) * 3 + 2)
        done = 0.0

        def told(stage: Stage = "denoising") -> ErrandStep:
            return ErrandStep(stage, min(0.99, done))

        yield told("loading")
        yield from self._alone(told)
        self._one(running, entry, spec, OptimizationLevel.NONE, (FEW,))
        done += share
        for level in levels:
            yield told()
            yield from self._alone(told)
            result = self._one(running, entry, spec, level, (FEW, FEW, MORE))
            if result is not None:
                results[level] = result
                self._desk.tell("measured", f"{entry.view.title} was measured under the level {level.value}.")
            done += 3 * share
        yield told("finished")
        self._desk.experience.add_levels(entry.view.id, results)
        shape = attention_of(self._desk.adviser.sizes(entry), entry, spec)
        attention = measure_attention(self._desk.resources(), dtype=self._desk.adviser.dtype, **shape)
        self._desk.experience.add_attention(attention.seconds)
        for kernel, why in attention.refused.items():
            message = f"The attention kernel {kernel} cannot run here: {why}"
            self._queue.notice(running.job_id, Notice(code="attention_not_measured", message=message))
        self._bench.clean_up()
        self._store.jobs.set_task(running.job_id, running.index, status="done")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _alone(self, told: Callable[[], ErrandStep]) -> Iterator[ErrandStep]:
        """Let others finish: the worker paints between two of these steps."""
        while self._pictures:
            yield told()

    def _one(
        self,
        running: Running,
        entry: ModelEntry,
        spec: GenerationSpec,
        level: OptimizationLevel,
        steps: tuple[int, ...],
    ) -> LevelResult | None:
        """Pictures of so many steps under a level, loading it anew; None where it was stopped or ran out of memory."""
        work = self._desk.adviser.work_of(spec, entry)
        plan = self._desk.plan(entry, work, level=level)
        forecast = plan.chosen
        if self._device == "cpu" and not plan.fits:
            # On a GPU too much is an error that one can catch; here the system would end the engine.
            if len(steps) > 1:
                self._not_measured(running, entry, level, "this machine has not enough memory for it.")
            return None
        try:
            runs = self._runs(running, entry, spec, forecast, steps)
        except Stopped:
            return None
        except (RuntimeError, MemoryError, OutOfMemoryError) as error:
            told = as_studio_error(error)
            if not isinstance(told, OutOfMemoryError):
                raise
            self._not_measured(running, entry, level, told.message)
            return None
        finally:
            self._bench.release_all()
            self._bench.clean_up()
        if len(runs) < len(steps) or len(runs) == 1:
            return None
        step = max(0.0, (runs[-1].seconds - runs[-2].seconds) / (MORE - FEW))
        peak = max(run.peak for run in runs)
        self._desk.record_peak(entry.view.id, forecast, work, peak)
        seconds = runs[-2].seconds + (USUAL - FEW) * step
        return LevelResult(level, seconds, step, peak, runs[0].seconds, spec.width or 0, spec.height or 0)

    def _not_measured(self, running: Running, entry: ModelEntry, level: OptimizationLevel, why: str) -> None:
        message = f"{entry.view.title} does not fit under the level {level.value}: {why}"
        self._queue.notice(running.job_id, Notice(code="level_not_measured", message=message))

    def _runs(
        self, running: Running, entry: ModelEntry, spec: GenerationSpec, forecast: LevelForecast, steps: tuple[int, ...]
    ) -> list[_Run]:
        runs: list[_Run] = []
        self._bench.close()
        self._bench.release_all()
        self._bench.clean_up()
        config = forecast.config
        # Pinned parts of it stay where they are: they are of its peak all the same.
        start = self._held() - self._bench.pooled_bytes_of(entry, config)
        interval = 0.0 if self._device == "cuda" else _LOOK_SECONDS
        bundle: ModelBundle | None = None
        try:
            for number, count in enumerate(steps):
                began = self._clock()
                with MemoryMonitor(meter=self._meter, interval=interval) as monitor:
                    if bundle is None:
                        bundle = self._bench.lend(entry, config)
                    self._paint(running, bundle, spec.model_copy(update={"steps": count, "seed": number + 1}))
                peak = (monitor.peak.vram if self._device != "cpu" else monitor.peak.ram) - start
                runs.append(_Run(self._clock() - began, max(0, peak)))
        finally:
            if bundle is not None:
                bundle.close()
        return runs

    def _paint(self, running: Running, bundle: ModelBundle, spec: GenerationSpec) -> None:
        """One picture through all its stages, kept nowhere. Raises Stopped where the job was canceled."""

        def asked() -> bool:
            self._pulse.beat()
            return self._stopping() or self._queue.is_canceled(running.job_id, running.index)

        bundle.enter(GenerationStep.ENCODE_PROMPT)
        context = begin(bundle, spec, 0, context_id=running.image_id)
        try:
            bundle.enter(GenerationStep.DENOISE)
            while not context.finished:
                if asked():
                    raise Stopped
                tick(bundle, [context], should_stop=asked)
            bundle.enter(GenerationStep.DECODE)
            decode(bundle, [context], should_stop=asked)
        finally:
            context.end_controls()

    def _held(self) -> int:
        usage = self._meter.now()
        return usage.vram if self._device != "cpu" else usage.ram


def attention_of(sizes: ModelSizes, entry: ModelEntry, spec: GenerationSpec) -> dict[str, int]:
    """The largest attention call of a picture: `tokens`, `heads` and `width` of a head, as `measure_attention` takes
    them; fewer tokens where plain kernels would keep scores of more than 256 MB."""
    heads, share = sizes.unet.score_cells
    cells = (spec.width or 512) * (spec.height or 512) / sizes.latent_scale**2
    # A level of the UNet has a quarter of the cells of the one before.
    level = round(math.log(share, 0.25)) if share else 0
    channels = int(part_config(entry, "unet")["block_out_channels"][level])
    heads = max(1, heads)
    most = int((_SCORE_BYTES / (2 * 4 * heads)) ** 0.5)
    tokens = max(1, min(most, int(cells * (share or 1.0))))
    return {"tokens": tokens, "heads": heads, "width": max(1, channels // heads)}
