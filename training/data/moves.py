"""Cut-outs turned, moved, made smaller and mirrored at random, all of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Moves:
    """`turn` and `shift`: deviations in radians and in half picture widths. `shrink`: how many times smaller, from
    the first to the second number. `mirror`: share."""

    turn: float
    shift: float
    shrink: tuple[float, float]
    mirror: float = 0.5


def premultiplied(cutouts: list[np.ndarray]) -> torch.Tensor:
    """(H, W, 4) uint8 each → (B, 4, H, W) float32 in 0–1."""
    rgba = torch.from_numpy(np.stack(cutouts)).permute(0, 3, 1, 2).float() / 255
    rgba[:, :3] *= rgba[:, 3:]
    return rgba


def move(rgba: torch.Tensor, moves: Moves, rng: np.random.Generator) -> torch.Tensor:
    """Premultiplied cut-outs (B, 4, H, W), each moved in its own way; what leaves the canvas is lost."""
    count = len(rgba)
    turn = torch.from_numpy(rng.normal(0, moves.turn, count)).float()
    scale = torch.from_numpy(rng.uniform(*moves.shrink, count)).float()
    mirror = torch.from_numpy(np.where(rng.random(count) < moves.mirror, -1.0, 1.0)).float()
    shift = torch.from_numpy(rng.normal(0, moves.shift, (count, 2))).float()
    cos, sin = turn.cos() * scale, turn.sin() * scale
    first = torch.stack([cos * mirror, -sin, shift[:, 0]], 1)
    second = torch.stack([sin * mirror, cos, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(rgba.shape), align_corners=False)
    return F.grid_sample(rgba, grid, align_corners=False)


def on_grounds(rgba: torch.Tensor, grounds: torch.Tensor) -> torch.Tensor:
    """Premultiplied cut-outs (B, 4, H, W) on colours (B, 3) in 0–1 → (B, 3, H, W) in 0–1."""
    return rgba[:, :3] + (1 - rgba[:, 3:]) * grounds[:, :, None, None]
