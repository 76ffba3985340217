"""MemoryManager: one object that knows the machine, measures, and cleans up; for notebooks, tests and the studio."""

from __future__ import annotations

from collections.abc import Callable

from engine.memory.meter import Meter, ProcessMeter
from engine.memory.monitor import MemoryMonitor
from engine.memory.resources import Probe, SystemResources, detect_resources
from engine.memory.sizes import GIB


class MemoryManager:
    """Knows the machine, measures this process, and gives memory back.

    Args:
        probe: asks the machine; the real one where it is None.
        meter: measures this process; the real one where it is None.
    """

    def __init__(self, *, probe: Probe | None = None, meter: Meter | None = None) -> None:
        self._probe = probe
        self.resources = self.detect_resources()
        self.meter: Meter = meter or ProcessMeter(self.resources.device)
        self.monitors: list[MemoryMonitor] = []

    def detect_resources(self) -> SystemResources:
        """The machine as it is now; also kept as `resources`."""
        self.resources = detect_resources(self._probe)
        return self.resources

    def track_usage(self, interval: float = 0.05) -> MemoryMonitor:
        """A monitor for a `with`; it is kept in `monitors`."""
        monitor = MemoryMonitor(meter=self.meter, interval=interval)
        self.monitors.append(monitor)
        return monitor

    def get_peak_vram_usage(self) -> float:
        """Most VRAM in GB since the last monitor began, of this process; 0.0 without a GPU."""
        return self.meter.peak_vram() / GIB

    def clear_cache(self) -> None:
        """Give back at once what nobody holds."""
        self.meter.release()

    def settle(self, *, idle: Callable[[], bool], most_fragmented: float = 0.25) -> bool:
        """Defragment when nothing runs: where torch keeps more than that share of VRAM for nothing, it is given back.

        Returns whether it was.
        """
        if not idle() or self.meter.now().fragmentation <= most_fragmented:
            return False
        self.meter.release()
        return True
