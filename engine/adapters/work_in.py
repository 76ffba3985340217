"""Changes worked into one weight: W' = W + Σ ΔW, in as few passes over the weight as the kinds allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.adapters.patch import LowRank
from engine.adapters.plan import Change


def work_in(base: Tensor, changes: Sequence[Change], out: Tensor) -> None:
    """Write base + changes into `out`.

    Changes that are products of thin matrices are joined to one product; the others follow one by one, each on what the
    ones before it made, because the order matters for them (DoRA, OFT). Sums are float32.

    Args:
        base: the weight, any float dtype; not written to. out: same shape; may be of another dtype.
    """
    groups = list(_groups(changes))
    if len(groups) == 1 and not isinstance(groups[0], Change):
        up, down = joined(groups[0], base.device)
        if base.dtype == out.dtype == torch.float32 and base.is_contiguous() and out.is_contiguous():
            rows = base.shape[0]
            torch.addmm(base.view(rows, -1), up, down, out=out.view(rows, -1))
            return
        out.copy_(base + (up @ down).reshape(base.shape))
        return
    running = base.float()
    for group in groups:
        if isinstance(group, Change):
            running = running + group.patch.delta(running, group.scale)
        else:
            up, down = joined(group, base.device)
            running = running + (up @ down).reshape(base.shape)
    out.copy_(running)


def bias_of(base: Tensor | None, changes: Sequence[Change]) -> Tensor | None:
    """The bias with all changes, float32; None where there is none to begin with and none comes."""
    running = None if base is None else base.float()
    for change in changes:
        delta = change.patch.bias_delta(change.scale, running)
        if delta is not None:
            running = delta.float() if running is None else running + delta.to(running.device)
    return running


def _groups(changes: Sequence[Change]) -> Iterator[Change | list[tuple[LowRank, float]]]:
    """Runs of thin changes together, the others alone."""
    run: list[tuple[LowRank, float]] = []
    for change in changes:
        thin = None if change.patch.needs_base else change.patch.low_rank()
        if thin is not None:
            run.append((thin, change.scale))
            continue
        if run:
            yield run
            run = []
        yield change
    if run:
        yield run


def joined(run: Sequence[tuple[LowRank, float]], device: torch.device) -> LowRank:
    """Σ sᵢ UᵢDᵢ = [s₁U₁ s₂U₂ …] · [D₁; D₂; …]."""
    ups = [up.to(device, torch.float32) * scale for (up, _), scale in run]
    downs = [down.to(device, torch.float32) for (_, down), _ in run]
    return (ups[0], downs[0]) if len(run) == 1 else (torch.cat(ups, dim=1), torch.cat(downs))
