"""Reference units: the picture looks at another one, more with more weight, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.control.compose import ControlSet
from engine.control.reference import Reference
from engine.control.schedule import Window, signal_share
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin
from engine.pipeline.picture_latents import picture_latents
from tests.engine.pipeline.conftest import contexts_of, drawn, run_out
from tests.engine.pipeline.diffusers_pipes import assert_same


def reference(weight: float = 1.0, fidelity: float = 0.5, *, seed: int = 9, **window: Any) -> Reference:
    generator = torch.Generator().manual_seed(seed)
    latents, noise = (torch.randn(1, 4, 16, 16, generator=generator) for _ in range(2))
    return Reference(latents, noise, weight, fidelity, Window(**window))


@pytest.mark.parametrize("which", ["sd1", "sdxl"])
def test_without_weight_it_is_the_same_picture_bit_for_bit(request, which, spec):
    bundle = request.getfixturevalue(which)
    wanted = spec(sampler="euler")
    plain = drawn(bundle, wanted)
    assert torch.equal(drawn(bundle, wanted, reference(0.0)), plain)
    assert torch.equal(drawn(bundle, wanted, reference(1.0, start=0.95, end=1.0)), plain), "no step lies in its window"
    assert not torch.allclose(drawn(bundle, wanted, reference(1.0)), plain, atol=1e-3)


def test_the_picture_moves_on_with_the_weight(sd1, spec):
    """The way from the plain picture grows with the weight, and a tiny weight changes next to nothing."""
    wanted = spec(sampler="euler")
    plain = drawn(sd1, wanted)
    ways = [
        float((drawn(sd1, wanted, reference(weight, 0.0)) - plain).norm()) for weight in (1e-4, 0.25, 0.5, 1.0, 2.0)
    ]
    assert ways[0] < 0.05 * ways[3]
    assert ways == sorted(ways)


def test_a_picture_that_refers_to_itself_sees_its_own_tokens_twice(sd1, spec):
    """Then attention is a mean over the same tokens, whatever the weight: the plain picture."""
    wanted = spec(sampler="ddim", guidance=1.0, steps=1)
    context = begin(sd1, wanted, 0, context_id="0")
    rows = context.rows()
    signal = signal_share(context.scheduler, rows.timestep)
    plain = drawn(sd1, wanted)
    for weight in (0.3, 1.0, 2.0):
        own = Reference(torch.zeros_like(rows.latents), rows.latents / (1 - signal) ** 0.5, weight, 0.0)
        assert torch.allclose(own.noised(signal), rows.latents, atol=1e-6)
        assert_same(drawn(sd1, wanted, own), plain)


@pytest.mark.parametrize("fidelity", [0.0, 0.5, 1.0])
def test_fidelity_spares_the_negative_prompt(sd1, spec, fidelity):
    """At 1 the negative prompt's answer is the plain one: the pictures at guidance 1 are not touched by fidelity."""
    wanted = spec(sampler="euler", guidance=1.0)
    assert torch.equal(drawn(sd1, wanted, reference(1.0, fidelity)), drawn(sd1, wanted, reference(1.0, 0.0)))
    guided = spec(sampler="euler", steps=1)
    others = [drawn(sd1, guided, reference(1.0, each)) for each in (0.0, 0.5, 1.0)]
    mine = drawn(sd1, guided, reference(1.0, fidelity))
    assert sum(torch.equal(mine, other) for other in others) == 1
    middle = (others[0] + others[2]) / 2
    assert (others[1] - middle).norm() < (others[0] - middle).norm(), "half way lies between"


def test_several_references_and_their_order(sd1, spec):
    wanted = spec(sampler="euler")
    first, second = reference(1.0), reference(0.5, seed=10)
    both = drawn(sd1, wanted, first, second)
    assert_same(both, drawn(sd1, wanted, second, first))
    assert not torch.allclose(both, drawn(sd1, wanted, first), atol=1e-3)


@pytest.mark.parametrize("repeatable", [False, True])
def test_pictures_with_references_share_calls(sd1, spec, repeatable):
    made = [
        (spec(seed=1, sampler="euler", repeatable=repeatable), (reference(1.0, 0.5),)),
        (spec(seed=2, sampler="ddim", guidance=3.0, repeatable=repeatable), (reference(0.4, 0.0, seed=3),)),
        (spec(seed=3, sampler="euler", guidance=1.0, repeatable=repeatable), (reference(1.5, 1.0, seed=4),)),
    ]
    alone = [drawn(sd1, wanted, *units) for wanted, units in made]
    contexts = contexts_of(sd1, made)
    assert len({context.key for context in contexts}) == 1
    assert run_out(sd1, contexts) == 5
    for context, expected in zip(contexts, alone, strict=True):
        assert torch.equal(context.latents, expected) if repeatable else True
        assert_same(context.latents, expected)


def test_others_do_not_share_its_calls_and_the_unet_is_as_before(sd1, spec):
    before = dict(sd1.unet.attn_processors)
    with_it = begin(sd1, spec(), 0, context_id="0", controls=ControlSet((reference(),)))
    without = begin(sd1, spec(seed=5), 0, context_id="1")
    assert with_it.key != without.key
    plain = drawn(sd1, spec(seed=5))
    while not (with_it.finished and without.finished):
        for context in (with_it, without):
            tick(sd1, [context])
    assert torch.equal(without.latents, plain)
    assert dict(sd1.unet.attn_processors) == before


def test_latents_of_a_picture_are_those_of_the_vae(sd1_pipe, sd1):
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    found = picture_latents(sd1, pixels)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = sd1_pipe.vae.encode(image).latent_dist.mean * sd1_pipe.vae.config.scaling_factor
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(found, picture_latents(sd1, pixels))


def test_a_tiny_autoencoder_gives_latents_too(sd1):
    """The starter has one: no distribution, no scale."""
    import diffusers
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    vae = diffusers.AutoencoderTiny(encoder_block_out_channels=(8, 8, 8), decoder_block_out_channels=(8, 8, 8),
                                    num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 1))  # fmt: skip
    sd1.parts.put("vae", vae.eval())
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected = vae.encode(image).latents
    assert torch.allclose(picture_latents(sd1, pixels), expected, atol=1e-6)
