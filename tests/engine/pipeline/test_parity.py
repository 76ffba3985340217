"""A picture alone is the picture of diffusers' own pipelines: latents within 1e-5, float32, CPU."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from engine.pipeline.context import LatentStart
from engine.pipeline.decode import decode
from engine.pipeline.encode import begin
from engine.pipeline.model import ModelBundle, ready
from engine.sampling.rows import SAMPLERS
from tests.engine.pipeline.conftest import bundle_of, picture, run_out
from tests.engine.pipeline.diffusers_pipes import (
    SCHEDULERS,
    assert_same,
    latents_of,
    on_parts_of,
    open_pipe,
    scheduler_of,
)
from tests.support.tiny_models import write_tiny_sd1

SHARED = [(row.id, name) for row in SAMPLERS for name in row.schedules if name not in row.own_sigmas]
# Every combination guided and unguided, in two sizes, alone and in pairs; the other half of the cross product for the
# schedule that each sampler has of its own.
CASES = [
    (*pair, *case)
    for pair in SHARED
    for case in [(7.0, 64, 1), (1.0, 96, 2), (1.0, 96, 1), (7.0, 96, 2)][: 4 if pair[1] == "automatic" else 2]
]


def theirs(pipe: Any, spec: Any, batch: int = 1, **more: Any) -> torch.Tensor:
    """The pipeline's latents for a spec, with one generator a picture."""
    seeds = [spec.seed + place for place in range(batch)]
    pipe.scheduler = scheduler_of(pipe, spec, seeds, **more)
    return latents_of(
        pipe,
        spec,
        prompt=[spec.prompt] * batch,
        negative_prompt=[spec.negative_prompt] * batch if spec.negative_prompt else None,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        eta=0.3 if spec.sampler == "tcd" else 0.0,
    )


@pytest.mark.parametrize(("sampler", "schedule", "guidance", "width", "batch"), CASES)
def test_latents_are_those_of_stable_diffusion_pipeline(sd1_pipe, sd1, spec, sampler, schedule, guidance, width, batch):
    wanted = spec(sampler=sampler, schedule=schedule, guidance=guidance, width=width)
    reference = theirs(sd1_pipe, wanted, batch)
    if batch == 1:
        # The same calls in the same shapes: not a bit differs.
        assert torch.equal(picture(sd1, wanted), reference)
        return
    contexts = [begin(sd1, wanted, index, context_id=str(index)) for index in range(batch)]
    run_out(sd1, contexts)
    assert_same(torch.cat([context.latents for context in contexts]), reference)


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize(("guidance", "negative", "width"), [(6.0, "dog", 64), (6.0, "", 96), (1.0, "", 64)])
def test_latents_are_those_of_stable_diffusion_xl_pipeline(sdxl_pipe, sdxl, spec, sampler, guidance, negative, width):
    wanted = spec(sampler=sampler, guidance=guidance, negative_prompt=negative, width=width)
    assert_same(picture(sdxl, wanted), theirs(sdxl_pipe, wanted))


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("guidance", [7.0, 1.0])
def test_models_that_predict_velocity(sd1_pipe, sd1, spec, sampler, guidance):
    sd1.scheduler_config["prediction_type"] = "v_prediction"
    wanted = spec(sampler=sampler, guidance=guidance)
    assert_same(picture(sd1, wanted), theirs(sd1_pipe, wanted, prediction_type="v_prediction"))


def test_a_model_without_terminal_noise(sd1_pipe, sd1, spec):
    sd1.scheduler_config.update(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    wanted = spec(sampler="euler", schedule="sgm_uniform")
    more = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    assert_same(picture(sd1, wanted), theirs(sd1_pipe, wanted, **more))


def test_more_steps(sd1_pipe, sd1, spec):
    wanted = spec(sampler="dpmpp_2m", schedule="karras", steps=20)
    assert torch.equal(picture(sd1, wanted), theirs(sd1_pipe, wanted))


def test_distilled_models_take_the_guidance_as_a_number(spec, tmp_path):
    pipe = open_pipe(write_tiny_sd1(tmp_path, time_cond_proj_dim=32))
    bundle = bundle_of(pipe)
    wanted = spec(sampler="lcm", guidance=8.0)
    context = begin(bundle, wanted, 0, context_id="x")
    assert context.rows().count == 1
    run_out(bundle, [context])
    assert torch.equal(context.latents, theirs(pipe, wanted))


def test_clip_skip_is_diffusers_clip_skip_plus_one(sd1_pipe, sd1, spec):
    """For both prompts, as other studios read them; diffusers itself leaves the negative prompt at the last layer."""
    sd1_pipe.scheduler = scheduler_of(sd1_pipe, spec(sampler="euler"))
    positive, negative = (
        sd1_pipe.encode_prompt(text, "cpu", 1, False, clip_skip=1)[0] for text in ("a red cat", "dog")
    )
    encoded = {"prompt": None, "prompt_embeds": positive, "negative_prompt": None, "negative_prompt_embeds": negative}
    reference = latents_of(sd1_pipe, spec(), **encoded)
    assert_same(picture(sd1, spec(sampler="euler", clip_skip=2)), reference)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "heun", "euler_a"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_a_start_from_latents_is_image_to_image(sd1_pipe, sd1, spec, sampler, strength):
    clean = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    image_to_image = on_parts_of(sd1_pipe, diffusers.StableDiffusionImg2ImgPipeline, spec(sampler=sampler))
    reference = image_to_image(
        "a red cat", image=clean, negative_prompt="dog", strength=strength, num_inference_steps=5, guidance_scale=7.0,
        generator=torch.Generator().manual_seed(3), output_type="latent",
    ).images  # fmt: skip
    skipped = 5 - int(5 * strength)
    context = begin(sd1, spec(sampler=sampler), 0, context_id="x", start=LatentStart(clean, skipped))
    run_out(sd1, [context])
    if skipped:
        assert_same(context.latents, reference)
    else:
        # Nothing of the old picture is left: noise alone, as in text-to-image.
        assert torch.equal(context.latents, picture(sd1, spec(sampler=sampler)))


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "heun", "dpmpp_sde"])
def test_a_mask_keeps_the_old_picture_where_it_is_zero(sd1, spec, sampler):
    clean = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    start = LatentStart(clean, start_step=1, mask=mask)
    context = begin(sd1, spec(sampler=sampler), 0, context_id="x", start=start)
    run_out(sd1, [context])
    assert torch.equal(context.latents[..., 8:], clean[..., 8:])
    assert not torch.allclose(context.latents[..., :8], clean[..., :8], atol=0.1)
    assert torch.isfinite(context.latents).all()


def test_channels_last_changes_nothing_that_counts(sd1_pipe, sd1, spec):
    import copy

    wanted = spec(sampler="dpmpp_2m", schedule="karras")
    last = bundle_of(sd1_pipe)
    last.parts.put("unet", ready(copy.deepcopy(sd1.unet)).to(memory_format=torch.channels_last))
    assert last.memory_format == torch.channels_last
    assert sd1.memory_format == torch.contiguous_format
    assert_same(picture(last, wanted), theirs(sd1_pipe, wanted))


def test_the_decoded_picture_is_the_pipelines_picture(sd1_pipe, sd1: ModelBundle, spec):
    wanted = spec(sampler="euler")
    context = begin(sd1, wanted, 0, context_id="x")
    run_out(sd1, [context])
    ours = decode(sd1, [context])[0]
    sd1_pipe.scheduler = scheduler_of(sd1_pipe, wanted)
    reference = sd1_pipe(
        "a red cat", negative_prompt="dog", num_inference_steps=5, guidance_scale=7.0, width=64, height=64,
        generator=torch.Generator().manual_seed(3),
    ).images[0]  # fmt: skip
    assert ours.notices == ()
    assert ours.image.size == (64, 64)
    assert ours.image.tobytes() == reference.tobytes()
