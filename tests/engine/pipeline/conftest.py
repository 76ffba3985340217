"""Tiny real models as bundles, and diffusers' own pipelines around the same components."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.adapters.file import read_adapter
from engine.adapters.stack import AdapterStack
from engine.control.compose import ControlSet
from engine.pipeline.context import GenerationContext
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin
from engine.pipeline.model import ModelBundle
from engine.pipeline.parts import HeldParts
from engine.protocol.specs import AdapterRef, GenerationSpec
from tests.engine.pipeline.diffusers_pipes import open_pipe
from tests.support.tiny_models import write_tiny_sd1, write_tiny_sdxl

SPEC = GenerationSpec(
    prompt="a red cat",
    negative_prompt="dog",
    steps=5,
    guidance=7.0,
    sampler="dpmpp_2m",
    schedule="automatic",
    width=64,
    height=64,
    seed=3,
    clip_skip=1,
)


def bundle_of(pipe: Any) -> ModelBundle:
    """A bundle of a diffusers pipeline's components, without a pool."""
    folder: Path = pipe.folder
    double = hasattr(pipe, "text_encoder_2")
    text = ("text_encoder", "text_encoder_2") if double else ("text_encoder",)
    return ModelBundle(
        model_key=str(folder),
        vae_key=str(folder),
        family=None,
        tokenizers=(pipe.tokenizer, pipe.tokenizer_2) if double else (pipe.tokenizer,),
        parts=HeldParts({part: getattr(pipe, part) for part in (*text, "unet", "vae")}, str(folder)),
        text_parts=text,
        scheduler_config=json.loads((folder / "scheduler" / "scheduler_config.json").read_text()),
    )


@pytest.fixture(scope="session")
def sd1_pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_pipe(write_tiny_sd1(tmp_path_factory.mktemp("sd1")))


@pytest.fixture(scope="session")
def sdxl_pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_pipe(write_tiny_sdxl(tmp_path_factory.mktemp("sdxl")))


@pytest.fixture
def sd1(sd1_pipe: Any) -> ModelBundle:
    return bundle_of(sd1_pipe)


@pytest.fixture
def sdxl(sdxl_pipe: Any) -> ModelBundle:
    return bundle_of(sdxl_pipe)


@pytest.fixture
def spec() -> Callable[..., GenerationSpec]:
    return lambda **changes: SPEC.model_copy(update=changes)


def run_out(bundle: ModelBundle, contexts: list[GenerationContext], **options: Any) -> int:
    """Tick until every context is finished; returns the number of ticks."""
    ticks = 0
    while any(not context.finished for context in contexts):
        tick(bundle, [context for context in contexts if not context.finished], **options)
        ticks += 1
    return ticks


def picture(bundle: ModelBundle, spec: GenerationSpec, index: int = 0, **options: Any) -> torch.Tensor:
    """The finished latents of one picture, made alone."""
    context = begin(bundle, spec, index, context_id=str(index))
    run_out(bundle, [context], **options)
    return context.latents


def drawn(bundle: ModelBundle, spec: GenerationSpec, *units: Any) -> torch.Tensor:
    """The finished latents of one picture under units, made alone."""
    (context,) = contexts_of(bundle, [(spec, units)])
    run_out(bundle, [context])
    return context.latents


def contexts_of(bundle: ModelBundle, made: list[tuple[GenerationSpec, tuple[Any, ...]]]) -> list[GenerationContext]:
    """Pictures under units, before their first step."""
    return [
        begin(bundle, spec, 0, context_id=str(place), controls=ControlSet(units))
        for place, (spec, units) in enumerate(made)
    ]


def stack_for(bundle: ModelBundle, files: dict[str, Path], *refs: AdapterRef) -> AdapterStack:
    """Adapters of these files, read for the model."""
    stack = AdapterStack(bundle.targets)
    for ref in refs:
        stack.add(ref, partial(read_adapter, files[ref.name], bundle.targets, title=ref.name))
    return stack
