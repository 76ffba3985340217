"""Decoding and previews: never a black picture, one at a time, stoppable between tiles."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import GenerationError
from engine.memory.pool import ModelPool
from engine.pipeline.decode import decode
from engine.pipeline.denoise import Stopped, tick
from engine.pipeline.encode import begin
from engine.pipeline.preview import clean_latents, latent_map, preview
from tests.engine.pipeline.conftest import run_out


@pytest.fixture
def done(sd1, spec):
    contexts = [begin(sd1, spec(steps=3, seed=seed), 0, context_id=str(seed)) for seed in (1, 2)]
    run_out(sd1, contexts)
    return contexts


def overflowing(vae, beyond: torch.dtype):
    """A copy of the VAE whose numbers overflow in every precision below `beyond`."""
    broken = copy.deepcopy(vae)

    def overflow(module, given, answer):
        order = [torch.float16, torch.bfloat16, torch.float32, None]
        return answer * float("nan") if order.index(answer.dtype) < order.index(beyond) else answer

    broken.decoder.register_forward_hook(overflow)
    return broken


def test_a_picture_does_not_depend_on_its_neighbours(sd1, done):
    together = decode(sd1, done)
    assert [picture.image.tobytes() for picture in together] == [
        decode(sd1, [context])[0].image.tobytes() for context in done
    ]


@pytest.mark.parametrize(
    ("start", "beyond"),
    [(torch.float16, torch.bfloat16), (torch.float16, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_overflow_is_decoded_again_in_higher_precision_and_told(sd1, done, start, beyond):
    expected = decode(sd1, done[:1])[0].image
    sd1.vae_facts.clear()
    sd1.parts.put("vae", overflowing(sd1.vae, beyond).to(start))
    sd1.pool = ModelPool(10**9)
    made = decode(sd1, done[:1])[0]
    assert [notice.code for notice in made.notices] == ["precision_raised"]
    assert str(beyond).removeprefix("torch.") in made.notices[0].message
    error = np.abs(np.asarray(made.image, dtype=float) - np.asarray(expected, dtype=float)).mean()
    assert error < 4
    # It is remembered: the next picture begins there, and the given weights were not touched.
    assert sd1.vae_facts["decode_dtype"] == beyond
    assert sd1.vae.dtype == start
    assert [entry.leases for entry in sd1.pool.entries()]
    assert not any(entry.leases for entry in sd1.pool.entries())
    assert decode(sd1, done[1:])[0].notices == made.notices


def test_a_vae_that_is_known_to_overflow_begins_in_float32(sdxl, spec):
    context = begin(sdxl, spec(steps=2), 0, context_id="x")
    run_out(sdxl, [context])
    sdxl.parts.put("vae", overflowing(sdxl.vae, torch.float32).to(torch.float16))
    assert decode(sdxl, [context])[0].notices == ()


def test_what_overflows_everywhere_is_an_error_not_a_black_picture(sd1, done):
    sd1.parts.put("vae", overflowing(sd1.vae, None))
    sd1.vae_facts.clear()
    with pytest.raises(GenerationError) as caught:
        decode(sd1, done)
    assert caught.value.code == "picture_not_finite"
    done[0].latents = done[0].latents * float("nan")
    with pytest.raises(GenerationError):
        decode(sd1, done[:1])


@pytest.mark.parametrize("tiled", [False, True])
def test_decoding_can_be_stopped(sd1, spec, tiled):
    context = begin(sd1, spec(steps=1, width=160, height=160), 0, context_id="x")
    run_out(sd1, [context])
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    if tiled:
        sd1.parts.put("vae", copy.deepcopy(sd1.vae))
        # The tiny VAE is meant for 64 px: 16 latents a tile.
        assert sd1.vae.tile_latent_min_size < 40
    with pytest.raises(Stopped):
        decode(sd1, [context], should_stop=stop, tiled=tiled)
    assert len(asked) == 3
    assert not any(module._forward_pre_hooks for module in sd1.vae.modules())
    assert not sd1.vae.use_tiling
    assert decode(sd1, [context], should_stop=lambda: False, tiled=tiled)[0].image.size == (160, 160)


def test_a_preview_shows_what_is_to_come(sd1, spec):
    context = begin(sd1, spec(steps=8, sampler="euler"), 0, context_id="x")
    sizes = {preview(sd1, context).size}
    while not context.finished:
        tick(sd1, [context])
        image = preview(sd1, context)
        sizes.add(image.size)
    assert sizes == {(256, 256)}
    assert np.asarray(image).std() > 1


def test_the_fitted_map_is_near_what_the_vae_makes(sd1):
    known = latent_map(sd1)
    # Small latents: there the tiny random VAE is nearly linear, as a trained one is for a picture's areas.
    latents = torch.nn.functional.interpolate(
        torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(5)), size=(16, 16), mode="bilinear"
    )
    with torch.inference_mode():
        pixels = sd1.vae.decode(latents / sd1.vae.config.scaling_factor, return_dict=False)[0]
    wanted = torch.nn.functional.adaptive_avg_pool2d(pixels, (16, 16))[0].flatten(1)
    made = torch.einsum("chw,cd->dhw", latents[0], known.matrix) + known.offset[:, None, None]
    assert float((made.flatten(1) - wanted).abs().mean()) < float((wanted - wanted.mean()).abs().mean()) + 0.1
    assert latent_map(sd1).matrix.shape == (4, 3)


def test_previews_work_for_any_number_of_latent_channels(spec, sd1):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    sd1.parts.put("vae", AutoencoderKL(
        latent_channels=16, block_out_channels=(32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    ))  # fmt: skip
    context = begin(sd1, spec(), 0, context_id="x")
    context.latents = torch.randn(1, 16, 16, 16)
    assert isinstance(preview(sd1, context), Image.Image)
    assert sd1.vae_facts["preview_map"].matrix.shape == (16, 3)


def test_the_maps_of_the_published_vaes_are_known(sd1):
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        for scale in (0.18215, 0.13025):
            sd1.parts.put("vae", AutoencoderKL(
                block_out_channels=(128, 256, 512, 512), scaling_factor=scale,
                down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            ))  # fmt: skip
            assert latent_map(sd1).matrix.shape == (4, 3)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_2m", "lms"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_clean_latents_are_the_schedulers_own_prediction(sd1, spec, sampler, prediction):
    sd1.scheduler_config["prediction_type"] = prediction
    context = begin(sd1, spec(sampler=sampler), 0, context_id="x")
    seen = []
    original = context.scheduler.step

    def step(answer, timestep, latents, **options):
        result = original(answer, timestep, latents, **{**options, "return_dict": True})
        seen.append(getattr(result, "pred_original_sample", None))
        return (result.prev_sample,)

    context.scheduler.step = step
    tick(sd1, [context])
    if seen[0] is not None:
        assert torch.allclose(clean_latents(context), seen[0], atol=0.05 * float(seen[0].abs().max()))
    assert torch.isfinite(clean_latents(context)).all()
