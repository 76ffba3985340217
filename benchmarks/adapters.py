"""Stacks of adapters beside diffusers with peft, in one run: per step, per move of a slider, and for several people.

Three parts: the starter's UNet for times per step, a full-size SD 1.5 UNet of random weights for moves of a slider (the
files are in the page cache on both sides), and the starter again for four people with four stacks.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.adapter_files import write_dora, write_loha, write_peft_lora
from benchmarks.report import Report, Row

BLOCKS = 15
STEPS_PER_BLOCK = 10
MOVES = 7
MEBIBYTE = 1024**2


def run() -> Report:
    """Measure all three."""
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        rows = [*_per_step(files), *_four_people(files), *_slider(files)]
    return Report("adapters", tuple(rows))


# --- per step ------------------------------------------------------------------------------------------------------


def _per_step(folder: Path) -> list[Row]:
    """The time of a step with three adapters of mixed kinds over that with none, ours and peft's."""
    bundle = _starter()
    names = {
        "lora": write_peft_lora(folder / "lora.safetensors", bundle.unet, rank=8, seed=1),
        "loha": write_loha(folder / "loha.safetensors", bundle.unet, rank=4, seed=2),
        "dora": write_dora(folder / "dora.safetensors", bundle.unet, rank=8, seed=3),
    }
    stack = _stack(bundle, names)
    ours = _ratio(partial(_steps, bundle, stack), partial(_steps, bundle, None))
    stack.close()
    bundle.close()
    loras = {
        f"lora{seed}": write_peft_lora(folder / f"lora{seed}.safetensors", bundle.unet, rank=8, seed=seed)
        for seed in range(3)
    }
    bundle = _starter()
    stack = _stack(bundle, loras)
    ours_on_loras = _ratio(partial(_steps, bundle, stack), partial(_steps, bundle, None))
    plain, patched = _starter_unet(), _starter_unet()
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

    context = _begin(bundle, stack, STEPS_PER_BLOCK + 1)
    tick(bundle, [context])
    began = time.perf_counter()
    while not context.finished:
        tick(bundle, [context])
    return (time.perf_counter() - began) / STEPS_PER_BLOCK


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


# --- several people ------------------------------------------------------------------------------------------------


def _four_people(folder: Path) -> list[Row]:
    """Pictures a second of four people with four stacks, over four people with one stack one after another."""
    bundle = _starter()
    files = {
        str(seed): write_peft_lora(folder / f"person{seed}.safetensors", bundle.unet, rank=8, seed=seed)
        for seed in range(4)
    }
    stacks = [_stack(bundle, {name: file}) for name, file in files.items()]
    shared: list[float] = []
    batched: list[float] = []
    for _ in range(5):
        in_turn = _seconds(partial(_one_after_another, bundle, stacks[0]))
        shared.append(in_turn / _seconds(partial(_together, bundle, stacks)))
        batched.append(in_turn / _seconds(partial(_together, bundle, [stacks[0]] * 4)))
    return [
        Row("four people, four stacks ÷ one stack one after another", statistics.median(shared), "×", 0.95, True),
        Row("four people, one stack, batched ÷ one after another", statistics.median(batched), "×"),
        Row("changing to another stack, starter", bundle.switch_seconds * 1000, "ms"),
    ]


def _one_after_another(bundle: Any, stack: Any) -> None:
    from engine.pipeline.denoise import tick

    for _ in range(4):
        context = _begin(bundle, stack, 20)
        while not context.finished:
            tick(bundle, [context])


def _together(bundle: Any, stacks: list[Any]) -> None:
    """As the worker does it: turns between groups, one call for each group."""
    from engine.jobs.schedule import Group
    from engine.jobs.turns import Turns
    from engine.pipeline.denoise import tick

    contexts = [_begin(bundle, stack, 20) for stack in stacks]
    turns = Turns()
    while left := [context for context in contexts if not context.finished]:
        groups: dict[object, list[Any]] = {}
        for context in left:
            groups.setdefault(context.key, []).append(context)
        chosen = turns.choose([Group(key, 5.0, 0.0) for key in groups], bundle.switch_seconds)
        tick(bundle, groups[chosen.key])


# --- a slider ------------------------------------------------------------------------------------------------------


def _slider(folder: Path) -> list[Row]:
    """Three rank-32 LoRAs on a full-size SD 1.5 UNet: a move of one slider over diffusers loading and fusing them."""
    import torch

    from engine.adapters.file import read_adapter
    from engine.adapters.merged import MergedWeights
    from engine.adapters.modules import targets_of
    from engine.adapters.stack import AdapterStack
    from engine.protocol.specs import AdapterRef

    unet = _full_size_unet()
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
    first = _seconds(lambda: weights.move_to(stack.plan(0.0)))
    moves: list[float] = []
    for turn in range(MOVES):
        stack.set_weights("slider1", 0.1 + 0.1 * turn)
        moves.append(_seconds(lambda: weights.move_to(stack.plan(0.0))))
    sample, text = torch.randn(2, 4, 64, 64).contiguous(memory_format=torch.channels_last), torch.randn(2, 77, 768)
    with torch.inference_mode():
        unet(sample, 500, encoder_hidden_states=text)
        step = statistics.median(_seconds(lambda: unet(sample, 500, encoder_hidden_states=text)) for _ in range(3))
    own = sum(parameter.nbytes for parameter in unet.parameters())
    back = _seconds(weights.restore)
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
    import math

    return float(sum(4 * math.prod(targets.modules[key].shape) for key in stack.plan(0.0).changes))


def _load_and_fuse(unet: Any, files: dict[str, Path]) -> float:
    """Seconds until the three are in the weights; taking them out again is not counted."""
    began = time.perf_counter()
    for name, file in files.items():
        _load_with_peft(unet, file, name)
    unet.set_adapters(list(files))
    unet.fuse_lora()
    seconds = time.perf_counter() - began
    unet.unfuse_lora()
    unet.unload_lora()
    return seconds


def _load_with_peft(unet: Any, file: Path, name: str) -> None:
    from safetensors.torch import load_file

    state = {key.removeprefix("unet."): tensor for key, tensor in load_file(file).items()}
    unet.load_lora_adapter(state, adapter_name=name, prefix=None)


# --- models --------------------------------------------------------------------------------------------------------


def _starter() -> Any:
    from engine.library.library import Library
    from engine.memory.pool import ModelPool
    from engine.pipeline.model import open_model
    from engine.settings import load_settings
    from engine.store.store import open_store

    with tempfile.TemporaryDirectory() as data:
        store = open_store(Path(data))
        entry = Library(load_settings(), store.library).find_model("starter")
        store.close()
    return open_model(ModelPool(4 * 1024**3), entry)


def _starter_unet() -> Any:
    import torch
    from diffusers import UNet2DConditionModel

    from engine.settings import load_settings

    model = UNet2DConditionModel.from_pretrained(load_settings().starter_dir / "unet", torch_dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _full_size_unet() -> Any:
    """SD 1.5's UNet in float32 with small random weights."""
    import torch
    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel

    from engine.families.families import CONFIGS

    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(CONFIGS / "sd1" / "unet"))
    unet.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.uniform_(-0.02, 0.02, generator=generator)
    return unet.eval().requires_grad_(False)


def _stack(bundle: Any, files: dict[str, Path]) -> Any:
    from engine.adapters.file import read_adapter
    from engine.adapters.stack import AdapterStack
    from engine.protocol.specs import AdapterRef

    stack = AdapterStack(bundle.targets)
    for name, file in files.items():
        stack.add(AdapterRef(name=name, unet_weight=0.5), partial(read_adapter, file, bundle.targets, title=name))
    return stack


def _begin(bundle: Any, stack: Any, steps: int) -> Any:
    from engine.pipeline.encode import begin
    from engine.protocol.specs import GenerationSpec

    side = bundle.unet.config.sample_size * bundle.latent_scale
    spec = GenerationSpec(
        prompt="a red apple",
        negative_prompt="",
        steps=steps,
        guidance=4.0,
        sampler="euler",
        schedule="automatic",
        width=side,
        height=side,
        seed=1,
    )
    return begin(bundle, spec, 0, context_id="bench", stack=stack)


def _seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
