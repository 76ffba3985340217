"""Whether two adapters disturb each other: the cosine of their changes, module by module and block by block.

The cosine of two matrices is their inner product over their lengths. For changes that are products of thin matrices it
comes from the thin ones, (U₁D₁)·(U₂D₂) = Σ (U₁ᵀU₂)∘(D₁D₂ᵀ), so no full weight is built. Of other kinds the full
change is made, for kinds that turn or scale the weight (DoRA, OFT, BOFT, (IA)³, GLoRA) from the model's own; of large
models only for modules spread evenly over it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import ceil, prod, sqrt

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
# A slider below that is nearly off.
FAINT = 0.15
# Of advice at once, and of names in one sentence.
MOST_SENTENCES, SHOWN_NAMES = 3, 4
# Numbers of full changes that a pair is compared in at most: about a second of a slow CPU.
MOST_NUMBERS = 40_000_000
# Kinds that work on what the ones before them made, and what they do to it.
_ON_THE_WEIGHT = {
    "DoRA": "gives each row a new length",
    "OFT": "turns the weights",
    "BOFT": "turns the weights",
    "(IA)³": "scales the weights",
    "GLoRA": "scales the weights",
}


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
    shared = [key for key in first.patches if key in second.patches]
    looked_at = _spread(shared, first, second, targets)
    for key in looked_at:
        cosine = cosine_of(first.patches[key], second.patches[key], key, targets, base)
        if cosine is not None:
            blocks[block_of(key, targets)].append(cosine)
    cosines = [cosine for each in blocks.values() for cosine in each]
    if not cosines:
        return None
    return PairConflict(
        first=first.report.id,
        second=second.report.id,
        shared_modules=len(shared) if len(looked_at) < len(shared) else len(cosines),
        compared=len(cosines),
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
        weight = base(key).float() if base is not None else torch.empty(targets.modules[key].shape)
        dense = [patch.delta(weight, 1.0).flatten() for patch in (one, other)]
        product, first, second = (
            float(dense[0] @ dense[1]),
            float(dense[0] @ dense[0]),
            float(dense[1] @ dense[1]),
        )
    length = sqrt(max(first, 0.0)) * sqrt(max(second, 0.0))
    return max(-1.0, min(1.0, product / length)) if length > _SMALLEST else None


def advice(
    conflicts: Sequence[PairConflict], titles: Mapping[str, str], weights: Mapping[str, float] | None = None
) -> tuple[str, ...]:
    """What to do about what stands out, the worst first, a few plain sentences however large the stack is.

    Args:
        titles: by the adapters' ids.
        weights: their sliders; one that is nearly off (below `FAINT`) disturbs nobody.
    """
    heard = [each for each in conflicts if not weights or min(_loud(each, weights)) >= FAINT]
    sentences = [_too_strong(group, titles) for group in _alike(heard)]
    against = sorted((each for each in heard if each.mean_cosine <= AGAINST), key=lambda each: each.mean_cosine)
    sentences += [
        f"{_pair(each, titles)} work against each other: keep the one that matters more at its weight and lower the "
        "other."
        for each in against
    ]
    for each in heard:
        block, cosine = min(each.blocks, key=lambda block: block[1], default=("", 0.0))
        if cosine <= AGAINST < each.mean_cosine < ALIKE:
            sentences.append(
                f"{_pair(each, titles)} work against each other in block {block} only: a block weight of 0 there for "
                "one of them helps."
            )
    if len(sentences) > MOST_SENTENCES:
        left = len(sentences) - MOST_SENTENCES
        rest = f"{left} more {'pair stands' if left == 1 else 'pairs stand'} out; the map shows which."
        return (*sentences[:MOST_SENTENCES], rest)
    return tuple(sentences)


def order_advice(adapters: Sequence[Adapter], titles: Mapping[str, str]) -> tuple[str, ...]:
    """Where the order of the stack matters: kinds that work on the weight, after others on the same modules. One
    sentence at most."""
    found: list[tuple[str, str, str]] = []
    for place, each in enumerate(adapters[1:], start=1):
        before = [other for other in adapters[:place] if other.patches.keys() & each.patches.keys()]
        kinds = {patch.kind for patch in each.patches.values() if patch.needs_base}
        if before and kinds:
            kind = min(kinds, key=lambda name: (name not in _ON_THE_WEIGHT, name))
            earlier = " and ".join(titles.get(other.report.id, other.report.id) for other in before[:2])
            found.append((titles.get(each.report.id, each.report.id), kind, earlier))
    if not found:
        return ()
    if len(found) > 1:
        names = _listed([f"{title} ({kind})" for title, kind, _ in found])
        said = f"{names} work on what those above them changed"
    else:
        title, kind, earlier = found[0]
        does = _ON_THE_WEIGHT.get(kind, "works on the weights")
        said = f"{title} is {kind}, which {does}, those that {earlier} changed included"
    return (f"{said}: the order matters. If one of them gets lost, move it further down.",)


def _too_strong(group: Sequence[str], titles: Mapping[str, str]) -> str:
    return (
        f"{_listed([titles.get(each, each) for each in group])} change the same things in the same direction: together "
        "they act too strongly, so lower one of the weights or leave one out."
    )


def _alike(conflicts: Sequence[PairConflict]) -> list[list[str]]:
    """Who says much the same, in groups: the epochs of one training are one group, not a pair for every two of them."""
    groups: list[list[str]] = []
    for each in conflicts:
        if each.mean_cosine < ALIKE:
            continue
        touched = [group for group in groups if each.first in group or each.second in group]
        joined = dict.fromkeys([*(name for group in touched for name in group), each.first, each.second])
        groups = [*(group for group in groups if group not in touched), list(joined)]
    return groups


def _loud(conflict: PairConflict, weights: Mapping[str, float]) -> tuple[float, float]:
    return abs(weights.get(conflict.first, 1.0)), abs(weights.get(conflict.second, 1.0))


def _pair(conflict: PairConflict, titles: Mapping[str, str]) -> str:
    return f"{titles.get(conflict.first, conflict.first)} and {titles.get(conflict.second, conflict.second)}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:SHOWN_NAMES])
    if len(names) > SHOWN_NAMES:
        return f"{', '.join(shown)} and {len(names) - SHOWN_NAMES} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _spread(shared: list[ModuleKey], first: Adapter, second: Adapter, targets: Targets) -> list[ModuleKey]:
    """The modules to look at: all whose changes are thin, of the others as many as there is time for, evenly."""
    dense = [
        key
        for key in shared
        if any(each.patches[key].needs_base or each.patches[key].low_rank() is None for each in (first, second))
    ]
    numbers = sum(prod(targets.modules[key].shape) for key in dense)
    if numbers <= MOST_NUMBERS:
        return shared
    left_out = set(dense) - set(dense[:: ceil(numbers / MOST_NUMBERS)])
    return [key for key in shared if key not in left_out]


def _inner(one: LowRank, other: LowRank) -> float:
    (up, down), (other_up, other_down) = one, other
    return float(((up.T @ other_up) * (down @ other_down.T)).sum())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
