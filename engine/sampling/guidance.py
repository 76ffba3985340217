"""Guidance: how the answers of a picture's rows become one prediction."""

from __future__ import annotations

import math

import torch


def guide(negative: torch.Tensor, positive: torch.Tensor, guidance: float) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans 2022): away from the negative prompt, towards the prompt."""
    return negative + guidance * (positive - negative)


def guidance_embedding(guidance: float, width: int) -> torch.Tensor:
    """Sinusoidal embedding of a guidance scale for distilled UNets (LCM), shape (1, width), float32.

    As in VDM (Kingma et al. 2021): the scale minus one, times a thousand.
    """
    half = width // 2
    steps = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000.0) / (half - 1)))
    angles = (torch.tensor([guidance - 1.0], dtype=torch.float32) * 1000.0)[:, None] * steps[None, :]
    parts = [angles.sin(), angles.cos()]
    if width % 2:
        parts.append(torch.zeros(1, 1))
    return torch.cat(parts, dim=1)
