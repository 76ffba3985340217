"""Stacks of adapters beside diffusers with peft, in one run: per step, per move of a slider, and for several people.

The starter's UNet for times per step, for four people with four stacks, and for what its own adapters lose in 8 bits; a
full-size SD 1.5 UNet of random weights for moves of a slider (the files are in the page cache on both sides).
"""

from __future__ import annotations

import gc
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.adapter_files import write_dora, write_loha, write_peft_lora
from benchmarks.adapter_people import four_people
from benchmarks.clock import seconds
from benchmarks.models import begin_picture, draw_to_the_end, full_size_unet, stack_of, starter, starter_unet
from benchmarks.report import Report, Row

BLOCKS = 15
STEPS_PER_BLOCK = 10
MOVES = 7
MEBIBYTE = 1024**2


def run() -> Report:
    """Measure all of it."""
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        rows = [*_per_step(files), *four_people(files), *_kept_small(), *_slider(files)]
    return Report("adapters", tuple(rows))


# --- per step ------------------------------------------------------------------------------------------------------


def _per_step(folder: Path) -> list[Row]:
    """The time of a step with three adapters of mixed kinds over that with none, ours and peft's."""
    bundle = starter()
    names = {
        "lora": write_peft_lora(folder / "lora.safetensors", bundle.unet, rank=8, seed=1),
        "loha": write_loha(folder / "loha.safetensors", bundle.unet, rank=4, seed=2),
        "dora": write_dora(folder / "dora.safetensors", bundle.unet, rank=8, seed=3),
    }
    stack = stack_of(bundle, names)
    ours = _ratio(partial(_steps, bundle, stack), partial(_steps, bundle, None))
    stack.close()
    bundle.close()
    loras = {
        f"lora{seed}": write_peft_lora(folder / f"lora{seed}.safetensors", bundle.unet, rank=8, seed=seed)
        for seed in range(3)
    }
    bundle = starter()
    stack = stack_of(bundle, loras)
    ours_on_loras = _ratio(partial(_steps, bundle, stack), partial(_steps, bundle, None))
    plain, patched = starter_unet(), starter_unet()
    for name, file in loras.items():
        _load_with_peft(patched, file, name)
    patched.set_adapters(list(loras))
    peft = _ratio(partial(_bare_steps, patched), partial(_bare_steps, plain))
    return [
        Row("step with a LoRA, a LoHa and a DoRA ÷ with none", ours, "×", limit=1.03),
        Row("step with three LoRAs ÷ with none", ours_on_loras, "×"),
        Row("the same three through peft, not fused ÷ with none", peft, "×"),
    ]


def _steps(bundle: Any, stack: Any) -> float:
    """Seconds a step. Moving the weights is done before the clock starts: the first step of a picture pays it."""
    from engine.pipeline.denoise import tick

    context = begin_picture(bundle, stack, STEPS_PER_BLOCK + 1)
    tick(bundle, [context])
    return seconds(partial(draw_to_the_end, bundle, context)) / STEPS_PER_BLOCK


def _bare_steps(unet: Any) -> float:
    import torch

    side, width = unet.config.sample_size, unet.config.cross_attention_dim
    sample, text = torch.randn(2, unet.config.in_channels, side, side), torch.randn(2, 77, width)
    with torch.inference_mode():
        unet(sample, 500, encoder_hidden_states=text)
        began = time.perf_counter()
        for _ in range(STEPS_PER_BLOCK):
            unet(sample, 500, encoder_hidden_states=text)
    return (time.perf_counter() - began) / STEPS_PER_BLOCK


def _ratio(mine: Callable[[], float], other: Callable[[], float]) -> float:
    """The median of ratios of alternating runs."""
    mine(), other()
    return statistics.median(mine() / other() for _ in range(BLOCKS))


# --- kept in 8 bits -------------------------------------------------------------------------------------------------


def _kept_small() -> list[Row]:
    """All adapters of the starter kit in one picture, as their files have them and in 8 bits."""
    from engine.adapters.file import read_adapter
    from engine.adapters.stack import AdapterStack
    from engine.protocol.specs import AdapterRef
    from engine.settings import load_settings

    bundle = starter()
    files = sorted((load_settings().starter_dir / "loras").glob("*.safetensors"))
    pictures: list[Any] = []
    held: list[int] = []
    for storage in (None, "int8"):
        stack = AdapterStack(bundle.targets)
        for file in files:
            read = partial(read_adapter, file, bundle.targets, title=file.stem, storage=storage)
            stack.add(AdapterRef(name=file.stem, unet_weight=0.3), read)
        held.append(sum(row.adapter.nbytes for row in stack.adapters))
        pictures.append(_painted(bundle, stack))
    bundle.close()
    error = float(((pictures[0] - pictures[1]) ** 2).mean())
    return [
        Row(f"the starter's {len(files)} adapters in 8 bits: memory ÷ as in their files", held[1] / held[0], "×", 0.6),
        Row("the same: PSNR of the picture", -10 * math.log10(max(error, 1e-12)), "dB", 30.0, True),
    ]


def _painted(bundle: Any, stack: Any) -> Any:
    """A picture as numbers from 0 to 1."""
    import numpy as np

    from engine.pipeline.decode import decode

    context = begin_picture(bundle, stack, 20)
    draw_to_the_end(bundle, context)
    return np.asarray(decode(bundle, [context])[0].image.convert("RGB"), dtype=np.float64) / 255


# --- a slider ------------------------------------------------------------------------------------------------------


def _slider(folder: Path) -> list[Row]:
    """Three rank-32 LoRAs on a full-size SD 1.5 UNet: a move of one slider over diffusers loading and fusing them."""
    import torch

    from engine.adapters.file import read_adapter
    from engine.adapters.merged import MergedWeights
    from engine.adapters.modules import targets_of
    from engine.adapters.stack import AdapterStack
    from engine.protocol.specs import AdapterRef

    unet = full_size_unet()
    files = {
        f"slider{seed}": write_peft_lora(folder / f"slider{seed}.safetensors", unet, rank=32, seed=seed)
        for seed in range(3)
    }
    theirs = [_load_and_fuse(unet, files) for _ in range(3)]
    unet.to(memory_format=torch.channels_last)
    gc.collect()
    targets = targets_of({"unet": unet}, family="sd1")
    stack = AdapterStack(targets)
    reading: list[float] = []
    for name, file in files.items():
        began = time.perf_counter()
        stack.add(AdapterRef(name=name), partial(read_adapter, file, targets, title=name))
        reading.append(time.perf_counter() - began)
    weights = MergedWeights("unet", unet)
    first = seconds(lambda: weights.move_to(stack.plan(0.0)))
    moves: list[float] = []
    for turn in range(MOVES):
        stack.set_weights("slider1", 0.1 + 0.1 * turn)
        moves.append(seconds(lambda: weights.move_to(stack.plan(0.0))))
    sample, text = torch.randn(2, 4, 64, 64).contiguous(memory_format=torch.channels_last), torch.randn(2, 77, 768)
    with torch.inference_mode():
        unet(sample, 500, encoder_hidden_states=text)
        step = statistics.median(seconds(lambda: unet(sample, 500, encoder_hidden_states=text)) for _ in range(3))
    own = sum(parameter.nbytes for parameter in unet.parameters())
    back = seconds(weights.restore)
    move, fuse = statistics.median(moves), statistics.median(theirs)
    size = next(iter(files.values())).stat().st_size / MEBIBYTE
    return [
        Row("moving a slider of three rank-32 LoRAs, SD 1.5 ÷ diffusers loading and fusing", move / fuse, "×", 0.3),
        Row("moving a slider ÷ one UNet step at 512 px", move / step, "×", 1.0),
        Row("moving a slider", move, "s"),
        Row("applying the three for the first time", first, "s"),
        Row("diffusers: loading and fusing the three", fuse, "s"),
        Row("one UNet step at 512 px with guidance", step, "s"),
        Row(f"reading a file of {size:.0f} MB", statistics.median(reading), "s"),
        Row("back to the bare model", back * 1000, "ms"),
        Row("memory beyond the model's own while a stack is on", _beyond(stack, targets) / own, "×"),
    ]


def _beyond(stack: Any, targets: Any) -> float:
    """Bytes of the layers that are set aside: each changed layer once, in the model's own precision."""
    return float(sum(4 * math.prod(targets.modules[key].shape) for key in stack.plan(0.0).changes))


def _load_and_fuse(unet: Any, files: dict[str, Path]) -> float:
    """Seconds until the three are in the weights; taking them out again is not counted."""
    began = time.perf_counter()
    for name, file in files.items():
        _load_with_peft(unet, file, name)
    unet.set_adapters(list(files))
    unet.fuse_lora()
    taken = time.perf_counter() - began
    unet.unfuse_lora()
    unet.unload_lora()
    return taken


def _load_with_peft(unet: Any, file: Path, name: str) -> None:
    from safetensors.torch import load_file

    state = {key.removeprefix("unet."): tensor for key, tensor in load_file(file).items()}
    unet.load_lora_adapter(state, adapter_name=name, prefix=None)
