"""A picture goes on from a snapshot bit for bit, for every sampler, without pickle."""

from __future__ import annotations

import pytest
import torch

from engine.pipeline.context import LatentStart
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin, resume
from engine.pipeline.snapshot import ContextSnapshot, SnapshotUnusableError
from engine.sampling.rows import SAMPLERS
from tests.engine.pipeline.conftest import run_out

COMBINATIONS = [(row.id, schedule) for row in SAMPLERS for schedule in row.schedules]


@pytest.mark.parametrize(("sampler", "schedule"), COMBINATIONS)
def test_every_sampler_goes_on_bit_for_bit(sd1, spec, sampler, schedule):
    wanted = spec(sampler=sampler, schedule=schedule, steps=3)
    context = begin(sd1, wanted, 1, context_id="x")
    kept: list[bytes] = []
    while not context.finished:
        tick(sd1, [context])
        kept.append(context.snapshot().to_bytes())
    # One after each evaluation: also in the middle of a second-order step.
    for done, data in enumerate(kept[:-1], start=1):
        again = resume(sd1, wanted, 1, data, context_id="x")
        assert again is not None
        assert (again.evaluations_done, again.seed) == (done, context.seed)
        run_out(sd1, [again])
        assert torch.equal(again.latents, context.latents)


def test_sdxl_and_a_masked_start_go_on_too(sdxl, spec):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    start = LatentStart(torch.ones(1, 4, 16, 16), start_step=1, mask=mask)
    wanted = spec(sampler="euler_a")
    context = begin(sdxl, wanted, 0, context_id="x", start=start)
    tick(sdxl, [context])
    data = context.snapshot().to_bytes()
    run_out(sdxl, [context])
    again = resume(sdxl, wanted, 0, data, context_id="x")
    assert again is not None
    run_out(sdxl, [again])
    assert torch.equal(again.latents, context.latents)


def test_a_snapshot_of_something_else_is_not_taken_up(sd1, sdxl, spec):
    context = begin(sd1, spec(), 0, context_id="x")
    tick(sd1, [context])
    data = context.snapshot().to_bytes()
    assert resume(sd1, spec(), 0, data, context_id="x") is not None
    # What does not decide the picture may differ: the same picture re-run alone, in another file format.
    assert resume(sd1, spec(count=5, batch_size=1), 0, data, context_id="x") is not None
    for bundle, wanted, index in [
        (sd1, spec(prompt="another"), 0),
        (sd1, spec(steps=9), 0),
        (sd1, spec(), 1),
        (sdxl, spec(), 0),
    ]:
        assert resume(bundle, wanted, index, data, context_id="x") is None


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:100], lambda data: data[:-50], lambda data: b"x" * 200]
)
def test_damaged_bytes_are_not_taken_up(sd1, spec, damage):
    context = begin(sd1, spec(), 0, context_id="x")
    tick(sd1, [context])
    data = damage(context.snapshot().to_bytes())
    with pytest.raises(SnapshotUnusableError):
        ContextSnapshot.from_bytes(data)
    assert resume(sd1, spec(), 0, data, context_id="x") is None


def test_a_snapshot_is_small_and_no_pickle(sd1, spec):
    context = begin(sd1, spec(sampler="dpmpp_sde"), 0, context_id="x")
    tick(sd1, [context])
    data = context.snapshot().to_bytes()
    assert len(data) < 100_000
    assert b"pickle" not in data
    snapshot = ContextSnapshot.from_bytes(data)
    assert torch.equal(snapshot.tensors["latents"], context.latents)
