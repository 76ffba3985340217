"""Memory: what each level takes with a full-size SD 1.5 on a CPU, what the pool and the embedding cache save; and SDXL
on a GPU, where there is one (`benchmarks/memory_cuda.py`).

Every mode is a whole engine in a process of its own; its USS is sampled every 50 ms from outside, from its start to its
end, loading included: all that would be free if the process ended, pages of files that it alone has mapped included.
The weights are random: neither memory nor time depend on them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import memory_cuda
from benchmarks.own_engine import paint, settings_of, spec_of, with_engine
from benchmarks.report import Report, Row
from engine.memory.front import dominated

ROOT = Path(__file__).resolve().parents[1]
LEVELS = ("none", "balanced", "aggressive", "ultra")
MODEL = "full-sd15"
SIDE = 256
# Two pictures of few steps give the seconds of a step and of all the rest, and with them those of a usual picture.
FEW, MORE, USUAL = 2, 6, 20
SAMPLE_SECONDS = 0.05
GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Mode:
    """What one process found.

    `peak` bytes of USS; `picture` seconds of a picture of 20 steps when the model was used before, of them `step` each
    step; `rest` private bytes when nothing is in progress any more.
    """

    peak: int
    picture: float
    step: float
    rest: int


def run() -> Report:
    """Measure every level, then what is kept."""
    from benchmarks.full_size import write_checkpoint
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_checkpoint(data / "models" / "checkpoints" / f"{MODEL}.safetensors", "sd1")
        levels = {level: _mode(data, level, "float32") for level in LEVELS}
        narrow = _mode(data, "balanced", "bfloat16")
        switch = _child("switch", folder)[0]
    rows = _rows(levels, narrow, switch, _child("repeat")[0])
    return Report("memory", (*rows, *memory_cuda.rows()))


def _rows(levels: dict[str, Mode], narrow: Mode, switch: dict[str, Any], repeat: dict[str, Any]) -> Iterator[Row]:
    whole = levels["none"]
    for level, found in levels.items():
        yield Row(f"{level}: peak (USS)", found.peak / GIBIBYTE, "GiB")
        yield Row(f"{level}: at rest", found.rest / GIBIBYTE, "GiB")
        yield Row(f"{level}: a step", found.step, "s")
        yield Row(f"{level}: a picture of {USUAL} steps", found.picture, "s")
        if level != "none":
            yield Row(f"{level}: time ÷ none", found.picture / whole.picture, "×")
    yield Row("staged (balanced) ÷ all resident, peak", levels["balanced"].peak / whole.peak, "×", limit=0.88)
    yield Row("staged, bfloat16 ÷ all resident, peak", narrow.peak / whole.peak, "×", limit=0.55)
    yield Row(f"staged, bfloat16: a picture of {USUAL} steps", narrow.picture, "s")
    yield Row("leaves from the mapped file ÷ all resident", levels["aggressive"].peak / whole.peak, "×", limit=0.45)
    beaten = dominated({level: (found.picture, float(found.peak)) for level, found in levels.items()})
    for level, better in beaten.items():
        yield Row(f"{level} is dominated here: {better} takes no more time and no more memory", 1, "")
    yield Row("levels that are dominated here", len(beaten), "")
    yield Row("cold load", switch["cold"], "s")
    yield Row("back to the pooled model ÷ cold load", switch["back"] / switch["cold"], "×", limit=0.1)
    yield Row("calls of the text encoder for a new prompt", repeat["first"], "")
    yield Row("calls of the text encoder for a repeated prompt", repeat["second"], "", limit=0)


def _mode(data: Path, level: str, dtype: str) -> Mode:
    found, peak = _child("pictures", str(data), level, dtype)
    return Mode(peak, found["picture"], found["step"], found["rest"])


def _child(*arguments: str) -> tuple[dict[str, Any], int]:
    """What a process of this module printed last, and its largest USS in bytes."""
    import psutil

    from engine.launcher.threads import engine_environment

    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    peak = 0
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as faults:
        child = subprocess.Popen(command, cwd=ROOT, env=engine_environment(os.environ), stdout=output, stderr=faults)
        try:
            process = psutil.Process(child.pid)
            while child.poll() is None:
                peak = max(peak, _uss(process, above=peak))
                time.sleep(SAMPLE_SECONDS)
        finally:
            child.kill()
            child.wait()
        output.seek(0)
        faults.seek(0)
        lines, fault = output.read().decode().splitlines(), faults.read().decode()
    if child.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {child.returncode}: {fault[-2000:]}")
    return json.loads(lines[-1]), peak


def _uss(process: Any, *, above: int) -> int:
    """The USS where it may be more than `above`: never more than the resident size, which is asked for much faster. 0
    for a process that has just ended."""
    import psutil

    try:
        return int(process.memory_full_info().uss) if process.memory_info().rss > above else 0
    except psutil.Error:
        return 0


# --- in a process of its own ---------------------------------------------------------------------------------------


def _pictures(folder: str, level: str, dtype: str) -> dict[str, Any]:
    """Three pictures of different prompts under a level."""
    from engine.memory.meter import private_bytes

    async def painted(client: Any) -> dict[str, Any]:
        await paint(client, spec_of(prompt="a quiet harbour", side=SIDE, steps=FEW))
        seconds: list[float] = []
        for steps, prompt in ((FEW, "a mountain in spring"), (MORE, "a mountain in autumn")):
            began = time.perf_counter()
            await paint(client, spec_of(prompt=prompt, side=SIDE, steps=steps))
            seconds.append(time.perf_counter() - began)
        # Idle workers look about once a second whether something can be given back.
        await asyncio.sleep(2.5)
        step = (seconds[1] - seconds[0]) / (MORE - FEW)
        return {"picture": seconds[0] + (USUAL - FEW) * step, "step": step, "rest": private_bytes()}

    return with_engine(settings_of(Path(folder), level, dtype, model=MODEL), painted)


def _repeat() -> dict[str, Any]:
    """The starter's text encoder is counted while a prompt is painted twice."""
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    from torch.nn.modules.module import register_module_forward_pre_hook

    calls: list[str] = []

    def count(module: Any, inputs: Any) -> None:
        if type(module).__name__.startswith("CLIPTextModel"):
            calls.append(type(module).__name__)

    async def painted(client: Any) -> dict[str, Any]:
        counts: list[int] = []
        for seed in (1, 2):
            before = len(calls)
            await paint(client, spec_of(prompt="a quiet harbour", seed=seed, side=64, steps=FEW))
            counts.append(len(calls) - before)
        return {"first": counts[0], "second": counts[1]}

    with tempfile.TemporaryDirectory() as folder:
        hook = register_module_forward_pre_hook(count)
        try:
            return with_engine(settings_of(Path(folder), "none", "float32", model="starter"), painted)
        finally:
            hook.remove()


def _switch(folder: str) -> dict[str, Any]:
    """From the full-size model to the starter and back, as the worker leases them."""
    from engine.library.library import Library
    from engine.loading.torchvision_guard import guard_torchvision
    from engine.memory.pool import ModelPool
    from engine.pipeline.model import open_model
    from engine.store.store import open_store

    guard_torchvision()
    settings = settings_of(Path(folder), "none", "float32", model=MODEL)
    library = Library(settings, open_store(settings.state_dir).library)
    library.refresh()
    large, small = library.find_model(None), library.find_model("starter")
    pool = ModelPool(16 * GIBIBYTE)
    # Imports of libraries are not part of a load.
    open_model(pool, small).close()
    seconds: dict[str, float] = {}
    for name, entry in (("cold", large), ("other", small), ("back", large)):
        began = time.perf_counter()
        bundle = open_model(pool, entry)
        seconds[name] = time.perf_counter() - began
        bundle.close()
    return seconds


def _main(task: str, *arguments: str) -> None:
    tasks: dict[str, Callable[..., object]] = {"pictures": _pictures, "switch": _switch, "repeat": _repeat}
    found = tasks[task](*arguments)
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
