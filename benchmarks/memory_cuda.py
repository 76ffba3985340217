"""The CUDA half of `bench memory`: SDXL under each level, and stock diffusers with its own offloads beside it.

Every row is a process of its own: the peak of what torch's allocator took from the driver, and the seconds of a second
picture (the first one reads the file). The weights are random. The same code runs at toy size on a CPU, for the tests.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.own_engine import paint, settings_of, spec_of, with_engine
from benchmarks.own_process import answer_of
from benchmarks.report import Row

NOT_HERE = "no CUDA device here: this half was not run"
LEVELS = ("none", "balanced", "aggressive", "ultra")
STOCK = ("plain", "enable_model_cpu_offload", "enable_sequential_cpu_offload", "enable_group_offload")
GIBIBYTE = 1024**3
# GB of VRAM, and time against the level none.
PEAKS = {"none": 9.0, "balanced": 7.2, "aggressive": 5.0, "ultra": 3.3}
PRICES = {"balanced": 1.10, "aggressive": 1.28, "ultra": 1.46}
COPY_SHARE = 0.6


@dataclass(frozen=True)
class Task:
    """What is painted: `data` is a data folder whose models have `model` in them; `side` in pixels."""

    data: str
    model: str
    side: int = 1024
    steps: int = 30
    device: str = "cuda"
    dtype: str = "bfloat16"


@dataclass(frozen=True)
class Found:
    """`peak` bytes; `seconds` of the second picture; `refused` says why there are none."""

    peak: int = 0
    seconds: float = 0.0
    refused: str = ""


@dataclass(frozen=True)
class Copies:
    """Bytes a second from RAM to where models compute: of one large pinned block, of a UNet as the pool moves it."""

    block: float
    unet: float


def rows() -> Iterator[Row]:
    """Everything, on this machine's GPU; nothing but a sentence without one."""
    import torch

    if not torch.cuda.is_available():
        print(NOT_HERE, flush=True)
        return
    from benchmarks.full_size import write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / "models" / "checkpoints" / "full-sdxl.safetensors", "sdxl")
        task = Task(folder, "full-sdxl")
        easel = {level: Found(**_child("easel", level, task)) for level in LEVELS}
        stock = {way: Found(**_child("stock", way, task)) for way in STOCK}
        copies = Copies(**_child("copies", "", task))
    yield from report(easel, stock, copies)


def report(easel: Mapping[str, Found], stock: Mapping[str, Found], copies: Copies) -> Iterator[Row]:
    """The rows of what was found."""
    whole = easel["none"]
    for level, found in easel.items():
        yield Row(f"SDXL 1024², {level}: VRAM peak", found.peak / GIBIBYTE, "GB", limit=PEAKS[level])
        yield Row(f"SDXL 1024², {level}: a picture", found.seconds, "s")
        if level != "none":
            yield Row(f"SDXL 1024², {level}: time ÷ none", found.seconds / whole.seconds, "×", limit=PRICES[level])
    for way, found in stock.items():
        if found.refused:
            yield Row(f"stock diffusers, {way}: refused ({found.refused})", 0, "")
            continue
        yield Row(f"stock diffusers, {way}: VRAM peak", found.peak / GIBIBYTE, "GB")
        yield Row(f"stock diffusers, {way}: a picture", found.seconds, "s")
    yield Row("copy speed RAM → VRAM", copies.block / GIBIBYTE, "GB/s")
    yield Row("a UNet from RAM to VRAM ÷ copy speed", copies.unet / copies.block, "×", COPY_SHARE, at_least=True)


# --- in a process of its own ---------------------------------------------------------------------------------------


def easel(level: str, task: Task) -> Found:
    """Two pictures by an engine of its own under a level."""
    settings = settings_of(Path(task.data), level, task.dtype, model=task.model, device=task.device)

    async def painted(client: Any) -> float:
        await paint(client, spec_of(prompt="a quiet harbour", side=task.side, steps=task.steps))
        began = time.perf_counter()
        await paint(client, spec_of(prompt="a mountain in spring", side=task.side, steps=task.steps))
        return time.perf_counter() - began

    seconds = with_engine(settings, painted)
    return Found(_peak(task.device), seconds)


def stock(way: str, task: Task) -> Found:
    """The same two pictures by a bare StableDiffusionXLPipeline, with one of its own ways to save memory."""
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    import torch

    pipe = _pipeline(task)
    seconds = 0.0
    try:
        _offload(pipe, way, task.device)
        for prompt in ("a quiet harbour", "a mountain in spring"):
            began = time.perf_counter()
            pipe(
                prompt,
                num_inference_steps=task.steps,
                guidance_scale=7.0,
                width=task.side,
                height=task.side,
                generator=torch.Generator("cpu").manual_seed(1),
            )
            seconds = time.perf_counter() - began
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        if way == "plain":
            raise
        # Without an accelerator its offloads refuse, or break.
        return Found(refused=str(error).splitlines()[0][:80])
    return Found(_peak(task.device), seconds)


def copies(_: str, task: Task) -> Copies:
    """Both speeds. On a CPU a copy within RAM stands for the way to the GPU."""
    import torch

    from engine.loading.loader import nbytes
    from engine.memory.offload import TorchMover

    size = GIBIBYTE // 2 if task.device == "cuda" else 1 << 20
    block = torch.empty(size, dtype=torch.uint8, pin_memory=task.device == "cuda")
    unet = _component(task, "unet").to("cpu")
    mover = TorchMover(task.device)
    resting = mover.to_rest(unet.to(task.device))
    return Copies(
        size / _fastest(lambda: block.to(task.device, copy=True), task.device),
        nbytes(unet) / _fastest(lambda: mover.to_work(resting), task.device, again=lambda: mover.to_rest(resting)),
    )


def _fastest(act: Callable[[], Any], device: str, again: Callable[[], Any] = lambda: None) -> float:
    """Seconds, of three times; `again` makes ready for the next one."""
    import torch

    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        act()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
        again()
    return best


def _offload(pipe: Any, way: str, device: str) -> None:
    import torch

    if way == "plain":
        pipe.to(device)
    elif way == "enable_group_offload":
        pipe.enable_group_offload(
            onload_device=torch.device(device),
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=device == "cuda",
        )
    else:
        getattr(pipe, way)(device=device)


def _pipeline(task: Task) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    names = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae")
    pipe: Any = StableDiffusionXLPipeline(
        **{name: _component(task, name) for name in names},
        scheduler=EulerDiscreteScheduler.from_config(_component(task, "scheduler")),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _component(task: Task, part: str) -> Any:
    import torch

    from engine.library.library import Library
    from engine.loading.loader import load_component
    from engine.store.store import open_store

    settings = settings_of(Path(task.data), "none", task.dtype, model=task.model, device=task.device)
    store = open_store(settings.state_dir)
    try:
        library = Library(settings, store.library)
        library.refresh()
        return load_component(library.find_model(task.model), part, dtype=getattr(torch, task.dtype))
    finally:
        store.close()


def _peak(device: str) -> int:
    """What torch's allocator took from the driver at most; on a CPU what the process holds."""
    import torch

    from engine.memory.meter import private_bytes

    return int(torch.cuda.max_memory_reserved()) if device == "cuda" else private_bytes()


def _child(kind: str, name: str, task: Task) -> dict[str, Any]:
    return answer_of("benchmarks.memory_cuda", kind, name, json.dumps(asdict(task)))


TASKS: dict[str, Callable[[str, Task], Found | Copies]] = {"easel": easel, "stock": stock, "copies": copies}

if __name__ == "__main__":
    print(json.dumps(asdict(TASKS[sys.argv[1]](sys.argv[2], Task(**json.loads(sys.argv[3]))))))
