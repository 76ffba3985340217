"""Whether two adapters disturb each other: the cosine of their changes, module by module and block by block.

The cosine of two matrices is their inner product over their lengths. For changes that are products of thin matrices it
comes from the thin ones, (U₁D₁)·(U₂D₂) = Σ (U₁ᵀU₂)∘(D₁D₂ᵀ), so no full weight is built.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import sqrt

import torch
from torch import Tensor

from engine.adapters.blocks import block_of, block_order
from engine.adapters.file import Adapter
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.patch import LowRank, ModulePatch
from engine.protocol.adapters import PairConflict

BaseWeight = Callable[[ModuleKey], Tensor]
_SMALLEST = 1e-20
# From here on two adapters say much the same, or work against each other.
ALIKE, AGAINST = 0.5, -0.2


def conflicts_of(
    adapters: Sequence[Adapter], targets: Targets, base: BaseWeight | None = None
) -> tuple[PairConflict, ...]:
    """Every pair that changes a module in common, in the order of the stack.

    Args:
        base: the model's own weight of a module; without it, kinds whose change depends on it (DoRA, OFT, (IA)³, …)
            are left out.
    """
    found = (pair_conflict(first, second, targets, base) for first, second in combinations(adapters, 2))
    return tuple(each for each in found if each is not None)


def pair_conflict(
    first: Adapter, second: Adapter, targets: Targets, base: BaseWeight | None = None
) -> PairConflict | None:
    """The conflict of two adapters; None where they share no module that can be compared."""
    blocks: dict[str, list[float]] = defaultdict(list)
    for key, one in first.patches.items():
        if (other := second.patches.get(key)) is None:
            continue
        if (cosine := cosine_of(one, other, key, targets, base)) is not None:
            blocks[block_of(key, targets)].append(cosine)
    cosines = [cosine for each in blocks.values() for cosine in each]
    if not cosines:
        return None
    return PairConflict(
        first=first.report.id,
        second=second.report.id,
        shared_modules=len(cosines),
        mean_cosine=_mean(cosines),
        blocks=tuple((name, _mean(blocks[name])) for name in sorted(blocks, key=block_order)),
    )


def cosine_of(
    one: ModulePatch, other: ModulePatch, key: ModuleKey, targets: Targets, base: BaseWeight | None = None
) -> float | None:
    """−1…1; None where one of them changes no weight, or where it cannot be told without the model's weight."""
    if (one.needs_base or other.needs_base) and base is None:
        return None
    thin = one.low_rank(), other.low_rank()
    if thin[0] is not None and thin[1] is not None:
        product, first, second = _inner(thin[0], thin[1]), _inner(thin[0], thin[0]), _inner(thin[1], thin[1])
    else:
        weight = base(key) if base is not None else torch.empty(targets.modules[key].shape)
        dense = [patch.delta(weight, 1.0).flatten() for patch in (one, other)]
        product, first, second = (
            float(dense[0] @ dense[1]),
            float(dense[0] @ dense[0]),
            float(dense[1] @ dense[1]),
        )
    length = sqrt(max(first, 0.0)) * sqrt(max(second, 0.0))
    return max(-1.0, min(1.0, product / length)) if length > _SMALLEST else None


def advice(conflicts: Sequence[PairConflict], titles: Mapping[str, str]) -> tuple[str, ...]:
    """What to do about the pairs that stand out, one plain sentence each; `titles` by the adapters' ids."""
    sentences: list[str] = []
    for each in conflicts:
        pair = f"{titles.get(each.first, each.first)} and {titles.get(each.second, each.second)}"
        worst = min(each.blocks, key=lambda block: block[1], default=("", 0.0))
        if each.mean_cosine >= ALIKE:
            sentences.append(
                f"{pair} change the same things in the same direction: together they act too strongly, "
                "so lower one of the weights or leave one out."
            )
        elif each.mean_cosine <= AGAINST:
            sentences.append(
                f"{pair} work against each other: keep the one that matters more at its weight and lower the other."
            )
        elif worst[1] <= AGAINST:
            sentences.append(
                f"{pair} work against each other in block {worst[0]} only: a block weight of 0 there for one of them "
                "helps."
            )
    return tuple(sentences)


def _inner(one: LowRank, other: LowRank) -> float:
    (up, down), (other_up, other_down) = one, other
    return float(((up.T @ other_up) * (down @ other_down.T)).sum())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
