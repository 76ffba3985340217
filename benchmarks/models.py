"""Models, stacks and pictures that benchmarks share."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any


def starter() -> Any:
    """The model that ships with Easel."""
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


def starter_unet() -> Any:
    """Its UNet alone, as diffusers loads it."""
    import torch
    from diffusers import UNet2DConditionModel

    from engine.settings import load_settings

    model = UNet2DConditionModel.from_pretrained(load_settings().starter_dir / "unet", torch_dtype=torch.float32)
    return model.eval().requires_grad_(False)


def full_size_unet() -> Any:
    """SD 1.5's UNet in float32 with small random weights."""
    import torch
    from diffusers import UNet2DConditionModel

    from engine.families.families import CONFIGS

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(CONFIGS / "sd1" / "unet"))
    return with_random_weights(unet, seed=0)


def with_random_weights(module: Any, *, seed: int) -> Any:
    """A module of the meta device, on the CPU with small weights, ready to be run."""
    import torch

    module.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.02, 0.02, generator=generator)
    return module.eval().requires_grad_(False)


def stack_of(bundle: Any, files: dict[str, Path]) -> Any:
    """These files at half weight, in order."""
    from engine.adapters.file import read_adapter
    from engine.adapters.stack import AdapterStack
    from engine.protocol.specs import AdapterRef

    stack = AdapterStack(bundle.targets)
    for name, file in files.items():
        stack.add(AdapterRef(name=name, unet_weight=0.5), partial(read_adapter, file, bundle.targets, title=name))
    return stack


def begin_picture(bundle: Any, stack: Any, steps: int, side: int = 0, *, controls: Any = None) -> Any:
    """A picture at its first step; `side` in latents, 0: what the model was trained at."""
    from engine.pipeline.encode import begin
    from engine.protocol.specs import GenerationSpec

    pixels = (side or bundle.unet.config.sample_size) * bundle.latent_scale
    spec = GenerationSpec(
        prompt="a red apple",
        negative_prompt="",
        steps=steps,
        guidance=4.0,
        sampler="euler",
        schedule="automatic",
        width=pixels,
        height=pixels,
        seed=1,
    )
    return begin(bundle, spec, 0, context_id="bench", stack=stack, controls=controls)


def draw_to_the_end(bundle: Any, context: Any) -> None:
    """All steps that are left of a picture, alone."""
    from engine.pipeline.denoise import tick

    while not context.finished:
        tick(bundle, [context])
