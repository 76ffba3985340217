"""Where and in which precision to compute: CUDA with bfloat16 when there is a GPU, else CPU with float32."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Device:
    """`place` is "cuda" or "cpu"; `mixed` switches autocast to bfloat16 on."""

    place: str
    mixed: bool

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.mixed:
            return torch.autocast(self.place, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def choose_device(wish: str = "auto") -> Device:
    """`wish`: "auto", "cpu" or "cuda"."""
    place = ("cuda" if torch.cuda.is_available() else "cpu") if wish == "auto" else wish
    return Device(place, mixed=place == "cuda")
