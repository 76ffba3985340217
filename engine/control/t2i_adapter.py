"""T2I-Adapter units: features of the hint, made once a picture and added inside of the UNet's down path.

Maths: Mou, Wang, Xie, Wu, Zhang, Qi, Shan, "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for
Text-to-Image Diffusion Models", 2023. The features do not depend on the step, so that the network runs once, and it is
not needed any more while the picture is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.control.schedule import Window
from engine.protocol.specs import ControlMode

Features = tuple[torch.Tensor, ...]


@torch.inference_mode()
def features_of(adapter: Any, hint: torch.Tensor) -> Features:
    """The features of a hint, one for each size, of shape (1, c, h, w).

    Args:
        adapter: diffusers' T2IAdapter.
        hint: pixels 0.0–1.0 RGB, shape (1, 3, H, W). Sides that the adapter cannot divide are continued.
    """
    weight = next(adapter.parameters())
    pixels = hint.to(weight.device, weight.dtype)
    if adapter.config.in_channels == 1:
        pixels = pixels.mean(dim=1, keepdim=True)
    scale = adapter.config.downscale_factor
    below, right = -pixels.shape[2] % scale, -pixels.shape[3] % scale
    if below or right:
        pixels = torch.nn.functional.pad(pixels, (0, right, 0, below), mode="replicate")
    return tuple(adapter(pixels))


@dataclass(frozen=True)
class FeatureUnit:
    """One T2I-Adapter unit of one picture, ready to run.

    Attributes:
        features: what `features_of` gave.
        source: what the picture would differ by besides the spec.
    """

    features: Features
    weight: float = 1.0
    window: Window = field(default_factory=Window)
    mode: ControlMode = "balanced"
    source: str = ""

    @property
    def key(self) -> str:
        """Units whose features have the same shapes may share a call, whichever adapters they come from."""
        return "t2i_adapter|" + "|".join("x".join(str(side) for side in each.shape) for each in self.features)

    @property
    def prompt_only(self) -> bool:
        """Whether it leaves the negative prompt's half alone."""
        return self.mode in ("control", "guess")


@dataclass(frozen=True)
class FeatureRows:
    """One unit's share of a UNet call of R rows: features of shape (R, c, h, w), strengths (R,) in float32."""

    features: Features
    strengths: torch.Tensor

    def picked(self, rows: torch.Tensor) -> FeatureRows:
        """The same for some of the rows."""
        return FeatureRows(tuple(each[rows] for each in self.features), self.strengths[rows.cpu()])


def feature_rows(asked: Sequence[tuple[FeatureUnit, float, int, int]]) -> FeatureRows:
    """The rows of one unit of each picture.

    Args:
        asked: for each picture its unit, its strength now, its rows, and how many of them, from the first, are the
            negative prompt's.
    """
    strengths: list[float] = []
    for unit, strength, rows, negative in asked:
        strengths += [0.0 if unit.prompt_only and row < negative else strength for row in range(rows)]
    together = zip(
        *([each.expand(rows, -1, -1, -1) for each in unit.features] for unit, _, rows, _ in asked), strict=True
    )
    return FeatureRows(tuple(torch.cat(parts) for parts in together), torch.tensor(strengths))


def inside(controls: Sequence[FeatureRows], dtype: torch.dtype) -> list[torch.Tensor] | None:
    """What the UNet adds after each of its blocks, for all rows; None where there are no such units."""
    total: list[torch.Tensor] = []
    for control in controls:
        device = control.features[0].device
        # In float32: a strength rounded to bfloat16 would depend on the neighbours.
        share = control.strengths.to(device)[:, None, None, None]
        parts = [(each * share).to(dtype) for each in control.features]
        total = [before + part for before, part in zip(total, parts, strict=True)] if total else parts
    return total or None
