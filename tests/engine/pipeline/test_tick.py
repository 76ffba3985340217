"""A tick is one UNet evaluation for many pictures, none of which notices the others."""

from __future__ import annotations

import pytest
import torch

from engine.errors import GenerationError
from engine.pipeline.denoise import PINNED_ROWS, Stopped, tick
from engine.pipeline.encode import begin
from engine.pipeline.lengths import TextRows, join
from engine.sampling.rows import SAMPLERS
from tests.engine.pipeline.conftest import picture, run_out
from tests.support.likeness import latents_psnr

SHORT, MIDDLE, LONG = "a red cat", "cat, " * 60, "dog. " * 90


class Calls:
    """Counts the UNet's forward passes and their rows."""

    def __init__(self, unet):
        self.rows: list[int] = []
        self._handle = unet.register_forward_hook(lambda module, given, answer: self.rows.append(given[0].shape[0]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._handle.remove()


def mixed(spec):
    """Different samplers, steps, guidance, seeds and prompt lengths."""
    return [
        spec(sampler="dpmpp_2m", schedule="karras", steps=5, seed=1),
        spec(sampler="euler_a", steps=8, guidance=4.0, seed=2, prompt=MIDDLE),
        spec(sampler="heun", steps=4, guidance=1.0, seed=3, prompt=LONG),
        spec(sampler="dpmpp_sde", steps=3, guidance=9.0, seed=4, negative_prompt=MIDDLE),
        spec(sampler="pndm", steps=6, seed=5, negative_prompt=""),
    ]


def test_four_equal_pictures_make_n_calls_not_four_n(sd1, spec):
    contexts = [begin(sd1, spec(steps=6), index, context_id=str(index)) for index in range(4)]
    with Calls(sd1.unet) as calls:
        assert run_out(sd1, contexts) == 6
    assert calls.rows == [8] * 6
    assert len({float(context.latents.sum()) for context in contexts}) == 4


@pytest.mark.parametrize(
    ("sampler", "steps", "evaluations"),
    [
        ("heun", 10, 19),
        ("dpm2", 10, 19),
        ("dpm2_a", 10, 19),
        ("dpmpp_sde", 10, 19),
        ("pndm", 10, 11),
        ("euler", 10, 10),
    ],
)
def test_a_step_may_be_two_evaluations(sd1, spec, sampler, steps, evaluations):
    context = begin(sd1, spec(sampler=sampler, steps=steps), 0, context_id="x")
    assert context.evaluations_total == evaluations
    seen = []
    with Calls(sd1.unet) as calls:
        while not context.finished:
            tick(sd1, [context])
            seen.append((context.evaluations_done, context.step))
    assert calls.rows == [2] * evaluations
    assert seen[-1] == (evaluations, steps)
    assert [step for _, step in seen] == sorted(step for _, step in seen)


def test_guidance_of_one_asks_one_row(sd1, spec):
    with Calls(sd1.unet) as calls:
        picture(sd1, spec(guidance=1.0, steps=3))
    assert calls.rows == [1, 1, 1]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_mixed_batch_is_what_each_is_alone(request, spec, family):
    bundle = request.getfixturevalue(family)
    specs = mixed(spec)
    contexts = [begin(bundle, wanted, 0, context_id=str(place)) for place, wanted in enumerate(specs)]
    with Calls(bundle.unet) as calls:
        ticks = run_out(bundle, contexts)
    assert len(calls.rows) == ticks == max(context.evaluations_total for context in contexts)
    for context, wanted in zip(contexts, specs, strict=True):
        assert latents_psnr(context.latents, picture(bundle, wanted)) >= 60


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("size", [4, 8])
def test_with_a_pinned_shape_not_a_bit_depends_on_the_neighbours(request, spec, family, size):
    bundle = request.getfixturevalue(family)
    samplers = ["dpmpp_2m", "euler_a", "heun", "dpmpp_sde", "pndm"]
    specs = [
        spec(sampler=name, steps=3, seed=place, guidance=1.0 if place == 2 else 7.0)
        for place, name in enumerate(samplers)
    ]
    contexts = [begin(bundle, wanted, 0, context_id=str(place)) for place, wanted in enumerate(specs)]
    run_out(bundle, contexts, pad_to=size)
    for context, wanted in zip(contexts, specs, strict=True):
        assert torch.equal(context.latents, picture(bundle, wanted, pad_to=size))


def test_repeatable_pictures_are_pinned_by_themselves(sd1, spec):
    specs = [spec(repeatable=True, sampler=name) for name in ("dpmpp_2m", "euler_a", "heun")]
    contexts = [begin(sd1, wanted, 0, context_id=str(place)) for place, wanted in enumerate(specs)]
    with Calls(sd1.unet) as calls:
        run_out(sd1, contexts)
    assert set(calls.rows) == {PINNED_ROWS}
    for context, wanted in zip(contexts, specs, strict=True):
        assert torch.equal(context.latents, picture(sd1, wanted))


def test_what_may_not_share_a_call_is_refused(sd1, spec):
    def context(**changes):
        return begin(sd1, spec(**changes), 0, context_id="x")

    plain = context()
    assert plain.key == context(sampler="heun", guidance=2.0, prompt=LONG).key
    others = [context(width=96), context(repeatable=True)]
    for other in others:
        assert other.key != plain.key
        with pytest.raises(ValueError, match="may not share"):
            tick(sd1, [plain, other])
    assert context(repeatable=True).key != context(repeatable=True, prompt=LONG).key
    with pytest.raises(ValueError, match="not finished"):
        tick(sd1, [])


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_sde", "unipc", "lms"])
def test_a_stop_between_blocks_leaves_everything_as_it_was(sd1, spec, sampler):
    contexts = [begin(sd1, spec(sampler=sampler), index, context_id=str(index)) for index in range(2)]
    tick(sd1, contexts)
    before = [context.latents.clone() for context in contexts]
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Stopped), Calls(sd1.unet) as calls:
        tick(sd1, contexts, should_stop=stop)
    # The third block was never run, so the UNet's pass was never finished.
    assert (len(asked), calls.rows) == (3, [])
    assert [context.evaluations_done for context in contexts] == [1, 1]
    assert all(torch.equal(context.latents, was) for context, was in zip(contexts, before, strict=True))
    assert not any(module._forward_pre_hooks for module in sd1.unet.modules())
    run_out(sd1, contexts, should_stop=lambda: False)
    undisturbed = [begin(sd1, spec(sampler=sampler), index, context_id=str(index)) for index in range(2)]
    run_out(sd1, undisturbed)
    for context, other in zip(contexts, undisturbed, strict=True):
        assert torch.equal(context.latents, other.latents)


def test_numbers_that_are_none_are_caught_in_their_step_and_the_neighbours_go_on(sd1, spec):
    sick, sound = (begin(sd1, spec(steps=4), index, context_id=str(index)) for index in range(2))
    tick(sd1, [sick, sound])
    sick.latents = sick.latents * float("inf")
    with pytest.raises(GenerationError) as caught:
        tick(sd1, [sick, sound])
    assert caught.value.code == "picture_not_finite"
    run_out(sd1, [sound])
    assert latents_psnr(sound.latents, picture(sd1, spec(steps=4), 1)) >= 60


def test_seeds_wrap_and_pictures_of_a_job_differ(sd1, spec):
    last = begin(sd1, spec(seed=2**32 - 1), 1, context_id="x")
    assert last.seed == 0
    assert torch.equal(last.latents, begin(sd1, spec(seed=0), 0, context_id="x").latents)


def test_asking_for_rows_changes_nothing(sd1, spec):
    for row in SAMPLERS:
        context = begin(sd1, spec(sampler=row.id), 0, context_id="x")
        assert torch.equal(context.rows().latents, context.rows().latents)


@pytest.mark.parametrize("chunks", [(1, 2, 3), (3, 5, 7), (1, 1), (2, 4)])
def test_prompts_of_different_length_read_the_same_together(sd1, chunks):
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randn(1, 77 * count, 32, generator=generator) for count in chunks]
    sample = torch.randn(len(chunks), 4, 16, 16, generator=generator)
    joined = join([TextRows(text) for text in texts])
    assert (joined.mask is not None) == (chunks == (3, 5, 7))
    with torch.inference_mode():
        together = sd1.unet(sample, torch.tensor(500), joined.embeds, encoder_attention_mask=joined.mask).sample
        alone = [sd1.unet(sample[i : i + 1], torch.tensor(500), text).sample for i, text in enumerate(texts)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_masked_and_unmasked_rows_join():
    masked = join([TextRows(torch.ones(1, 77 * count, 4)) for count in (3, 5, 7)])
    again = join([masked, TextRows(torch.ones(2, 77, 4))])
    assert again.embeds.shape == (5, 77 * 7, 4)
    assert again.mask is not None
    assert again.mask.sum(1).tolist() == [77 * 3, 77 * 5, 77 * 7, 77, 77]
