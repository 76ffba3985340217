"""Together: all units of all pictures in one UNet call, of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from engine.control.compose import Active, ControlRows, Unit, control_rows
from engine.control.ip_adapter import ImagePrompt, PromptRows, prompt_rows
from engine.control.reference import Reference, ReferenceRows, reference_rows
from engine.control.t2i_adapter import FeatureRows, FeatureUnit, feature_rows

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Asked:
    """What one picture brings into a call.

    Attributes:
        active: its units that work now. rows: how many it has; `negative` of them, from the first, are the negative
            prompt's.
        signal: the share of signal at its timestep (ᾱ, 0.0–1.0); only references need it.
    """

    active: Sequence[Active]
    rows: int
    negative: int
    signal: float = 1.0


@dataclass(frozen=True)
class Together:
    """The rows of ControlNets, of IP-Adapters, of references and of T2I-Adapters."""

    nets: tuple[ControlRows, ...] = ()
    prompts: tuple[PromptRows, ...] = ()
    references: tuple[ReferenceRows, ...] = ()
    features: tuple[FeatureRows, ...] = ()

    def picked(self, rows: torch.Tensor) -> Together:
        """The same for some of the rows."""
        return Together(
            tuple(each.picked(rows) for each in self.nets),
            tuple(each.picked(rows) for each in self.prompts),
            tuple(each.picked(rows) for each in self.references),
            tuple(each.picked(rows) for each in self.features),
        )


def together(asked: Sequence[Asked]) -> Together:
    """The units of some pictures whose `signature` is the same."""
    if not any(each.active for each in asked):
        return Together()

    nets = [control_rows([each[:4] for each in row]) for row in _rows(asked, Unit)]
    prompts = [prompt_rows([each[:4] for each in row]) for row in _rows(asked, ImagePrompt)]
    references = [reference_rows(row) for row in _rows(asked, Reference)]
    features = [feature_rows([each[:4] for each in row]) for row in _rows(asked, FeatureUnit)]
    return Together(tuple(nets), tuple(prompts), tuple(references), tuple(features))


def _rows(asked: Sequence[Asked], kind: type[Kind]) -> Iterator[tuple[tuple[Kind, float, int, int, float], ...]]:
    """The first units of that kind of all pictures, then the second ones."""
    found = [
        [
            (active.unit, active.strength, each.rows, each.negative, each.signal)
            for active in each.active
            if isinstance(active.unit, kind)
        ]
        for each in asked
    ]
    return zip(*found, strict=True)
