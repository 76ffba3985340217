"""Timesteps and sigmas of one picture, set on its scheduler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from engine.sampling.table import sampler

KARRAS_RHO = 7.0
# LCM and TCD pick their steps out of this many of the distillation; more steps need a finer grid.
DISTILLATION_STEPS = 50


def set_steps(scheduler: Any, sampler_id: str, schedule_id: str, steps: int) -> None:
    """Prepare `scheduler` for `steps` steps (1–150); `scheduler.timesteps` then has one entry per UNet evaluation.

    Timesteps and sigmas stay on the CPU, whatever device computes: they steer Python and cost no synchronisation.
    """
    row = sampler(sampler_id)
    if row.id in ("lcm", "tcd"):
        scheduler.set_timesteps(steps, original_inference_steps=max(DISTILLATION_STEPS, steps))
        return
    if schedule_id not in row.own_sigmas:
        scheduler.set_timesteps(steps)
        return
    sigmas = own_sigmas(training_sigmas(scheduler), schedule_id, steps)
    if hasattr(scheduler, "_convert_to_karras"):
        # The scheduler asks this method for its sigmas and derives the rest (pairs of second-order steps, ancestral
        # noise, timesteps) as for its own schedules.
        scheduler._convert_to_karras = lambda **_: sigmas
        scheduler.set_timesteps(steps)
        del scheduler._convert_to_karras
        return
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.from_numpy(np.append(sigmas, 0.0).astype(np.float32))
    scheduler.timesteps = torch.from_numpy(timesteps_of(sigmas, training_sigmas(scheduler)).astype(np.float32))


def training_sigmas(scheduler: Any) -> np.ndarray:
    """Noise levels that the model was trained on, from weak to strong, float64."""
    cumulative = scheduler.alphas_cumprod.double().numpy()
    return np.asarray(((1 - cumulative) / cumulative) ** 0.5)


def own_sigmas(table: np.ndarray, schedule_id: str, steps: int) -> np.ndarray:
    """Noise levels of a schedule, from strong to weak, without the last zero; shape (steps,), float64.

    Args:
        table: the training levels, from weak to strong.
    """
    if schedule_id == "simple":
        # Every n-th training level, counted from the strongest.
        stride = len(table) / steps
        return np.array([table[-(1 + int(index * stride))] for index in range(steps)])
    low, high = float(table[0]), float(table[-1])
    ramp = np.linspace(0, 1, steps)
    if schedule_id == "karras":
        # Karras et al. 2022, equation 5.
        first, last = high ** (1 / KARRAS_RHO), low ** (1 / KARRAS_RHO)
        return np.asarray((first + ramp * (last - first)) ** KARRAS_RHO)
    return np.asarray(np.exp(math.log(high) + ramp * (math.log(low) - math.log(high))))


def timesteps_of(sigmas: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Where each level lies among the training steps, interpolated in log sigma; float64."""
    return np.asarray(np.interp(np.log(sigmas), np.log(table), np.arange(len(table))))
