"""The table of samplers and schedules: what exists, under which names, with what advice.

Every row is one diffusers scheduler with fixed settings. Only combinations that exist are offered: the noise schedules
Karras, exponential and simple need a scheduler that works on sigmas; DDIM and PNDM have only their own spacing and the
trailing one; LCM and TCD have their own schedule. Importing this module imports no torch: `make_scheduler` does.
"""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import json
import re
from dataclasses import dataclass, field
from typing import Any

from engine.errors import SpecError
from engine.protocol.library import SamplerView, ScheduleView

SCHEDULES: dict[str, str] = {
    "automatic": "Automatic",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
}
ALL = tuple(SCHEDULES)
SPACINGS = ("automatic", "sgm_uniform")
OWN = ("automatic",)
# Stable Diffusion's own noise schedule, for a model that brings no scheduler settings.
FALLBACK_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


@dataclass(frozen=True)
class Sampler:
    """One row. `scheduler` is the class in diffusers; `settings` override the model's scheduler config.

    `eta` is passed to every step where the scheduler takes it. `own_sigmas` names the schedules that diffusers lacks
    for this class, so that Easel writes the sigmas; `seeded` ones draw their noise from a seed instead of a generator.
    `a1111_automatic` is what A1111 means by the schedule "Automatic" with this sampler.
    """

    id: str
    title: str
    scheduler: str
    schedules: tuple[str, ...]
    advised_steps: tuple[int, int]
    advice: str
    aliases: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    evaluations_per_step: float = 1.0
    stochastic: bool = False
    eta: float = 0.0
    own_sigmas: tuple[str, ...] = ("simple",)
    a1111_automatic: str = "automatic"
    seeded: bool = False


SAMPLERS: tuple[Sampler, ...] = (
    Sampler(
        "dpmpp_2m", "DPM++ 2M", "DPMSolverMultistepScheduler", ALL, (20, 30),
        "The default recommendation: very good and fast; with Karras it is excellent from 20 steps.",
        aliases=("dpm++2m", "k_dpmpp_2m", "dpm_2m", "dpmsolver++"),
        settings={"algorithm_type": "dpmsolver++", "solver_order": 2},
        a1111_automatic="karras",
    ),
    Sampler(
        "dpmpp_2m_sde", "DPM++ 2M SDE", "DPMSolverMultistepScheduler", ALL, (20, 30),
        "Like DPM++ 2M with fresh noise at each step: more detail and variety, the picture changes with the steps.",
        aliases=("k_dpmpp_2m_sde",),
        settings={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
        stochastic=True,
        a1111_automatic="exponential",
    ),
    Sampler(
        "dpmpp_sde", "DPM++ SDE", "DPMSolverSDEScheduler", ALL, (10, 20),
        "Rich detail from few steps, but each step costs two evaluations.",
        aliases=("k_dpmpp_sde",),
        evaluations_per_step=2.0, stochastic=True, a1111_automatic="karras", seeded=True,
    ),
    Sampler(
        "euler", "Euler", "EulerDiscreteScheduler", ALL, (25, 40),
        "Good and fast, for quick iterations; best from 25 steps.",
        aliases=("k_euler",),
    ),
    Sampler(
        "euler_a", "Euler a", "EulerAncestralDiscreteScheduler", ALL, (25, 40),
        "Creative: artistic, varied pictures that keep changing with the number of steps.",
        aliases=("euler ancestral", "k_euler_a", "k_euler_ancestral"),
        stochastic=True, own_sigmas=("karras", "exponential", "simple"),
    ),
    Sampler(
        "heun", "Heun", "HeunDiscreteScheduler", ALL, (10, 25),
        "More exact than Euler at the same steps, at twice the time.",
        aliases=("k_heun",),
        evaluations_per_step=2.0,
    ),
    Sampler(
        "ddim", "DDIM", "DDIMScheduler", SPACINGS, (20, 50),
        "Deterministic and reproducible, good from 20 steps.",
        own_sigmas=(),
    ),
    Sampler(
        "unipc", "UniPC", "UniPCMultistepScheduler", ALL, (15, 25),
        "Excellent for photorealism, already from 15 steps.",
        aliases=("uni_pc",),
        settings={"solver_order": 2},
    ),
    Sampler(
        "lcm", "LCM", "LCMScheduler", OWN, (4, 8),
        "For LCM models: previews and rapid iteration from 4 steps, at a guidance of 1 to 2.",
        stochastic=True, own_sigmas=(),
    ),
    Sampler(
        "tcd", "TCD", "TCDScheduler", OWN, (4, 8),
        "For TCD models: few steps with more detail than LCM, at a guidance of 1.",
        stochastic=True, eta=0.3, own_sigmas=(),
    ),
    Sampler(
        "pndm", "PNDM", "PNDMScheduler", SPACINGS, (30, 50),
        "The first sampler of Stable Diffusion: steady, best from 30 steps.",
        aliases=("plms",),
        settings={"skip_prk_steps": True},
        own_sigmas=(),
    ),
    Sampler(
        "lms", "LMS", "LMSDiscreteScheduler", ALL, (30, 50),
        "An early multistep sampler: smooth, needs 30 steps or more.",
        aliases=("k_lms",),
    ),
    Sampler(
        "dpm2", "DPM2", "KDPM2DiscreteScheduler", ALL, (15, 30),
        "Second order: exact, at twice the time of Euler.",
        aliases=("dpm_2", "k_dpm_2"),
        evaluations_per_step=2.0, a1111_automatic="karras",
    ),
    Sampler(
        "dpm2_a", "DPM2 a", "KDPM2AncestralDiscreteScheduler", ALL, (15, 30),
        "DPM2 with fresh noise at each step: varied, at twice the time of Euler a.",
        aliases=("dpm_2_a", "dpm2 ancestral", "k_dpm_2_a", "k_dpm_2_ancestral"),
        evaluations_per_step=2.0, stochastic=True, a1111_automatic="karras",
    ),
)  # fmt: skip
# A model's config may carry switches of the scheduler that it came with; here the schedule decides.
_SIGMA_SWITCHES = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "thresholding",
)
_BY_ID = {row.id: row for row in SAMPLERS}
_SCHEDULE_ALIASES = {"": "automatic", "sgm": "sgm_uniform", "trailing": "sgm_uniform", "usesamescheduler": "automatic"}


def sampler_views() -> tuple[SamplerView, ...]:
    """The table as clients see it, the recommended one first."""
    return tuple(
        SamplerView(
            id=row.id,
            title=row.title,
            schedules=tuple(ScheduleView(id=name, title=SCHEDULES[name]) for name in row.schedules),
            evaluations_per_step=row.evaluations_per_step,
            advised_steps=row.advised_steps,
            advice=row.advice,
            stochastic=row.stochastic,
        )
        for row in SAMPLERS
    )


def sampler(sampler_id: str) -> Sampler:
    """The row of an id. Raises SpecError `sampler_unknown` with the nearest names."""
    row = _BY_ID.get(sampler_id)
    if row is None:
        raise _unknown("sampler", sampler_id, [row.title for row in SAMPLERS])
    return row


def check(sampler_id: str, schedule_id: str) -> None:
    """Whether the combination exists.

    Raises:
        SpecError: `sampler_unknown`, `schedule_unknown`, `combination_unknown`, each with what is near or possible.
    """
    row = sampler(sampler_id)
    if schedule_id not in SCHEDULES:
        raise _unknown("schedule", schedule_id, list(SCHEDULES.values()))
    if schedule_id not in row.schedules:
        possible = ", ".join(SCHEDULES[name] for name in row.schedules)
        raise SpecError(
            "combination_unknown",
            f"{row.title} has no {SCHEDULES[schedule_id]} schedule.",
            f"Choose one of these schedules: {possible}.",
        )


def canonical(sampler_text: str, schedule_text: str | None = None) -> tuple[str, str]:
    """Ids of what a person or another program wrote: ids, titles, "DPM++ 2M Karras", "k_euler_a", class names.

    A schedule in the sampler's name counts unless `schedule_text` names one too. The pair is not checked: `check` does.

    Raises:
        SpecError: `sampler_unknown`, `schedule_unknown`.
    """
    schedule = _find_schedule(schedule_text) if schedule_text else None
    found = _find_sampler(sampler_text)
    if found is not None:
        return found, schedule or "automatic"
    words = re.split(r"[\s_]+", sampler_text.strip())
    for cut in (2, 1):
        if len(words) > cut:
            tail = _SCHEDULES_BY_NAME.get(_folded(" ".join(words[-cut:])))
            head = _find_sampler(" ".join(words[:-cut]))
            if tail is not None and head is not None:
                return head, schedule if schedule not in (None, "automatic") else tail
    raise _unknown("sampler", sampler_text, [row.title for row in SAMPLERS])


def from_a1111(sampler_text: str, schedule_text: str | None = None) -> tuple[str, str]:
    """As `canonical`, for A1111's infotext, whose "Automatic" means Karras or exponential for some samplers."""
    sampler_id, schedule_id = canonical(sampler_text, schedule_text)
    if schedule_id == "automatic" and schedule_text:
        return sampler_id, _BY_ID[sampler_id].a1111_automatic
    return sampler_id, schedule_id


def make_scheduler(sampler_id: str, schedule_id: str, base_config: dict[str, Any], seed: int) -> Any:
    """A new scheduler object for one picture.

    Args:
        base_config: the model's own scheduler settings (betas, prediction type, spacing …), as diffusers stores them.
        seed: the picture's seed; DPM++ SDE draws its noise from it.

    Raises:
        SpecError: as `check`.
    """
    check(sampler_id, schedule_id)
    row = _BY_ID[sampler_id]
    scheduler = copy.deepcopy(
        _prototype(sampler_id, schedule_id, json.dumps(base_config, default=list, sort_keys=True))
    )
    if row.seeded:
        scheduler.register_to_config(noise_sampler_seed=seed)
        scheduler.noise_sampler_seed = seed
    return scheduler


@functools.lru_cache(maxsize=64)
def _prototype(sampler_id: str, schedule_id: str, base_config: str) -> Any:
    """A scheduler to copy: making one takes diffusers up to 0.3 s (DPM2), copying takes a millisecond."""
    import diffusers

    row = _BY_ID[sampler_id]
    scheduler_class = getattr(diffusers, row.scheduler)
    accepted = inspect.signature(scheduler_class.__init__).parameters
    settings: dict[str, Any] = {name: False for name in _SIGMA_SWITCHES if name in accepted}
    settings.update(row.settings)
    if schedule_id == "sgm_uniform":
        settings["timestep_spacing"] = "trailing"
    elif schedule_id in row.own_sigmas:
        # Where the sigmas are Easel's own, the first noise is as strong as the first sigma. The Karras switch makes the
        # scheduler take its sigmas from one method, through which `set_steps` hands it Easel's.
        settings["timestep_spacing"] = "linspace"
        if "use_karras_sigmas" in accepted:
            settings["use_karras_sigmas"] = True
    elif schedule_id in ("karras", "exponential"):
        settings[f"use_{schedule_id}_sigmas"] = True
    config = {name: value for name, value in json.loads(base_config).items() if name in accepted}
    for name, value in FALLBACK_CONFIG.items():
        if name in accepted:
            config.setdefault(name, value)
    return scheduler_class.from_config(config, **settings)


def _folded(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def _names() -> dict[str, str]:
    names: dict[str, str] = {}
    for row in SAMPLERS:
        # Two rows share a class: the first one (the plain one) keeps its name.
        for name in (row.id, row.title, *row.aliases, row.scheduler, row.scheduler.removesuffix("Scheduler")):
            names.setdefault(_folded(name), row.id)
    return names


_BY_NAME = _names()
_SCHEDULES_BY_NAME = {
    **{_folded(name): name for name in SCHEDULES},
    **{_folded(title): name for name, title in SCHEDULES.items()},
    **_SCHEDULE_ALIASES,
}


def _find_sampler(text: str) -> str | None:
    return _BY_NAME.get(_folded(text))


def _find_schedule(text: str) -> str:
    found = _SCHEDULES_BY_NAME.get(_folded(text))
    if found is None:
        raise _unknown("schedule", text, list(SCHEDULES.values()))
    return found


def _unknown(kind: str, text: str, titles: list[str]) -> SpecError:
    folded = {_folded(title): title for title in titles}
    near = [folded[name] for name in difflib.get_close_matches(_folded(text), folded, n=3, cutoff=0.4)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(titles)}."
    return SpecError(f"{kind}_unknown", f"There is no {kind} called “{text[:60]}”.", hint)
