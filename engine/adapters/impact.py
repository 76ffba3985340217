"""How strongly an adapter changes a model, where, and how much of its rank it uses; measured from the weights alone.

The length of a change is ‖ΔW‖, told as a share of the weight's own, ‖W‖: 0.05 is a slight hand, 0.5 another model. The
energy of a block is its part of Σ‖ΔW‖². The rank in use is the number of singular values that hold 99 % of ‖ΔW‖²; for a
product of thin matrices they come from the small matrix R₁R₂ᵀ of U = Q₁R₁ and Dᵀ = Q₂R₂, so nothing large is made.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from math import prod, sqrt

import torch
from torch import Tensor

from engine.adapters.blocks import block_of, block_order
from engine.adapters.file import Adapter
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.patch import LowRank
from engine.protocol.adapters import AdapterImpact, BlockImpact

BaseWeight = Callable[[ModuleKey], Tensor]
# Of a large model modules spread evenly over it are measured: about a second of a slow CPU.
MOST_NUMBERS = 60_000_000
ENERGY = 0.99


def impact_of(adapter: Adapter, targets: Targets, base: BaseWeight, *, read_seconds: float = 0.0) -> AdapterImpact:
    """Measure an adapter at weight 1.

    Args:
        base: the model's own weight of a module. read_seconds: how long reading the file took, passed on.
    """
    keys = _spread(list(adapter.patches), targets)
    change: dict[str, float] = defaultdict(float)
    own: dict[str, float] = defaultdict(float)
    used: list[tuple[int, int]] = []
    began, worked = time.perf_counter(), 0.0
    for key in keys:
        patch, weight = adapter.patches[key], base(key).float()
        started = time.perf_counter()
        delta = patch.delta(weight, 1.0)
        worked += time.perf_counter() - started
        block = block_of(key, targets)
        change[block] += float(delta.pow(2).sum())
        own[block] += float(weight.pow(2).sum())
        thin = None if patch.needs_base else patch.low_rank()
        if thin is not None:
            used.append((rank_in_use(thin), thin[1].shape[0]))
    total, whole = sum(change.values()), sum(own.values())
    part = len(keys) / len(adapter.patches) if adapter.patches else 1.0
    return AdapterImpact(
        id=adapter.report.id,
        modules=len(adapter.patches),
        measured=len(keys),
        strength=sqrt(total / whole) if whole else 0.0,
        blocks=tuple(
            BlockImpact(
                block=block,
                energy=change[block] / total if total else 0.0,
                strength=sqrt(change[block] / own[block]) if own[block] else 0.0,
            )
            for block in sorted(change, key=block_order)
        ),
        rank=round(sum(rank for _, rank in used) / len(used), 1) if used else None,
        rank_in_use=round(sum(count for count, _ in used) / len(used), 1) if used else None,
        nbytes=adapter.nbytes,
        read_seconds=read_seconds,
        apply_seconds=worked / part,
        seconds=time.perf_counter() - began,
    )


def rank_in_use(thin: LowRank, energy: float = ENERGY) -> int:
    """How many singular values of up·down hold that share of its squared length; 0 where it changes nothing."""
    up, down = (each.float() for each in thin)
    if up.shape[1] > min(up.shape[0], down.shape[1]):
        values = torch.linalg.svdvals(up @ down)
    else:
        values = torch.linalg.svdvals(torch.linalg.qr(up).R @ torch.linalg.qr(down.T).R.T)
    squares = values.pow(2).cumsum(0)
    if not len(squares) or float(squares[-1]) == 0.0:
        return 0
    return int((squares < energy * squares[-1]).sum()) + 1


def _spread(keys: list[ModuleKey], targets: Targets) -> list[ModuleKey]:
    numbers = sum(prod(targets.modules[key].shape) for key in keys)
    return keys[:: max(1, -(-numbers // MOST_NUMBERS))]
