"""Compose: several units over the steps of one picture, and their residuals summed over the rows of one UNet call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Active:
    """A unit inside its window, with its strength now (never 0)."""

    unit: Unit
    strength: float


@dataclass(frozen=True)
class ControlSet:
    """The units of a picture, muted ones left out."""

    units: tuple[Unit, ...] = ()

    def active(self, moment: Moment) -> tuple[Active, ...]:
        """What runs now, by network, so that pictures with the same networks in another order share calls."""
        found: list[Active] = []
        for unit in self.units:
            strength = unit.weight * unit.window.factor(moment)
            if strength:
                found.append(Active(unit, strength))
        return tuple(sorted(found, key=lambda each: each.unit.network.key))

    @property
    def sources(self) -> tuple[str, ...]:
        """What must be the same for a snapshot to go on."""
        return tuple(unit.source for unit in self.units)


def signature(active: Sequence[Active]) -> str:
    """Equal for pictures whose units may run in shared calls."""
    return "|".join(each.unit.network.key for each in active)


@dataclass(frozen=True)
class ControlRows:
    """One network's share of a UNet call of R rows.

    Attributes:
        hints: embedded, shape (R, c, h, w).
        scales: shape (R, network.layers): strength × the mode's factor; 0 where a row is left alone.
    """

    network: ControlNetwork
    hints: torch.Tensor
    scales: torch.Tensor

    def picked(self, rows: torch.Tensor) -> ControlRows:
        """The same for some of the rows."""
        return ControlRows(self.network, self.hints[rows], self.scales[rows.cpu()])


def rows_of(asked: Sequence[tuple[Sequence[Active], int, int]]) -> tuple[ControlRows, ...]:
    """The calls for some pictures whose `signature` is the same.

    Args:
        asked: for each picture its active units, how many rows it has, and how many of them, from the first, are the
            negative prompt's.
    """
    count = len(asked[0][0]) if asked else 0
    result: list[ControlRows] = []
    for place in range(count):
        hints: list[torch.Tensor] = []
        scales: list[list[float]] = []
        for active, rows, negative in asked:
            unit, strength = active[place].unit, active[place].strength
            hints.append(unit.hint.expand(rows, -1, -1, -1))
            full = [strength * scale for scale in unit.scales()]
            none = [0.0] * len(full)
            scales += [none if unit.prompt_only and row < negative else full for row in range(rows)]
        stacked = torch.cat(hints)
        result.append(ControlRows(asked[0][0][place].unit.network, stacked, torch.tensor(scales)))
    return tuple(result)


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
        used = control.scales.any(dim=1)
        rows = None if whole or bool(used.all()) else used.nonzero().flatten()
        parts = _scaled(control, rows, sample, timesteps, text, mask, added)
        if rows is not None:
            parts = [_spread(part, rows, sample.shape[0]) for part in parts]
        total = [_added(before, part) for before, part in zip(total, parts, strict=True)] if total else parts
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
    hints, scales = control.hints, control.scales
    if rows is not None:
        scales = scales[rows]
        rows = rows.to(sample.device)
        sample, timesteps, text, hints = sample[rows], timesteps[rows], text[rows], hints[rows]
        mask = mask[rows] if mask is not None else None
        added = {name: value[rows] for name, value in added.items()} if added else None
    made = control.network.residuals(sample, timesteps, text, hints, mask=mask, added=added)
    for place, each in enumerate(made):
        column = scales[:, place]
        if bool((column == column[0]).all()):
            if float(column[0]) != 1.0:
                each.mul_(float(column[0]))
        else:
            # In float32, as the number above: a strength rounded to bfloat16 would depend on the neighbours.
            each.mul_(column.to(each.device)[:, None, None, None])
    return made


def _spread(part: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    whole = part.new_zeros((count, *part.shape[1:]))
    whole[rows.to(part.device)] = part
    return whole


def _added(before: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """In place where the shapes are equal; pooled residuals are single values that spread."""
    return before.add_(part) if before.shape == part.shape else before + part
