"""The sampler table: names, advice, and only combinations that exist."""

import numpy as np
import pytest
import torch

from engine.errors import SpecError
from engine.sampling.rows import SAMPLERS
from engine.sampling.schedules import own_sigmas, set_steps, training_sigmas
from engine.sampling.state import restore_scheduler, scheduler_state
from engine.sampling.table import canonical, check, from_a1111, make_scheduler, sampler_views

MISSION = {
    "DDIM", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE", "Euler", "Euler a", "Heun", "LCM", "UniPC", "PNDM", "LMS", "DPM2",
    "DPM2 a", "TCD",
}  # fmt: skip
COMBINATIONS = [(row.id, schedule) for row in SAMPLERS for schedule in row.schedules]
BASE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def test_every_sampler_of_the_mission_is_there_with_advice():
    views = sampler_views()
    assert {view.title for view in views} == MISSION
    assert {schedule.id for view in views for schedule in view.schedules} == {
        "automatic", "karras", "exponential", "sgm_uniform", "simple",
    }  # fmt: skip
    assert all(view.advice.endswith(".") and 1 <= view.advised_steps[0] < view.advised_steps[1] for view in views)
    by_title = {view.title: view for view in views}
    assert [by_title[name].advised_steps[0] for name in ("DDIM", "DPM++ 2M", "Euler", "Euler a", "LCM", "UniPC")] == [
        20, 20, 25, 25, 4, 15,
    ]  # fmt: skip
    assert {view.title for view in views if view.evaluations_per_step == 2} == {"DPM++ SDE", "Heun", "DPM2", "DPM2 a"}


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("dpmpp_2m", "karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M Karras", None, ("dpmpp_2m", "karras")),
        ("DPM++ 2M", "Karras", ("dpmpp_2m", "karras")),
        ("dpm++ 2m sde exponential", "Automatic", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ SDE Karras", "SGM Uniform", ("dpmpp_sde", "sgm_uniform")),
        ("Euler a", None, ("euler_a", "automatic")),
        ("EulerAncestralDiscreteScheduler", "", ("euler_a", "automatic")),
        ("k_dpm_2_a", None, ("dpm2_a", "automatic")),
        ("DPM2 a Karras", None, ("dpm2_a", "karras")),
        ("LMS Karras", None, ("lms", "karras")),
        ("PLMS", None, ("pndm", "automatic")),
        ("Euler SGM Uniform", None, ("euler", "sgm_uniform")),
        ("uni_pc", "simple", ("unipc", "simple")),
    ],
)
def test_names_of_other_programs_are_understood(sampler, schedule, expected):
    assert canonical(sampler, schedule) == expected
    check(*expected)


def test_every_title_alias_and_class_leads_to_its_row():
    for row in SAMPLERS:
        for name in (row.id, row.title, *row.aliases):
            assert canonical(name) == (row.id, "automatic")


def test_a1111s_automatic_is_translated():
    assert from_a1111("DPM++ 2M", "Automatic") == ("dpmpp_2m", "karras")
    assert from_a1111("Euler a", "Automatic") == ("euler_a", "automatic")
    # Before 1.9 there was no schedule apart: the name says it all.
    assert from_a1111("DPM++ 2M") == ("dpmpp_2m", "automatic")


@pytest.mark.parametrize(
    ("pair", "code", "hint"),
    [
        (("eulr", "automatic"), "sampler_unknown", "Euler"),
        (("euler", "karas"), "schedule_unknown", "Karras"),
        (("ddim", "karras"), "combination_unknown", "SGM Uniform"),
        (("lcm", "sgm_uniform"), "combination_unknown", "Automatic"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(pair, code, hint):
    with pytest.raises(SpecError) as refused:
        check(*pair)
    assert refused.value.code == code
    assert hint in refused.value.hint


@pytest.mark.parametrize(("sampler", "schedule"), COMBINATIONS)
@pytest.mark.parametrize("steps", [1, 2, 20, 150])
def test_every_combination_runs_with_any_number_of_steps(sampler, schedule, steps):
    scheduler = make_scheduler(sampler, schedule, BASE, 5)
    set_steps(scheduler, sampler, schedule, steps)
    expected = {"heun": 2 * steps - 1, "dpm2": 2 * steps - 1, "dpm2_a": 2 * steps - 1, "dpmpp_sde": 2 * steps - 1}
    evaluations = expected.get(sampler, steps + (1 if sampler == "pndm" and steps > 1 else 0))
    assert len(scheduler.timesteps) == evaluations
    times = [float(time) for time in scheduler.timesteps]
    assert all(0 <= time <= 999 for time in times)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
    options = {"generator": torch.Generator().manual_seed(1)} if sampler in ("euler_a", "lcm", "dpm2_a", "tcd") else {}
    for time in list(scheduler.timesteps)[:4]:
        shown = scheduler.scale_model_input(latents, time)
        latents = scheduler.step(shown * 0.9, time, latents, return_dict=False, **options)[0]
    assert torch.isfinite(latents).all()


@pytest.mark.parametrize("schedule", ["karras", "exponential", "simple"])
def test_own_sigmas_fall_from_the_strongest_training_level(schedule):
    scheduler = make_scheduler("euler_a", schedule, BASE, 0)
    table = training_sigmas(scheduler)
    sigmas = own_sigmas(table, schedule, 20)
    assert sigmas[0] == pytest.approx(table[-1])
    assert (np.diff(sigmas) < 0).all()
    assert sigmas[-1] >= table[0] * (1 - 1e-9)


@pytest.mark.parametrize("sampler", ["euler_a"])
@pytest.mark.parametrize("schedule", ["karras", "exponential"])
def test_own_sigmas_are_those_of_diffusers_where_it_has_them(sampler, schedule):
    theirs = make_scheduler("euler", schedule, {**BASE, "timestep_spacing": "linspace"}, 0)
    set_steps(theirs, "euler", schedule, 12)
    ours = make_scheduler(sampler, schedule, BASE, 0)
    set_steps(ours, sampler, schedule, 12)
    assert torch.allclose(ours.sigmas, theirs.sigmas, rtol=1e-5)
    assert torch.allclose(ours.timesteps, theirs.timesteps, atol=1e-2)


def test_simple_takes_every_nth_training_level():
    scheduler = make_scheduler("dpmpp_2m", "simple", BASE, 0)
    set_steps(scheduler, "dpmpp_2m", "simple", 10)
    assert scheduler.timesteps.tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]


@pytest.mark.parametrize(("sampler", "schedule"), COMBINATIONS)
def test_a_schedulers_state_survives_without_pickle(sampler, schedule):
    scheduler = make_scheduler(sampler, schedule, BASE, 5)
    set_steps(scheduler, sampler, schedule, 6)
    tensors, tree = scheduler_state(scheduler)
    other = make_scheduler(sampler, schedule, BASE, 5)
    set_steps(other, sampler, schedule, 4)
    restore_scheduler(other, tensors, tree)
    again, again_tree = scheduler_state(other)
    assert tree == again_tree
    for name, value in tensors.items():
        # DPM2 keeps a NaN where it never looks.
        torch.testing.assert_close(value, again[name], rtol=0, atol=0, equal_nan=True)
