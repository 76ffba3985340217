"""The forecast beside what a picture then takes: a setting that ran three times, and sizes and batches that never ran.

Each model is an engine in a process of its own on a CPU, under *none*. What a picture takes is the process' private
memory at its highest, looked at every 5 ms, beyond what the engine held just before without a model: neither the pool's
accounts nor what the engine itself has measured count here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.own_engine import paint, settings_of, spec_of, with_engine
from benchmarks.own_process import answer_of
from benchmarks.report import Report, Row

LOOK_SECONDS = 0.005
RUNS = 3
STEPS = 2
# An engine gives memory back when it has had no work for three seconds.
QUIET_SECONDS = 6.0


@dataclass(frozen=True)
class Course:
    """The settings of one model, as (side in pixels, pictures at once): `ran` three times each, `never` but once."""

    model: str
    ran: tuple[tuple[int, int], ...]
    never: tuple[tuple[int, int], ...]


COURSES = (
    Course("starter", ran=((256, 1), (512, 1)), never=((384, 1), (640, 1), (256, 4))),
    Course("full-sd15", ran=((256, 1), (384, 1)), never=((320, 1), (512, 1), (256, 2))),
)


def run() -> Report:
    """Measure both models."""
    from benchmarks.full_size import write_checkpoint
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for course in COURSES:
            if course.model != "starter":
                write_checkpoint(Path(folder) / "models" / "checkpoints" / f"{course.model}.safetensors", "sd1")
            rows.extend(_rows(course, answer_of("benchmarks.forecast", folder, course.model)))
    return Report("forecast", tuple(rows))


def _rows(course: Course, found: dict[str, list[int]]) -> Iterator[Row]:
    for side, batch in (*course.ran, *course.never):
        unmeasured, forecast, taken = found[_name(side, batch)]
        known = (side, batch) in course.ran
        what = f"{course.model}, {side} px, {batch} at once, {f'ran {RUNS} times' if known else 'never ran'}"
        yield Row(f"{what}: took", taken / 1024**2, "MiB")
        yield Row(f"{what}: forecast before anything ran ÷ taken", unmeasured / taken, "×")
        yield Row(f"{what}: forecast ÷ taken", forecast / taken, "×")
        yield Row(f"{what}: too much", max(0, forecast - taken) / taken, "", limit=0.10 if known else 0.20)
        yield Row(f"{what}: too little", max(0, taken - forecast) / taken, "", limit=0.05)


def _name(side: int, batch: int) -> str:
    return f"{side}x{batch}"


# --- in a process of its own ---------------------------------------------------------------------------------------


def _main(folder: str, model: str) -> None:
    from engine.memory.meter import private_bytes
    from engine.memory.monitor import MemoryMonitor
    from engine.protocol.memory_commands import Forecast, ReleaseMemory

    course = next(each for each in COURSES if each.model == model)

    async def peak_of(client: Any, spec: Any) -> int:
        # What the engine itself keeps grows a little with each new size (compiled kernels): it is not the picture's.
        await client.call(ReleaseMemory())
        await asyncio.sleep(QUIET_SECONDS)
        own = private_bytes()
        with MemoryMonitor(interval=LOOK_SECONDS) as monitor:
            await paint(client, spec)
        return monitor.peak.ram - own

    async def foreseen(client: Any, spec: Any) -> int:
        return int((await client.call(Forecast(spec=spec))).peak)

    async def followed(client: Any) -> dict[str, list[int]]:
        # The first picture imports libraries.
        await paint(client, spec_of(prompt="a harbour", side=64, steps=1))
        every = (*course.ran, *course.never)
        specs = {each: spec_of(prompt="a harbour", side=each[0], batch=each[1], steps=STEPS) for each in every}
        before = {each: await foreseen(client, spec) for each, spec in specs.items()}
        for _ in range(RUNS):
            for each in course.ran:
                await paint(client, specs[each])
        # All of them before any is followed: none may learn from another.
        after = {each: await foreseen(client, spec) for each, spec in specs.items()}
        # What the engine happens to keep differs by some 20 MiB: the middle one of several counts.
        taken = {each: [await peak_of(client, specs[each]) for _ in range(RUNS)] for each in every}
        return {_name(*each): [before[each], after[each], int(median(taken[each]))] for each in every}

    settings = settings_of(Path(folder), "none", "float32", model=model)
    print(json.dumps(with_engine(settings, followed)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
