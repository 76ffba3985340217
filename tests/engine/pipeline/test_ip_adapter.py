"""A picture under an IP-Adapter is the picture of diffusers' own pipelines: latents within 1e-5."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.control.compose import ControlSet, Unit
from engine.control.ip_adapter import ImagePrompt, IpAdapter
from engine.control.network import ControlNetwork
from engine.control.schedule import Window
from engine.loading.image_encoder import load_image_encoder
from engine.loading.ip_adapter import load_ip_adapter
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin, resume
from engine.protocol.specs import GenerationSpec
from tests.engine.pipeline.conftest import contexts_of, drawn, run_out
from tests.engine.pipeline.diffusers_pipes import assert_same, latents_of, on_parts_of
from tests.support.tiny_ip_adapter import Variant, unet_config, write_tiny_image_encoder, write_tiny_ip_adapter
from tests.support.tiny_models import write_tiny_controlnet

VARIANTS: tuple[Variant, ...] = ("plain", "plus", "full")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_image_encoder(tmp_path_factory.mktemp("encoder") / "image_encoder")


@pytest.fixture(scope="session")
def files(sd1_pipe: Any, sdxl_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        (which, variant): write_tiny_ip_adapter(
            folder / f"{which}-{variant}.safetensors", pipe.folder, variant=variant, seed=seed
        )
        for which, pipe in (("sd1", sd1_pipe), ("sdxl", sdxl_pipe))
        for seed, variant in enumerate(VARIANTS)
    }


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (48, 40, 3), dtype=np.uint8)


def adapter(bundle: Any, file: Path, folder: Path) -> IpAdapter:
    return IpAdapter(load_ip_adapter(file, dict(bundle.unet.config), title=file.stem), file.stem)


def prompt(bundle: Any, file: Path, encoder: Path, seed: int, weight: float = 1.0, **window: Any) -> ImagePrompt:
    made = adapter(bundle, file, encoder)
    tokens, nothing = made.see(load_image_encoder(encoder), picture(seed))
    return ImagePrompt(made, tokens, nothing, weight, Window(**window))


def theirs(pipe: Any, spec: GenerationSpec, encoder: Path, used: list[tuple[Path, int, float]]) -> torch.Tensor:
    """Latents of diffusers' pipeline on copies of the same parts, with `load_ip_adapter`."""
    own = {"unet": copy.deepcopy(pipe.unet), "image_encoder": load_image_encoder(encoder)}
    reference = on_parts_of(pipe, type(pipe), spec, **own, feature_extractor=None)
    names = [file.name for file, _, _ in used]
    reference.load_ip_adapter(str(used[0][0].parent), subfolder="", weight_name=names, image_encoder_folder=None)
    reference.set_ip_adapter_scale([weight for _, _, weight in used])
    return latents_of(reference, spec, ip_adapter_image=[Image.fromarray(picture(seed)) for _, seed, _ in used])


@pytest.mark.parametrize("which", ["sd1", "sdxl"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("guidance", [7.0, 1.0])
def test_one_adapter(request, which, variant, guidance, files, encoder, spec):
    pipe, bundle = request.getfixturevalue(f"{which}_pipe"), request.getfixturevalue(which)
    wanted = spec(sampler="euler", guidance=guidance)
    file = files[which, variant]
    ours = drawn(bundle, wanted, prompt(bundle, file, encoder, 1, 0.7))
    assert_same(ours, theirs(pipe, wanted, encoder, [(file, 1, 0.7)]))
    assert not torch.allclose(ours, drawn(bundle, wanted), atol=1e-2), "the unit does something"


@pytest.mark.parametrize("which", ["sd1", "sdxl"])
def test_two_adapters_of_different_files(request, which, files, encoder, spec):
    pipe, bundle = request.getfixturevalue(f"{which}_pipe"), request.getfixturevalue(which)
    wanted = spec(sampler="dpmpp_2m", width=96)
    used = [(files[which, "plain"], 1, 0.7), (files[which, "plus"], 2, 0.4)]
    ours = drawn(bundle, wanted, *(prompt(bundle, file, encoder, seed, weight) for file, seed, weight in used))
    assert_same(ours, theirs(pipe, wanted, encoder, used))


def test_outside_its_window_the_unet_is_as_before(sd1, files, encoder, spec):
    wanted = spec(sampler="euler", steps=4)
    unit = prompt(sd1, files["sd1", "plain"], encoder, 1, end=0.5)
    before = {name: type(each) for name, each in sd1.unet.attn_processors.items()}
    context = begin(sd1, wanted, 0, context_id="0", controls=ControlSet((unit,)))
    keys = []
    while not context.finished:
        keys.append(context.key.controls)
        tick(sd1, [context])
        assert {name: type(each) for name, each in sd1.unet.attn_processors.items()} == before
    assert keys == [unit.key] * 2 + [""] * 2


def test_an_error_inside_of_the_call_leaves_the_unet_as_it_was(sd1, files, encoder, spec):
    before = dict(sd1.unet.attn_processors)
    context = begin(
        sd1, spec(), 0, context_id="0", controls=ControlSet((prompt(sd1, files["sd1", "plain"], encoder, 1),))
    )
    with pytest.raises(Exception, match="stop"):
        tick(sd1, [context], should_stop=lambda: (_ for _ in ()).throw(RuntimeError("stop")))
    assert dict(sd1.unet.attn_processors) == before


@pytest.mark.parametrize("repeatable", [False, True])
def test_pictures_with_the_same_adapter_share_one_call(sd1, files, encoder, spec, repeatable):
    """Other pictures, weights and guidance; each is what it is alone, bit for bit where it is repeatable."""
    file = files["sd1", "plain"]
    shared = prompt(sd1, file, encoder, 1)
    made = []
    for seed, (weight, guidance) in enumerate(((0.7, 7.0), (1.2, 3.0), (0.4, 1.0)), start=1):
        tokens, nothing = shared.adapter.see(load_image_encoder(encoder), picture(seed))
        unit = ImagePrompt(shared.adapter, tokens, nothing, weight)
        made.append((spec(seed=seed, sampler="euler", guidance=guidance, repeatable=repeatable), (unit,)))
    alone = [drawn(sd1, wanted, *units) for wanted, units in made]
    contexts = contexts_of(sd1, made)
    assert len({context.key for context in contexts}) == 1
    assert run_out(sd1, contexts) == 5
    for context, expected in zip(contexts, alone, strict=True):
        assert torch.equal(context.latents, expected) if repeatable else True
        assert_same(context.latents, expected)


def test_beside_a_controlnet(sd1_pipe, sd1, files, encoder, spec, tmp_path):
    """The ControlNet reads the text alone, and both do their part."""
    import diffusers

    net = diffusers.ControlNetModel.from_pretrained(write_tiny_controlnet(tmp_path / "net", sd1_pipe.folder))
    network = ControlNetwork(net, "net")
    unit = Unit(network, network.embed(torch.rand(1, 3, 64, 64)), 0.8)
    picture_unit = prompt(sd1, files["sd1", "plain"], encoder, 1, 0.7)
    wanted = spec(sampler="euler")
    both = drawn(sd1, wanted, unit, picture_unit)
    assert not torch.allclose(both, drawn(sd1, wanted, unit), atol=1e-2)
    assert not torch.allclose(both, drawn(sd1, wanted, picture_unit), atol=1e-2)


def test_a_snapshot_goes_on_with_the_same_picture_only(sd1, files, encoder, spec):
    wanted = spec(sampler="dpmpp_2m")
    made = prompt(sd1, files["sd1", "plain"], encoder, 1)
    units = [ControlSet((ImagePrompt(made.adapter, made.tokens, made.nothing, source=f"ip|{n}"),)) for n in (1, 2)]
    context = begin(sd1, wanted, 0, context_id="0", controls=units[0])
    tick(sd1, [context])
    data = context.snapshot().to_bytes()
    assert resume(sd1, wanted, 0, data, context_id="0", controls=units[1]) is None
    resumed = resume(sd1, wanted, 0, data, context_id="0", controls=units[0])
    run_out(sd1, [resumed])
    assert torch.equal(resumed.latents, drawn(sd1, wanted, *units[0].units))


def test_the_loader_reads_the_config_of_a_folder(sd1_pipe, files):
    loaded = load_ip_adapter(files["sd1", "plus"], unet_config(sd1_pipe.folder), title="x")
    assert loaded.whole
    assert not loaded.training
