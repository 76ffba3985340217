"""The memory limit of the container or service that this process runs in; Linux only, None elsewhere.

Formats: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current, memory.stat) and version 1
(memory.limit_in_bytes, memory.usage_in_bytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Version 1 writes "no limit" as a number near 2⁶³.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class MemoryLimit:
    """What a group of processes may use and uses, in bytes; file pages that can be dropped at once do not count."""

    limit: int
    used: int

    @property
    def available(self) -> int:
        """What is left."""
        return max(0, self.limit - self.used)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The tightest limit on this process: the one that leaves least; None where there is none.

    Args:
        root: where `/proc` and `/sys` are.
    """
    found = _limits(_groups_v2(root), "memory.max", "memory.current", "inactive_file")
    found += _limits(_groups_v1(root), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return min(found, key=lambda limit: limit.available, default=None)


def _limits(folders: list[Path], limit_name: str, used_name: str, droppable: str) -> list[MemoryLimit]:
    found: list[MemoryLimit] = []
    for folder in folders:
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and 0 < limit < _NO_LIMIT:
            found.append(MemoryLimit(limit, max(0, (used or 0) - _stat(folder / "memory.stat", droppable))))
    return found


def _groups_v2(root: Path) -> list[Path]:
    """The process's group and those above it, each of which limits it; inside a container the mount is the group."""
    base = root / "sys/fs/cgroup"
    own = next((line[3:] for line in _lines(root / "proc/self/cgroup") if line.startswith("0::")), "/")
    return _upward(base, own)


def _groups_v1(root: Path) -> list[Path]:
    base = root / "sys/fs/cgroup/memory"
    own = next((line.split(":", 2)[2] for line in _lines(root / "proc/self/cgroup") if ":memory:" in line), "/")
    return _upward(base, own)


def _upward(base: Path, own: str) -> list[Path]:
    parts = [part for part in own.split("/") if part not in ("", "..")]
    return [base.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    text = (_lines(file) or [""])[0].strip()
    return int(text) if text.isdigit() else None


def _stat(file: Path, name: str) -> int:
    for line in _lines(file):
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0
