"""Noise for DPM++ SDE: the Brownian tree of one picture, always made on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import torch


class PictureNoise:
    """Stands where diffusers' DPM++ SDE keeps its noise sampler.

    Why: diffusers builds the tree on the device of the latents, so that the same seed gives another picture on another
    device; and torchsde warns at every rounding of its ends.
    """

    def __init__(self, scheduler: Any, latents: torch.Tensor, seed: int) -> None:
        from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

        sigmas = scheduler.sigmas
        low, high = sigmas[sigmas > 0].min().item(), sigmas.max().item()
        self._device = latents.device
        self._sampler = BrownianTreeNoiseSampler(latents.float().cpu(), low, high, seed)

    def __call__(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._sampler(sigma.cpu(), sigma_next.cpu()).to(self._device)
