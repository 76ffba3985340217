"""PeakWatch: measures what the pictures of one job take at most, so that the next forecast knows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from engine.jobs.levels import Planned
from engine.jobs.workbench import Workbench
from engine.memory.correction import setting_of
from engine.memory.desk import MemoryDesk
from engine.memory.meter import Meter
from engine.memory.monitor import MemoryMonitor
from engine.memory.sizes import MIB

# RAM keeps no peak of its own, so it is looked at; a GPU's driver keeps one.
LOOK_SECONDS = 0.005
# What a loaded model holds in RAM beside its numbers: modules, vocabularies, the last page of each tensor.
_OBJECTS = 12 * MIB
# So often each setting is measured while an engine runs: the forecast takes the last three. In RAM it costs a little
# time, since what the allocator keeps of the picture before would hide what this one takes.
ENOUGH = 3


class PeakWatch:
    """Open from the first picture that begins until none is in progress; what several jobs shared is no measure.

    Args:
        device: where models compute, "cuda", "mps" or "cpu".
    """

    def __init__(self, desk: MemoryDesk, bench: Workbench, meter: Meter, *, device: str) -> None:
        self._desk, self._bench, self._meter = desk, bench, meter
        self._on_gpu, self._interval = device != "cpu", 0.0 if device == "cuda" else LOOK_SECONDS
        self._monitor: MemoryMonitor | None = None
        self._planned: Planned | None = None
        self._job_id = ""
        self._most = 0
        self._ram, self._leased, self._others = 0, 0, 0
        self._looks: Counter[object] = Counter()
        self._wanted = False
        # The first job imports libraries: its memory is not that of a picture.
        self._warmed = False

    def begin(self, job_id: str, planned: Planned | None, beside: int) -> None:
        """A picture of a job is about to begin beside others; the model is open."""
        if not beside:
            self._close()
            self._planned, self._job_id, self._most = planned, job_id, 0
            self._wanted = self._wants(planned)
            if self._wanted and not self._on_gpu:
                self._meter.release()
            self._leased = self._bench.leased_bytes
            self._others = self._bench.pooled_bytes - self._leased
            self._ram = self._meter.now().ram
            self._monitor = MemoryMonitor(meter=self._meter, interval=self._interval)
            self._monitor.__enter__()
        elif job_id != self._job_id or planned is not self._planned:
            self.spoil()
        self._most = max(self._most, beside + 1)

    def spoil(self) -> None:
        """Something else happened meanwhile: an errand, another job, another level, a fault."""
        self._planned = None

    def end(self) -> None:
        """No picture is in progress any more."""
        monitor, planned = self._monitor, self._planned
        self._close()
        if monitor is None:
            return
        self._warmed = True
        if planned is None or planned.plan is None or not self._wanted:
            return
        peak = monitor.peak
        taken = peak.vram - self._others if self._on_gpu else peak.ram - self._ram + self._leased + _OBJECTS
        self._looks[_setting(planned)] += 1
        work = replace(planned.work, pictures=self._most)
        self._desk.record_peak(planned.model, planned.plan.chosen, work, max(0, taken))

    def _wants(self, planned: Planned | None) -> bool:
        if planned is None or planned.plan is None or not self._warmed:
            return False
        return self._looks[_setting(planned)] < ENOUGH

    def _close(self) -> None:
        if self._monitor is not None:
            self._monitor.__exit__(None, None, None)
        self._monitor, self._planned = None, None


def _setting(planned: Planned) -> object:
    return planned.model, planned.config.level, setting_of(planned.work)
