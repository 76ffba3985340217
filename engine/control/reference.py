"""Reference units: the picture looks at another picture while it looks at itself. No weights are needed.

The noised latents of the reference go through the same UNet first; what each self-attention reads there is kept, and
stands beside the picture's own tokens in the call that follows ("reference-only", a technique of the ControlNet
extension for A1111, by L. Zhang, 2023). Here the weight is how often each of the reference's tokens counts beside the
picture's own: in softmax that is log(weight) added to its score, so that 1 is plain concatenation and 0 is nothing.
Fidelity is by how much the negative prompt's half goes without the reference: guidance then pulls towards it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from engine.control.attention import attentions, lent
from engine.control.schedule import Window

KEY = "reference"


@dataclass(frozen=True)
class Reference:
    """One reference unit of one picture, ready to run.

    Attributes:
        latents: clean, as large as the picture's own, shape (1, C, h, w).
        noise: what they are noised with, the same at every step; same shape.
        fidelity: 0.0–1.0.
        source: what the picture would differ by besides the spec.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    weight: float = 1.0
    fidelity: float = 0.5
    window: Window = field(default_factory=Window)
    source: str = ""

    @property
    def key(self) -> str:
        """All reference units may share a call."""
        return KEY

    def noised(self, signal: float) -> torch.Tensor:
        """As the UNet sees a picture with this share of signal (ᾱ, 0.0–1.0)."""
        return math.sqrt(signal) * self.latents + math.sqrt(1 - signal) * self.noise


@dataclass(frozen=True)
class ReferenceRows:
    """One reference's share of a UNet call of R rows.

    Attributes:
        latents: noised, shape (R, C, h, w).
        weights, fidelities: shape (R,), float32; fidelity is 0 in rows of the prompt.
    """

    latents: torch.Tensor
    weights: torch.Tensor
    fidelities: torch.Tensor

    def picked(self, rows: torch.Tensor) -> ReferenceRows:
        """The same for some of the rows."""
        return ReferenceRows(self.latents[rows], self.weights[rows.cpu()], self.fidelities[rows.cpu()])


def reference_rows(asked: Sequence[tuple[Reference, float, int, int, float]]) -> ReferenceRows:
    """The rows of one reference of each picture.

    Args:
        asked: the unit, its strength now, the picture's rows, how many of them, from the first, are the negative
            prompt's, and the share of signal now.
    """
    latents, weights, fidelities = [], [], []
    for unit, strength, rows, negative, signal in asked:
        latents.append(unit.noised(signal).expand(rows, -1, -1, -1))
        weights += [strength] * rows
        fidelities += [unit.fidelity if row < negative else 0.0 for row in range(rows)]
    return ReferenceRows(torch.cat(latents), torch.tensor(weights), torch.tensor(fidelities))


def referred(
    unet: Any,
    references: Sequence[ReferenceRows],
    ask: Callable[[torch.Tensor | None], torch.Tensor],
    *,
    whole: bool = False,
) -> torch.Tensor:
    """The UNet's answer with the references in sight: one call more for each of them.

    Args:
        ask: the UNet's call; None asks for the picture's own rows, else for these latents under the same text and
            timesteps, without ControlNets.
        whole: work in the same shapes whatever the neighbours' weights are.
    """
    modules = attentions(unet, "attn1")
    kept: list[dict[str, torch.Tensor]] = []
    for each in references:
        seen: dict[str, torch.Tensor] = {}
        with lent(modules, partial(_Writing, seen)):
            ask(each.latents)
        kept.append(seen)
    weights = torch.stack([each.weights for each in references], dim=1)
    fidelity = torch.stack([each.fidelities for each in references], dim=1).amax(dim=1)

    def reading(place: str, before: Any) -> _Reading:
        return _Reading(before, [seen[place] for seen in kept], weights, fidelity, whole)

    with lent(modules, reading):
        return ask(None)


class _Writing:
    """Keeps what self-attention reads."""

    def __init__(self, seen: dict[str, torch.Tensor], place: str, before: Any) -> None:
        self._seen, self._place, self._before = seen, place, before

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> Any:
        self._seen[self._place] = hidden_states
        return self._before(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class _Reading:
    """Self-attention over the picture's own tokens and the references'."""

    def __init__(
        self,
        before: Any,
        kept: Sequence[torch.Tensor],
        weights: torch.Tensor,
        fidelity: torch.Tensor,
        whole: bool,
    ) -> None:
        self._before, self._kept, self._weights, self._fidelity = before, kept, weights, fidelity
        self._whole = whole

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> Any:
        tokens = torch.cat([hidden_states, *self._kept], dim=1)
        answer = self._before(attn, hidden_states, tokens, self._bias(hidden_states), temb)
        every = torch.arange(len(answer)) if self._whole else self._fidelity.nonzero().flatten()
        alone = every.to(answer.device)
        if len(alone):
            plain = self._before(attn, hidden_states[alone], None, None, None if temb is None else temb[alone])
            share = self._fidelity[every].to(answer.device, answer.dtype)[:, None, None]
            answer = answer.index_copy(0, alone, torch.lerp(answer[alone], plain, share))
        return answer

    def _bias(self, own: torch.Tensor) -> torch.Tensor | None:
        """What is added to the scores, shape (R, 1, own + kept tokens); None where every weight is 1."""
        if not self._whole and bool((self._weights == 1).all()):
            return None
        logs = self._weights.log().to(own.device, own.dtype)
        rows = len(logs)
        parts = [own.new_zeros(rows, own.shape[1])]
        parts += [logs[:, place, None].expand(-1, kept.shape[1]) for place, kept in enumerate(self._kept)]
        return torch.cat(parts, dim=1)[:, None]
