"""The samplers that Easel has: one row each. `engine.sampling.table` looks them up and makes their schedulers.

Every row is one diffusers scheduler with fixed settings. Only combinations that exist are offered: the noise schedules
Karras, exponential and simple need a scheduler that works on sigmas; DDIM and PNDM have only their own spacing and the
trailing one; LCM and TCD have their own schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True)
class Sampler:
    """One row. `scheduler` is the class in diffusers; `settings` override the model's scheduler config.

    `eta` is passed to every step where the scheduler takes it. `own_sigmas` names the schedules that diffusers lacks
    for this class, so that Easel writes the sigmas; `seeded` ones draw their noise from a seed instead of a generator.
    `a1111_automatic` is what A1111 means by the schedule "Automatic" with this sampler. `make` is that of an extension:
    (schedule id, the model's scheduler config, seed) → a scheduler with diffusers' interface.
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
    make: Callable[[str, dict[str, Any], int], Any] | None = None


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
