"""How much one picture is like another: the peak signal-to-noise ratio, in decibels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def psnr(one: Any, other: Any, span: float = 1.0) -> float:
    """Of two pictures (arrays, tensors or Pillow's) whose values lie `span` apart at most; infinite where both are
    equal."""
    error = float(np.square(np.asarray(one, "float64") - np.asarray(other, "float64")).mean())
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)


def latents_psnr(latents: Any, reference: Any) -> float:
    """Of latents, over the range of the reference."""
    return psnr(latents, reference, float(reference.max() - reference.min()))
