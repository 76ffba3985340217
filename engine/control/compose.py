"""Compose: several units over the steps of one picture, and their residuals summed over the rows of one UNet call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from engine.control.network import ControlNetwork
from engine.control.schedule import Moment, Window
from engine.protocol.specs import ControlMode

# A1111's soft injection: each residual further from the middle block counts a little less.
SOFT_BASE = 0.825


@dataclass(frozen=True)
class Unit:
    """One unit of one picture, ready to run.

    Attributes:
        hint: embedded, shape (1, c, h, w), on the network's device.
        source: what the picture would differ by besides the spec: the file and its state.
    """

    network: ControlNetwork
    hint: torch.Tensor
    weight: float = 1.0
    window: Window = field(default_factory=Window)
    mode: ControlMode = "balanced"
    source: str = ""

    @property
    def key(self) -> str:
        """Units with equal keys may share a call."""
        return self.network.key

    @property
    def prompt_only(self) -> bool:
        """Whether it leaves the negative prompt's half alone."""
        return self.mode in ("control", "guess") or self.network.pooled

    def scales(self) -> list[float]:
        """The factor of each residual that its mode asks for.

        "prompt" and "control" are A1111's; with other depths than SD 1.x the middle block keeps 1.0 all the same.
        "guess" is diffusers': from 0.1 to 1.0 in equal ratios, unless the residuals are pooled.
        """
        count = self.network.layers
        if self.mode in ("prompt", "control"):
            return [SOFT_BASE ** (count - 1 - place) for place in range(count)]
        if self.mode == "guess" and not self.network.pooled:
            return [10.0 ** (-1 + place / (count - 1)) for place in range(count)]
        return [1.0] * count


class WorkingUnit(Protocol):
    """A unit of any kind: a ControlNet's, an IP-Adapter's, a reference."""

    @property
    def key(self) -> str: ...

    @property
    def weight(self) -> float: ...

    @property
    def window(self) -> Window: ...

    @property
    def source(self) -> str: ...


@dataclass(frozen=True)
class Active:
    """A unit inside its window, with its strength now (never 0)."""

    unit: WorkingUnit
    strength: float


@dataclass(frozen=True)
class ControlSet:
    """The units of a picture, muted ones left out."""

    units: tuple[WorkingUnit, ...] = ()

    def active(self, moment: Moment) -> tuple[Active, ...]:
        """What runs now, by network, so that pictures with the same networks in another order share calls."""
        found: list[Active] = []
        for unit in self.units:
            strength = unit.weight * unit.window.factor(moment)
            if strength:
                found.append(Active(unit, strength))
        return tuple(sorted(found, key=lambda each: each.unit.key))

    @property
    def sources(self) -> tuple[str, ...]:
        """What must be the same for a snapshot to go on."""
        return tuple(unit.source for unit in self.units)


def signature(active: Sequence[Active]) -> str:
    """Equal for pictures whose units may run in shared calls."""
    return "|".join(each.unit.key for each in active)


@dataclass(frozen=True)
class ControlRows:
    """One network's share of a UNet call of R rows.

    Attributes:
        hints: embedded, shape (R, c, h, w), or (1, c, h, w) where all rows have the same.
        scales: for each row network.layers numbers: strength × the mode's factor; 0 where a row is left alone.
        pictures: for each row whose it is, such as (0, 0, 1, 1).
    """

    network: ControlNetwork
    hints: torch.Tensor
    scales: tuple[tuple[float, ...], ...]
    pictures: tuple[int, ...] = ()

    def picked(self, rows: torch.Tensor) -> ControlRows:
        """The same for some of the rows."""
        hints = self.hints if len(self.hints) == 1 else self.hints[rows]
        chosen = rows.tolist()
        pictures = tuple(self.pictures[row] for row in chosen) if self.pictures else ()
        return ControlRows(self.network, hints, tuple(self.scales[row] for row in chosen), pictures)


def control_rows(asked: Sequence[tuple[Unit, float, int, int]]) -> ControlRows:
    """The rows of one network.

    Args:
        asked: for each picture its unit, its strength now, its rows, and how many of them, from the first, are the
            negative prompt's.
    """
    hints: list[torch.Tensor] = []
    scales: list[tuple[float, ...]] = []
    for unit, strength, rows, negative in asked:
        hints.append(unit.hint if len(asked) == 1 else unit.hint.expand(rows, -1, -1, -1))
        full = tuple(strength * scale for scale in unit.scales())
        none = (0.0,) * len(full)
        scales += [none if unit.prompt_only and row < negative else full for row in range(rows)]
    pictures = tuple(place for place, (_, _, rows, _) in enumerate(asked) for _ in range(rows))
    return ControlRows(asked[0][0].network, hints[0] if len(hints) == 1 else torch.cat(hints), tuple(scales), pictures)


def summed(
    controls: Sequence[ControlRows],
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    text: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    added: dict[str, torch.Tensor] | None = None,
    whole: bool = False,
) -> tuple[list[torch.Tensor], torch.Tensor] | None:
    """The residuals of all units for all rows, one network after another; None where there are none.

    Rows that a unit leaves alone are not run through its network.

    Args:
        sample, timesteps, text, mask, added: as the UNet gets them, R rows each.
        whole: run every row all the same, so that the shape of the call does not depend on the modes of neighbours.

    Returns:
        The residuals for the skip connections of the UNet, and the one for its middle block.
    """
    total: list[torch.Tensor] = []
    for control in controls:
        used = [row for row, scales in enumerate(control.scales) if any(scales)]
        rows = None if whole or len(used) == len(control.scales) else torch.tensor(used, device=sample.device)
        own = replace(control, pictures=()) if whole else control
        parts = _scaled(own, rows, sample, timesteps, text, mask, added)
        if rows is not None:
            parts = [_spread(part, rows, sample.shape[0]) for part in parts]
        total = [_added(before, part) for before, part in zip(total, parts, strict=True)] if total else parts
        # The next network runs beside the sum alone.
        del parts
    return (total[:-1], total[-1]) if total else None


def _scaled(
    control: ControlRows,
    rows: torch.Tensor | None,
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    text: torch.Tensor,
    mask: torch.Tensor | None,
    added: dict[str, torch.Tensor] | None,
) -> list[torch.Tensor]:
    """The network's residuals, times their scales, of these rows (None: of all)."""
    if rows is not None:
        control = control.picked(rows)
        sample, timesteps, text = sample[rows], timesteps[rows], text[rows]
        mask = mask[rows] if mask is not None else None
        added = {name: value[rows] for name, value in added.items()} if added else None
    made = control.network.residuals(
        sample, timesteps, text, control.hints, mask=mask, added=added, pictures=control.pictures
    )
    for each, column in zip(made, zip(*control.scales, strict=True), strict=True):
        if any(scale != column[0] for scale in column):
            # In float32, as a number below: a strength rounded to bfloat16 would depend on the neighbours.
            each.mul_(torch.tensor(column, device=each.device)[:, None, None, None])
        elif column[0] != 1.0:
            each.mul_(column[0])
    return made


def _spread(part: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    whole = part.new_zeros((count, *part.shape[1:]))
    whole[rows] = part
    return whole


def _added(before: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """In place where the shapes are equal; pooled residuals are single values that spread."""
    return before.add_(part) if before.shape == part.shape else before + part
