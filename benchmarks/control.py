"""Two ControlNets beside diffusers' own multi-ControlNet pipeline, in one run, taking turns.

Three parts: the starter's UNet, a UNet of SD 1.5's size with random weights (time does not depend on them), and the
hint of a picture that was seen before. Both sides draw the same latents from the same parts; ours embeds each hint once
a picture, and runs no network outside of its window.
"""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.clock import seconds
from benchmarks.models import begin_picture, draw_to_the_end, full_size_unet, starter, with_random_weights
from benchmarks.report import Report, Row

PAIRS = 31
STEPS = 20
LARGE_PAIRS = 5
LARGE_STEPS = 2
LARGE_SIDE = 512
HINTS = 30


def run() -> Report:
    """Measure all three."""
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    rows = [*_starter(), *_large(), *_hint()]
    return Report("control", tuple(rows))


# --- the starter's size --------------------------------------------------------------------------------------------


def _starter() -> list[Row]:
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionControlNetPipeline

    from engine.settings import load_settings

    bundle = starter()
    side = bundle.unet.config.sample_size * bundle.latent_scale
    nets = [_network(bundle.unet, (16, 32, 96), seed) for seed in (1, 2)]
    hints = [torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    pipe: Any = StableDiffusionControlNetPipeline.from_pretrained(
        load_settings().starter_dir, controlnet=[_network(bundle.unet, (16, 32, 96), seed) for seed in (1, 2)],
        torch_dtype=torch.float32, safety_checker=None, local_files_only=True,
    )  # fmt: skip
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    ours = partial(_ours, bundle, nets, hints, ((0.0, 1.0), (0.0, 1.0)))
    ratio = _ratio(ours, partial(_theirs, pipe, hints, side))
    halves = partial(_ours, bundle, nets, hints, ((0.0, 0.5), (0.5, 1.0)))
    none = partial(_ours, bundle, nets[:0], hints, ())
    times: list[tuple[float, float, float]] = [(seconds(none), seconds(halves), seconds(ours)) for _ in range(PAIRS)]
    # Each round against itself: the machine's pace changes between rounds.
    half = statistics.median(each[1] - each[0] for each in times)
    full = statistics.median(each[2] - each[0] for each in times)
    bundle.close()
    return [
        Row("two units over all steps, starter's size ÷ diffusers", ratio, "×", limit=0.85),
        Row(
            "what windows 0–50 % and 50–100 % cost ÷ both over all steps",
            half / full,
            "×",
            limit=0.55,
        ),
    ]


def _network(unet: Any, channels: tuple[int, ...], seed: int) -> Any:
    """A ControlNet for the UNet with small random weights."""
    import torch
    from diffusers import ControlNetModel

    with torch.device("meta"):
        net = ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=channels, load_weights_from_unet=False
        )
    return with_random_weights(net, seed=seed)


def _controls(nets: list[Any], hints: list[Any], windows: tuple[tuple[float, float], ...]) -> Any:
    """The units of one picture: its hints are embedded here."""
    from engine.control.compose import ControlSet, Unit
    from engine.control.network import ControlNetwork
    from engine.control.schedule import Window
    from engine.pipeline.model import ready

    units = []
    for net, hint, (start, end) in zip(nets, hints, windows, strict=False):
        network = ControlNetwork(ready(net), str(id(net)))
        units.append(Unit(network, network.embed(hint), 0.8, Window(start, end)))
    return ControlSet(tuple(units))


def _ours(bundle: Any, nets: list[Any], hints: list[Any], windows: tuple[tuple[float, float], ...]) -> None:
    draw_to_the_end(bundle, begin_picture(bundle, None, STEPS, controls=_controls(nets, hints, windows)))


def _theirs(pipe: Any, hints: list[Any], side: int) -> None:
    import torch

    pipe(
        "a red apple", image=hints, negative_prompt="", num_inference_steps=STEPS, guidance_scale=4.0, width=side,
        height=side, controlnet_conditioning_scale=[0.8, 0.8], generator=torch.Generator().manual_seed(1),
        output_type="latent",
    )  # fmt: skip


# --- SD 1.5's size -------------------------------------------------------------------------------------------------


def _large() -> list[Row]:
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionControlNetPipeline

    from engine.families.families import CONFIGS
    from engine.pipeline.model import ModelBundle, ready
    from engine.pipeline.parts import HeldParts

    unet = full_size_unet()
    nets = [_network(unet, (16, 32, 96, 256), seed) for seed in (1, 2)]
    hints = [torch.rand(1, 3, LARGE_SIDE, LARGE_SIDE, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    # Not run: it only tells that a latent's side is 8 pixels.
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = AutoencoderKL(block_out_channels=(32,) * 4, latent_channels=4, **blocks)
    scheduler = EulerDiscreteScheduler.from_pretrained(CONFIGS / "sd1" / "scheduler")
    pipe: Any = StableDiffusionControlNetPipeline(
        vae=vae, text_encoder=None, tokenizer=None, unet=unet, controlnet=nets, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    text = torch.randn(2, 77, 768, generator=torch.Generator().manual_seed(3))
    bundle = ModelBundle(
        model_key="large", vae_key="", family=None, tokenizers=(), parts=HeldParts({"unet": unet, "vae": vae}),
        text_parts=(), scheduler_config=dict(scheduler.config),
    )  # fmt: skip

    def theirs() -> float:
        for module in (unet, *nets):
            module.to(memory_format=torch.contiguous_format)
        return seconds(
            lambda: pipe(
                prompt_embeds=text[1:], negative_prompt_embeds=text[:1], image=hints, guidance_scale=7.0,
                num_inference_steps=LARGE_STEPS, width=LARGE_SIDE, height=LARGE_SIDE, output_type="latent",
                generator=torch.Generator().manual_seed(1),
            )
        )  # fmt: skip

    def ours() -> float:
        for module in (unet, *nets):
            ready(module)
        return seconds(partial(_large_picture, bundle, nets, hints, text))

    # The first run of either touches its memory for the first time.
    ours()
    theirs()
    ratios = [ours() / theirs() for _ in range(LARGE_PAIRS)]
    return [Row("two units over all steps, SD 1.5's size ÷ diffusers", statistics.median(ratios), "×", limit=0.98)]


def _large_picture(bundle: Any, nets: list[Any], hints: list[Any], text: Any) -> None:
    import torch

    from engine.pipeline.context import GenerationContext
    from engine.pipeline.lengths import TextRows
    from engine.protocol.specs import GenerationSpec
    from engine.sampling.schedules import set_steps
    from engine.sampling.table import make_scheduler

    scheduler = make_scheduler("euler", "automatic", bundle.scheduler_config, 1)
    set_steps(scheduler, "euler", "automatic", LARGE_STEPS)
    generator = torch.Generator().manual_seed(1)
    side = LARGE_SIDE // 8
    context = GenerationContext(
        id="bench", spec=GenerationSpec(prompt="x", seed=1), index=0, seed=1, model="large",
        latents=torch.randn(1, 4, side, side, generator=generator) * scheduler.init_noise_sigma, scheduler=scheduler,
        generator=generator, text=TextRows(text), weights=(7.0,), steps=LARGE_STEPS,
        controls=_controls(nets, hints, ((0.0, 1.0), (0.0, 1.0))),
    )  # fmt: skip
    draw_to_the_end(bundle, context)


# --- hints ---------------------------------------------------------------------------------------------------------


def _hint() -> list[Row]:
    """A phone's picture: its outline the first time, and found again."""
    import numpy as np
    from PIL import Image

    from engine.control.annotators import AnnotatorFiles
    from engine.control.hints import HintFolder
    from engine.images.assets import AssetStore
    from engine.jobs.hints import HintShop
    from engine.memory.pool import ModelPool

    with tempfile.TemporaryDirectory() as folder:
        assets = AssetStore(Path(folder))
        shop = HintShop(ModelPool(2**30), HintFolder(Path(folder) / "hints", assets), AnnotatorFiles([]), "cpu")
        buffer = io.BytesIO()
        small = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(small).resize((4000, 3000)).save(buffer, "JPEG")
        image = assets.put(buffer.getvalue()).ref

        def ask() -> None:
            shop.make(shop.request(image, "canny", {}, None, (512, 512), "crop"))

        first = seconds(ask)
        again = statistics.median(seconds(ask) for _ in range(HINTS))
    return [
        Row("hint of a picture that was seen before", again * 1000, "ms", limit=50.0),
        Row("hint of a new 12-megapixel picture", first * 1000, "ms"),
    ]


def _ratio(mine: Callable[[], None], other: Callable[[], None]) -> float:
    """The ratio of the medians of alternating runs; who begins alternates too, so that a drift counts for neither."""
    mine()
    other()
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(PAIRS):
        for which in (0, 1) if pair % 2 else (1, 0):
            times[which].append(seconds((mine, other)[which]))
    return statistics.median(times[0]) / statistics.median(times[1])
