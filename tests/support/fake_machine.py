"""Machines that this one is not: what a probe answers, and a meter that is told what it measures."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.memory.meter import Usage
from engine.memory.resources import SystemResources, detect_resources

GIB = 1024**3


@dataclass
class FakeProbe:
    """Answers of a machine with this much memory, in GB; no CUDA device where `vram` is 0."""

    vram: float = 0.0
    vram_free: float | None = None
    memory: float = 32.0
    memory_free: float | None = None
    limit: float | None = None
    capability: tuple[int, int] = (8, 9)
    packages: frozenset[str] = frozenset()
    mps: float = 0.0
    bf16: bool = True

    def cuda_count(self) -> int:
        return 1 if self.vram else 0

    def cuda_memory(self) -> tuple[int, int]:
        free = self.vram if self.vram_free is None else self.vram_free
        return int(free * GIB), int(self.vram * GIB)

    def cuda_capability(self) -> tuple[int, int]:
        return self.capability

    def cuda_name(self) -> str:
        return f"A card of {self.vram:g} GB"

    def mps_memory(self) -> tuple[int, int] | None:
        return (int(self.mps * GIB), int(self.mps * GIB)) if self.mps else None

    def ram(self) -> tuple[int, int]:
        free = self.memory if self.memory_free is None else self.memory_free
        return int(free * GIB), int(self.memory * GIB)

    def ram_limit(self) -> tuple[int, int] | None:
        return None if self.limit is None else (int(self.limit * GIB), int(self.limit * GIB))

    def has_package(self, name: str) -> bool:
        return name in self.packages

    def cpu_bf16(self) -> bool:
        return self.bf16


@dataclass
class FakeMeter:
    """Measures what it was told; counts how often memory was released."""

    usage: Usage = field(default_factory=Usage)
    peak: int = 0
    releases: int = 0

    def now(self) -> Usage:
        return self.usage

    def peak_vram(self) -> int:
        return max(self.peak, self.usage.vram)

    def reset_peak(self) -> None:
        self.peak = 0

    def release(self) -> None:
        self.releases += 1


def card(gigabytes: float, *, free: float | None = None, **probe: object) -> SystemResources:
    """A machine with a CUDA card of that size."""
    return detect_resources(FakeProbe(vram=gigabytes, vram_free=free, **probe))  # type: ignore[arg-type]


def no_card(memory: float = 32.0) -> SystemResources:
    """A machine without a GPU."""
    return detect_resources(FakeProbe(memory=memory))
