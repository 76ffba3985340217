"""A picture under T2I-Adapters is the picture of diffusers' own adapter pipelines: latents within 1e-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from engine.control.compose import ControlSet
from engine.control.schedule import Window
from engine.control.t2i_adapter import FeatureUnit, features_of
from engine.errors import ModelFileError
from engine.library.control_files import control_facts
from engine.library.identify import identify_file
from engine.loading.t2i_adapter import load_t2i_adapter
from engine.pipeline.denoise import tick
from engine.protocol.specs import GenerationSpec
from tests.engine.pipeline.conftest import bundle_of, contexts_of, drawn, run_out
from tests.engine.pipeline.diffusers_pipes import assert_same, latents_of, on_parts_of, open_pipe
from tests.engine.pipeline.test_control import hint, networks
from tests.engine.pipeline.test_control import unit as net_unit
from tests.support.tiny_controls import write_single_t2i, write_tiny_t2i
from tests.support.tiny_models import write_tiny_sd1

SHAPES = ("full_adapter", "light_adapter")


@pytest.fixture(scope="session")
def deep_pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three blocks, the last two of one width, as light adapters and the published full ones have them."""
    folder = write_tiny_sd1(
        tmp_path_factory.mktemp("deep"),
        block_out_channels=(32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    return open_pipe(folder)


@pytest.fixture
def deep(deep_pipe: Any) -> Any:
    return bundle_of(deep_pipe)


@pytest.fixture(scope="session")
def adapters(deep_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One of each shape, a second full one, and one for grey hints."""
    made = {
        "full_adapter": {"seed": 1}, "light_adapter": {"seed": 2, "shape": "light_adapter"}, "second": {"seed": 3},
        "grey": {"seed": 4, "hint_channels": 1},
    }  # fmt: skip
    return {
        name: diffusers.T2IAdapter.from_pretrained(
            write_tiny_t2i(tmp_path_factory.mktemp(name), deep_pipe.folder, **options)
        )
        for name, options in made.items()
    }


def unit(adapter: Any, pixels: torch.Tensor, weight: float = 1.0, **more: Any) -> FeatureUnit:
    mode = more.pop("mode", "balanced")
    return FeatureUnit(features_of(adapter, pixels), weight, Window(**more), mode)


def theirs(pipe: Any, spec: GenerationSpec, adapter: Any, pictures: Any, **more: Any) -> torch.Tensor:
    double = hasattr(pipe, "text_encoder_2")
    kind = diffusers.StableDiffusionXLAdapterPipeline if double else diffusers.StableDiffusionAdapterPipeline
    return latents_of(on_parts_of(pipe, kind, spec, adapter=adapter), spec, image=pictures, **more)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("guidance", [7.0, 1.0])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_one_unit(deep_pipe, deep, adapters, spec, shape, guidance, sampler):
    wanted = spec(sampler=sampler, guidance=guidance)
    ours = drawn(deep, wanted, unit(adapters[shape], hint(1), 0.8))
    reference = theirs(deep_pipe, wanted, adapters[shape], hint(1), adapter_conditioning_scale=0.8)
    assert_same(ours, reference)
    assert not torch.allclose(ours, drawn(deep, wanted), atol=1e-2), "the unit does something"


def test_grey_hints(deep_pipe, deep, adapters, spec):
    wanted = spec(sampler="euler")
    grey = hint(1)[:, :1]
    ours = drawn(deep, wanted, unit(adapters["grey"], grey.expand(-1, 3, -1, -1)))
    assert_same(ours, theirs(deep_pipe, wanted, adapters["grey"], grey))


def test_two_units(deep_pipe, deep, adapters, spec):
    wanted = spec(sampler="euler", width=96)
    both = [adapters["full_adapter"], adapters["second"]]
    pictures = [hint(1, 96), hint(2, 96)]
    ours = drawn(deep, wanted, *(unit(each, pixels, 0.4) for each, pixels in zip(both, pictures, strict=True)))
    reference = theirs(deep_pipe, wanted, diffusers.MultiAdapter(both), pictures, adapter_conditioning_scale=[0.4, 0.4])
    assert_same(ours, reference)


@pytest.mark.parametrize("end", [1.0, 0.5])
def test_on_sdxl_with_a_window(sdxl_pipe, sdxl, spec, tmp_path, end):
    """diffusers' `adapter_conditioning_factor` is the end of the window."""
    folder = write_tiny_t2i(tmp_path, sdxl_pipe.folder, seed=5, shape="full_adapter_xl")
    adapter = diffusers.T2IAdapter.from_pretrained(folder)
    wanted = spec(sampler="euler", steps=8)
    ours = drawn(sdxl, wanted, unit(adapter, hint(1), 0.8, end=end))
    reference = theirs(
        sdxl_pipe, wanted, adapter, hint(1), adapter_conditioning_scale=0.8, adapter_conditioning_factor=end
    )
    assert_same(ours, reference)


def test_the_adapter_runs_once_a_picture_and_beside_controlnets(deep_pipe, deep, adapters, spec, tmp_path_factory):
    counted: list[int] = []
    handle = adapters["full_adapter"].register_forward_hook(lambda *_: counted.append(1))
    net = networks(deep_pipe, tmp_path_factory)[0]
    feature, network = unit(adapters["full_adapter"], hint(1), 0.7), net_unit(net, hint(2), 0.5)
    both = drawn(deep, spec(sampler="euler"), feature, network)
    handle.remove()
    assert len(counted) == 1
    assert not torch.allclose(both, drawn(deep, spec(sampler="euler"), network), atol=1e-2)
    assert not torch.allclose(both, drawn(deep, spec(sampler="euler"), feature), atol=1e-2)


def test_pictures_share_a_call_whichever_adapters_they_have(deep, adapters, spec):
    made = [
        (spec(seed=1, sampler="euler"), (unit(adapters["full_adapter"], hint(1), 0.7),)),
        (spec(seed=2, sampler="euler"), (unit(adapters["second"], hint(2), 1.2, mode="control"),)),
        (spec(seed=3, sampler="ddim", guidance=1.0), (unit(adapters["light_adapter"], hint(3), ramp="cosine"),)),
    ]
    alone = [drawn(deep, wanted, *units) for wanted, units in made]
    contexts = contexts_of(deep, made)
    assert len({context.key for context in contexts}) == 1
    assert run_out(deep, contexts) == 5
    for context, expected in zip(contexts, alone, strict=True):
        assert_same(context.latents, expected)


def test_repeatable_pictures_are_the_same_bit_for_bit_beside_others(deep, adapters, spec):
    mine = (spec(seed=1, repeatable=True), (unit(adapters["second"], hint(1), 0.7),))
    others = [(spec(seed=seed, repeatable=True), (unit(adapters["full_adapter"], hint(seed)),)) for seed in (2, 3)]
    alone, together = contexts_of(deep, [mine]), contexts_of(deep, [others[0], mine, others[1]])
    run_out(deep, alone)
    run_out(deep, together)
    assert torch.equal(alone[0].latents, together[1].latents)


def test_sides_that_the_adapter_cannot_divide_are_continued(sdxl_pipe, sdxl, spec, tmp_path):
    """72 px are 18 latents, and eight pixels to a feature of this adapter, which is for half the latents."""
    adapter = diffusers.T2IAdapter.from_pretrained(write_tiny_t2i(tmp_path, sdxl_pipe.folder, shape="full_adapter_xl"))
    pixels = torch.rand(1, 3, 64, 68, generator=torch.Generator().manual_seed(1))
    assert [tuple(each.shape[2:]) for each in features_of(adapter, pixels)] == [(8, 9), (8, 9)]
    context = contexts_of(sdxl, [(spec(width=72), (unit(adapter, hint(1, 72)),))])[0]
    tick(sdxl, [context])
    assert ControlSet((unit(adapter, hint(1, 72)),)).units


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["folder", "original", "diffusers file", "pickle"])
def test_every_layout_is_loaded_bit_for_bit(deep_pipe: Any, tmp_path: Path, shape: str, layout: str) -> None:
    folder = write_tiny_t2i(tmp_path / "made", deep_pipe.folder, shape=shape, seed=7)
    path = folder
    if layout != "folder":
        name = "one.pth" if layout == "pickle" else "one.safetensors"
        path = write_single_t2i(folder, tmp_path / name, original=layout != "diffusers file")
        identity = identify_file(path)
        assert (identity.kind, identity.problem) == ("controlnet", "")
    loaded = load_t2i_adapter(path, deep_pipe.unet.config, title="one")
    reference = diffusers.T2IAdapter.from_pretrained(folder).state_dict()
    state = loaded.state_dict()
    assert state.keys() == reference.keys()
    assert all(torch.equal(state[name], value) for name, value in reference.items())
    facts = control_facts(path)
    assert facts.features is not None
    told = ((), 0) if layout == "pickle" else ((32, 64, 64), 4)
    assert (facts.features.widths, facts.hint_scale) == told, "a pickle does not tell shapes"


def test_an_adapter_of_other_widths_is_refused(deep_pipe: Any, tmp_path: Path) -> None:
    folder = write_tiny_t2i(tmp_path / "made", deep_pipe.folder)
    config = {**deep_pipe.unet.config, "block_out_channels": (32, 96)}
    with pytest.raises(ModelFileError, match="32 · 64 · 64 wide"):
        load_t2i_adapter(folder, config, title="one")
