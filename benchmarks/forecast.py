"""The forecast beside what a picture then takes: a setting that ran three times, and sizes and batches that never ran.

Each model is an engine in a process of its own on a CPU, under *none*. What a picture takes is the process' private
memory at its highest, looked at every 5 ms, beyond what the engine held just before without a model: neither the pool's
accounts nor what the engine itself has measured count here.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.highest import Highest
from benchmarks.own_engine import paint, settings_of, spec_of, with_engine
from benchmarks.report import Report, Row

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3
STEPS = 2
# An engine gives memory back when it has had no work for three seconds.
QUIET_SECONDS = 6.0


@dataclass(frozen=True)
class Course:
    """The settings of one model, as (side in pixels, pictures at once): `ran` three times each, `never` but once.

    limited: whether the errors have limits; beside a model of 0.1 GiB what the allocator happens to keep is too much.
    """

    model: str
    ran: tuple[tuple[int, int], ...]
    never: tuple[tuple[int, int], ...]
    limited: bool


COURSES = (
    Course("starter", ran=((256, 1), (512, 1)), never=((384, 1), (640, 1), (256, 4)), limited=False),
    Course("full-sd15", ran=((256, 1), (384, 1)), never=((320, 1), (512, 1), (256, 2)), limited=True),
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
            rows.extend(_rows(course, _child(folder, course.model)))
    return Report("forecast", tuple(rows))


def _rows(course: Course, found: dict[str, list[int]]) -> Iterator[Row]:
    for side, batch in (*course.ran, *course.never):
        unmeasured, forecast, taken = found[_name(side, batch)]
        known = (side, batch) in course.ran
        what = f"{course.model}, {side} px, {batch} at once, {f'ran {RUNS} times' if known else 'never ran'}"
        yield Row(f"{what}: took", taken / 1024**2, "MiB")
        if known:
            yield Row(f"{what}: forecast before anything ran ÷ taken", unmeasured / taken, "×")
        yield Row(f"{what}: forecast ÷ taken", forecast / taken, "×")
        if course.limited:
            yield Row(f"{what}: too much", max(0, forecast - taken) / taken, "", limit=0.10 if known else 0.20)
            yield Row(f"{what}: too little", max(0, taken - forecast) / taken, "", limit=0.05)


def _name(side: int, batch: int) -> str:
    return f"{side}x{batch}"


def _child(folder: str, model: str) -> dict[str, list[int]]:
    from engine.launcher.threads import engine_environment

    command = [sys.executable, "-m", "benchmarks.forecast", folder, model]
    done = subprocess.run(command, cwd=ROOT, env=engine_environment(os.environ), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{model} ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- in a process of its own ---------------------------------------------------------------------------------------


def _main(folder: str, model: str) -> None:
    from engine.memory.meter import private_bytes
    from engine.protocol.memory_commands import Forecast, ReleaseMemory

    course = next(each for each in COURSES if each.model == model)

    async def peak_of(client: Any, spec: Any) -> int:
        # What the engine itself keeps grows a little with each new size (compiled kernels): it is not the picture's.
        await client.call(ReleaseMemory())
        await asyncio.sleep(QUIET_SECONDS)
        own = private_bytes()
        with Highest() as highest:
            await paint(client, spec)
        return highest.peak - own

    async def followed(client: Any) -> dict[str, list[int]]:
        # The first picture imports libraries.
        await paint(client, spec_of(prompt="a harbour", side=64, steps=1))
        found: dict[str, list[int]] = {}
        specs = {each: spec_of(prompt="a harbour", side=each[0], batch=each[1], steps=STEPS) for each in course.ran}
        plain = {each: (await client.call(Forecast(spec=spec))).peak for each, spec in specs.items()}
        for _ in range(RUNS):
            for spec in specs.values():
                await paint(client, spec)
        for each, spec in specs.items():
            forecast = (await client.call(Forecast(spec=spec))).peak
            found[_name(*each)] = [plain[each], forecast, await peak_of(client, spec)]
        # All forecasts before any of them runs: none may learn from another.
        never = {each: spec_of(prompt="a harbour", side=each[0], batch=each[1], steps=STEPS) for each in course.never}
        foreseen = {each: (await client.call(Forecast(spec=spec))).peak for each, spec in never.items()}
        for each, spec in never.items():
            found[_name(*each)] = [0, foreseen[each], await peak_of(client, spec)]
        return found

    settings = settings_of(Path(folder), "none", "float32", model=model)
    print(json.dumps(with_engine(settings, followed)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
