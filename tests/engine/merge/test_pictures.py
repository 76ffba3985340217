"""Pictures of the starter: merged equals stacked, and a weight that is off by a fiftieth would be noticed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from engine.adapters.file import read_adapter
from engine.adapters.stack import AdapterStack
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.pool import ModelPool
from engine.merge.files import RecipeFiles
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin
from engine.pipeline.model import ModelBundle, open_model
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.settings import load_settings
from engine.store.store import open_store
from tests.engine.merge.conftest import finish
from tests.support.likeness import latents_psnr

LORAS = load_settings().starter_dir / "loras"
WEIGHTS = {"easel-ink": 0.6, "easel-retro": -0.3, "easel-soft": 0.4}


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    store = open_store(tmp_path_factory.mktemp("data"))
    entry = Library(load_settings(), store.library).find_model("starter")
    store.close()
    return entry


@pytest.fixture
def bundle(starter: ModelEntry) -> Iterator[ModelBundle]:
    opened = open_model(ModelPool(4 * 1024**3), starter)
    yield opened
    opened.close()


def latents(bundle: ModelBundle, files: dict[Path, float]) -> torch.Tensor:
    stack = AdapterStack(bundle.targets)
    for path, weight in files.items():
        ref = AdapterRef(name=path.stem, unet_weight=weight)
        stack.add(ref, partial(read_adapter, path, bundle.targets, title=path.stem))
    side = bundle.unet.config.sample_size * bundle.latent_scale
    spec = GenerationSpec(
        prompt="a red apple",
        negative_prompt="",
        steps=8,
        guidance=4.0,
        sampler="euler",
        schedule="automatic",
        width=side,
        height=side,
        seed=1,
    )
    context = begin(bundle, spec, 0, context_id="merge", stack=stack)
    while not context.finished:
        tick(bundle, [context])
    found = context.latents.double().clone()
    stack.close()
    return found


@pytest.mark.parametrize(("dtype", "least"), [("float32", 80.0), ("float16", 60.0)])
@pytest.mark.parametrize("names", [("easel-ink", "easel-retro"), ("easel-ink", "easel-retro", "easel-soft")])
def test_merged_equals_stacked(names, dtype, least, starter, bundle, tmp_path) -> None:
    paths = {LORAS / f"{name}.safetensors": WEIGHTS[name] for name in names}
    inputs = tuple(MergeInput(name=path.stem, weight=weight) for path, weight in paths.items())
    target = AdapterTarget(kind="lora", dtype=dtype)
    files = RecipeFiles({path.stem: path for path in paths}, {"starter": starter})
    out = tmp_path / "merged.safetensors"
    report = finish(MergeRecipe(inputs=inputs, base="starter", target=target), files, out)
    assert report.parity < (1e-6 if dtype == "float32" else 1e-3)
    stacked, merged = latents(bundle, paths), latents(bundle, {out: 1.0})
    assert latents_psnr(merged, stacked) >= least
    off = {path: weight * (1.02 if path.stem == "easel-ink" else 1.0) for path, weight in paths.items()}
    assert latents_psnr(latents(bundle, off), stacked) < least
