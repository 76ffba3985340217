"""A picture under union ControlNets is the picture of diffusers' own union pipeline: latents within 1e-5."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from engine.control.compose import Unit
from engine.control.schedule import Window
from engine.control.union import UnionNetwork
from engine.library.control_types import union_place
from engine.protocol.specs import GenerationSpec
from tests.engine.pipeline.conftest import contexts_of, drawn, run_out
from tests.engine.pipeline.diffusers_pipes import assert_same, latents_of, on_parts_of
from tests.engine.pipeline.test_control import count_forwards
from tests.support.tiny_controls import write_tiny_union


@pytest.fixture(scope="session")
def unions(sdxl_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return [
        diffusers.ControlNetUnionModel.from_pretrained(
            write_tiny_union(tmp_path_factory.mktemp(f"union{seed}"), sdxl_pipe.folder, seed=seed)
        )
        for seed in (1, 2)
    ]


def picture(seed: int) -> Image.Image:
    """diffusers' union pipeline takes pictures only."""
    pixels = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def unit(net: Any, place: int, seed: int, weight: float = 1.0, **more: Any) -> Unit:
    mode = more.pop("mode", "balanced")
    network = UnionNetwork(net, str(id(net)), place)
    pixels = torch.frombuffer(bytearray(picture(seed).tobytes()), dtype=torch.uint8).reshape(1, 64, 64, 3)
    return Unit(network, network.embed(pixels.permute(0, 3, 1, 2).float() / 255), weight, Window(**more), mode)


def theirs(pipe: Any, spec: GenerationSpec, net: Any, **more: Any) -> torch.Tensor:
    kind = diffusers.StableDiffusionXLControlNetUnionPipeline
    return latents_of(on_parts_of(pipe, kind, spec, controlnet=net), spec, **more)


@pytest.mark.parametrize("place", [0, 3, 5])
@pytest.mark.parametrize("guidance", [7.0, 1.0])
def test_one_unit_of_each_type(sdxl_pipe, sdxl, unions, spec, place, guidance):
    wanted = spec(sampler="euler", guidance=guidance)
    ours = drawn(sdxl, wanted, unit(unions[0], place, 1, 0.8))
    reference = theirs(
        sdxl_pipe, wanted, unions[0], control_image=[picture(1)], control_mode=[place],
        controlnet_conditioning_scale=0.8,
    )  # fmt: skip
    assert_same(ours, reference)
    other = drawn(sdxl, wanted, unit(unions[0], (place + 1) % 6, 1, 0.8))
    assert not torch.allclose(ours, other, atol=1e-2), "the type is heard"


def test_guess_mode(sdxl_pipe, sdxl, unions, spec):
    """With guidance, diffusers' own guess mode fails for union ControlNets."""
    wanted = spec(sampler="euler", guidance=1.0)
    ours = drawn(sdxl, wanted, unit(unions[0], 3, 1, mode="guess"))
    reference = theirs(
        sdxl_pipe, wanted, unions[0], control_image=[picture(1)], control_mode=[3], guess_mode=True,
        controlnet_conditioning_scale=1.0,
    )  # fmt: skip
    assert_same(ours, reference)


def test_two_unions_with_windows(sdxl_pipe, sdxl, unions, spec):
    wanted = spec(sampler="dpmpp_2m", steps=10)
    ours = drawn(
        sdxl, wanted, unit(unions[0], 1, 1, 0.7, start=0.0, end=0.6), unit(unions[1], 3, 2, 0.5, start=0.3, end=1.0)
    )
    reference = theirs(
        sdxl_pipe, wanted, diffusers.models.controlnets.MultiControlNetUnionModel(unions),
        control_image=[picture(1), picture(2)],
        control_mode=[1, 3], controlnet_conditioning_scale=[0.7, 0.5], control_guidance_start=[0.0, 0.3],
        control_guidance_end=[0.6, 1.0],
    )  # fmt: skip
    assert_same(ours, reference)


def test_the_hint_and_its_type_are_looked_at_once_a_picture(sdxl, unions, spec):
    looked: list[int] = []
    handle = unions[0].transformer_layes.register_forward_hook(lambda *_: looked.append(1))
    layer = unions[0].transformer_layes[0].register_forward_hook(lambda *_: looked.append(1))
    counted: list[int] = []
    forwards = count_forwards(unions[0], counted)
    drawn(sdxl, spec(sampler="euler", steps=6), unit(unions[0], 3, 1, end=0.5))
    for each in (handle, layer, forwards):
        each.remove()
    assert len(looked) == 1
    assert len(counted) == 3


def test_pictures_of_the_same_type_share_a_call_and_do_not_change_each_other(sdxl, unions, spec):
    made = [
        (spec(seed=1, sampler="euler"), (unit(unions[0], 3, 1, 0.7),)),
        (spec(seed=2, sampler="euler"), (unit(unions[0], 3, 2, 1.2),)),
    ]
    alone = [drawn(sdxl, wanted, *units) for wanted, units in made]
    contexts = contexts_of(sdxl, made)
    assert len({context.key for context in contexts}) == 1
    run_out(sdxl, contexts)
    for context, expected in zip(contexts, alone, strict=True):
        assert_same(context.latents, expected)
    other = contexts_of(sdxl, [made[0], (spec(seed=2), (unit(unions[0], 2, 2),))])
    assert len({context.key for context in other}) == 2, "another type is another call"


def test_the_places_of_types():
    assert union_place("canny", 6) == union_place("lineart", 6) == 3
    assert union_place("scribble", 6) == union_place("softedge", 6) == 2
    assert union_place("tile", 6) is None
    assert union_place("tile", 8) == 6
    assert union_place("", 8) is None
