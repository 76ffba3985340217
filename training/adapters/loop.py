"""One training loop for everything on the frozen base: rate, steps or minutes, checkpoints, progress, a finite loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from training.adapters.config import Course
from training.checkpoints import load_checkpoint, save_checkpoint
from training.errors import RecipeError
from training.progress import Progress

Loss = Callable[[int, np.random.Generator], torch.Tensor]
"""(batch size, generator) → loss with gradients."""


def run_course(
    title: str, course: Course, parameters: list[nn.Parameter], loss_of: Loss, path: Path, settings: dict[str, Any],
    seed: int, groups: list[dict[str, Any]] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train `parameters` in place, or go on from `path`; at once over when that one is finished.

    `groups`: parameters by `factor` on the rate, where not all learn equally fast. Returns steps, minutes and the
    mean loss. Raises `RecipeError` for a loss that is no number and for a checkpoint of other settings.
    """
    groups = groups or [{"params": parameters, "factor": 1.0}]
    optimiser = torch.optim.AdamW(
        [{"params": group["params"]} for group in groups], lr=course.rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    state = load_checkpoint(path, settings) or {}
    step, seconds, mean = int(state.get("step", 0)), float(state.get("seconds", 0.0)), float(state.get("loss", 0.0))
    if state:
        for mine, stored in zip(parameters, state["parameters"], strict=True):
            mine.data.copy_(stored)
        optimiser.load_state_dict(state["optimiser"])
    whole = None if course.minutes is None else course.minutes * 60
    progress = Progress(title, course.steps, step, None if whole is None else max(0.0, whole - seconds) / 60)
    rng = np.random.default_rng([seed, step])
    torch.manual_seed(seed * 7919 + step)

    def keep(done: bool) -> None:
        save_checkpoint(path, {
            "step": step, "seconds": seconds + progress.elapsed, "loss": mean, "done": done,
            "course": [course.steps, course.minutes], "optimiser": optimiser.state_dict(),
            "parameters": [parameter.detach() for parameter in parameters],
        }, settings)  # fmt: skip

    def fraction() -> float:
        by_steps = step / max(1, course.steps)
        return min(1.0, by_steps if whole is None else max(by_steps, (seconds + progress.elapsed) / whole))

    kept_at = 0.0
    fresh = not (state.get("done", False) and state.get("course") == [course.steps, course.minutes])
    while fresh and fraction() < 1.0:
        rate = course.rate * min(1.0, (step + 1) / max(1, course.warmup))
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction()))
        for group, wanted in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * wanted["factor"]
        loss = loss_of(course.batch, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        if not math.isfinite(value := float(loss.detach())):
            raise RecipeError(f"The loss of {title} is no longer a number.", "Lower its `rate` in the recipe.")
        mean += (value - mean) * max(0.01, 1 / step)
        progress.say(step, loss=mean, rate=rate)
        if progress.elapsed - kept_at > course.checkpoint_minutes * 60:
            keep(False)
            kept_at = progress.elapsed
    if fresh:
        keep(True)
    return {"steps": step, "minutes": (seconds + progress.elapsed) / 60 if fresh else seconds / 60, "loss": mean}
