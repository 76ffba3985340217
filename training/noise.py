"""The noise schedule (Stable Diffusion's scaled-linear, v-prediction) and which of its steps training visits.

v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, arxiv.org/abs/2202.00512).
"""

from __future__ import annotations

from typing import Any

import torch

STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


class Noise:
    """`alphas` (1000,): the cumulative products ᾱ_t; everything on one device."""

    def __init__(self, place: str = "cpu") -> None:
        betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, STEPS, dtype=torch.float64) ** 2
        self.alphas = torch.cumprod(1 - betas, 0).float().to(place)
        self.log_sigmas = (((1 - self.alphas) / self.alphas).log() / 2).contiguous()

    def draw(self, count: int, low_noise_share: float) -> torch.Tensor:
        """(count,) timesteps: uniform, or for the given share ln σ ~ N(0.3, 1), where shapes are decided.

        Why: the schedule was made for 64×64 latents; at 16×16 half of its steps hardly differ from pure noise.
        """
        place = self.alphas.device
        uniform = torch.randint(0, STEPS, (count,), device=place)
        wanted = torch.randn(count, device=place) + 0.3
        near = torch.searchsorted(self.log_sigmas, wanted).clamp(0, STEPS - 1)
        return torch.where(torch.rand(count, device=place) < low_noise_share, near, uniform)

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(noisy latents, v target), each of the shape of `clean` (B, C, H, W)."""
        alpha = self.alphas[t].view(-1, 1, 1, 1)
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        return signal * clean + spread * noise, signal * noise - spread * clean


def build_scheduler(karras: bool = True) -> Any:
    """DPM++ 2M for this schedule, as it is written into the model folder."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=STEPS, beta_start=BETA_START, beta_end=BETA_END, beta_schedule="scaled_linear",
        prediction_type="v_prediction", algorithm_type="dpmsolver++", solver_order=2, use_karras_sigmas=karras,
        timestep_spacing="trailing", steps_offset=1, final_sigmas_type="zero",
    )  # fmt: skip
