"""What a recipe would make, before it runs: sizes, errors, spectra, norms by block, how inputs agree. From a sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from math import sqrt

import torch
from torch import Tensor

from engine.adapters.blocks import block_of, block_order
from engine.adapters.modules import ModuleKey, Targets
from engine.merge.delta import Delta, inner, relative
from engine.merge.files import RecipeFiles
from engine.merge.methods.base import MergeMethod
from engine.merge.methods.table import own_methods
from engine.merge.module_merge import Merged, ModuleMerger
from engine.merge.prepared import prepare
from engine.merge.reduction import auto_reduction, chosen_rank, is_kernel, singular_values
from engine.protocol.merge import AdapterTarget, MergeRecipe, TargetKind
from engine.protocol.merge_reports import BlockNorm, MergeChoice, MergePreview, PairCosine, Spectrum

_CURVE = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHOWN = 64
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_CHOICES: tuple[tuple[TargetKind, str], ...] = (
    ("auto", "As the recipe says"),
    ("lora", "Exact LoRA"),
    ("full", "Whole differences"),
)

_PAYS = "LoRA, 99.9 % of the energy where the exact one is large"


class _Tally:
    """What was seen of the sampled modules."""

    def __init__(self, inputs: int) -> None:
        self.spectra: list[Spectrum] = []
        self.blocks: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * inputs)
        self.products = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.conflict = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.weight = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.curve = dict.fromkeys(_CURVE, 0.0)
        self.energy2 = 0.0
        self.numbers: defaultdict[TargetKind, float] = defaultdict(float)
        self.lost2: defaultdict[TargetKind, float] = defaultdict(float)
        self.sampled_numbers = 0.0


def preview(
    recipe: MergeRecipe,
    files: RecipeFiles,
    *,
    modules: int = 24,
    methods: Mapping[str, MergeMethod] | None = None,
) -> MergePreview:
    """Look at up to that many modules, spread over the model.

    Raises:
        MergeError, AdapterError, ModelFileError: as the run would.
    """
    return list(previewing(recipe, files, modules=modules, methods=methods))[-1]


def previewing(
    recipe: MergeRecipe,
    files: RecipeFiles,
    *,
    modules: int = 24,
    methods: Mapping[str, MergeMethod] | None = None,
) -> Generator[MergePreview, None, None]:
    """The preview as it grows, one module more with each: whoever runs it can do other work in between."""
    prepared = prepare(recipe, files, own_methods() if methods is None else methods)
    with ExitStack() as stack:
        merger = prepared.merger(stack)
        chosen = _spread(merger.keys, modules)
        total = sum(_side(prepared.targets, key) for key in merger.keys)
        seen = 0.0
        tally = _Tally(len(recipe.inputs))
        for count, key in enumerate(chosen, start=1):
            _look(key, merger, recipe, prepared.targets, tally)
            seen += _side(prepared.targets, key)
            if count == len(chosen) or count % 4 == 0:
                grown = total / seen if seen else 1.0
                yield _said(recipe, prepared.family, len(merger.keys), count, grown, tally, prepared.notices)
        if not chosen:
            yield MergePreview(family=prepared.family, modules=0, sampled=0, size_bytes=0, loss=0.0)


def _look(key: ModuleKey, merger: ModuleMerger, recipe: MergeRecipe, targets: Targets, tally: _Tally) -> None:
    patches = merger.patches(key)
    block = block_of(key, targets)
    if all(patch is None or not patch.needs_base for patch, _ in patches):
        deltas = merger.deltas(key, patches)
        _compare(deltas, [weight for _, weight in patches], block, tally)
    merged = merger.merged(key)
    _spectrum(key, block, merged, recipe.target, targets, tally)


def _compare(deltas: Sequence[Delta], weights: Sequence[float], block: str, tally: _Tally) -> None:
    products = torch.tensor([[inner(one, other) for other in deltas] for one in deltas], dtype=torch.float64)
    tally.products += products
    norms = tally.blocks[block]
    for place, weight in enumerate(weights):
        norms[place] += weight * weight * float(products[place, place])
    present = [place for place, delta in enumerate(deltas) if delta.rank]
    values = {place: _some_values(deltas[place]) for place in present}
    for at, first in enumerate(present):
        for second in present[at + 1 :]:
            size = values[first].abs() * values[second].abs()
            against = size[(values[first] * values[second] * weights[first] * weights[second]) < 0]
            tally.conflict[first, second] += float(against.sum())
            tally.weight[first, second] += float(size.sum())


def _some_values(delta: Delta) -> Tensor:
    """Values of at most 64 rows: the share of opposite signs does not need all of them."""
    step = max(1, delta.rows // 64)
    if delta.thin is not None:
        return (delta.thin[0][::step] @ delta.thin[1]).flatten()
    return delta.matrix()[::step].flatten()


def _spectrum(
    key: ModuleKey, block: str, merged: Merged, target: AdapterTarget, targets: Targets, tally: _Tally
) -> None:
    rows = targets.modules[key].shape[0]
    side = _side(targets, key)
    if merged.delta is None or targets.modules[key].kind not in ("linear", "conv"):
        count = sum(each.numel() for each in (merged.tensors or {}).values()) or rows
        for kind, _ in _CHOICES:
            tally.numbers[kind] += count
        return
    delta = merged.delta
    values = singular_values(delta)
    squares = values.square()
    energy2 = float(squares.sum())
    rule = auto_reduction(delta, target.reduction, target.kind)
    kernel = is_kernel(delta.shape)
    rank = chosen_rank(values, rule, is_kernel=kernel) if rule is not None else delta.rank
    full = target.kind == "full"
    _weigh(tally, "auto", delta.rows * delta.columns if full else rank * side, 0.0 if full else _tail(squares, rank))
    _weigh(tally, "lora", delta.rank * side, 0.0)
    _weigh(tally, "full", delta.rows * delta.columns, 0.0)
    tally.energy2 += energy2
    sums = squares.cumsum(0)
    for each in _CURVE:
        tally.curve[each] += float(sums[min(each, len(sums)) - 1]) if len(sums) else 0.0
    share = (sums / sums[-1]).tolist() if energy2 > 0 else [1.0] * len(values)
    tally.spectra.append(
        Spectrum(
            component=key[0],
            module=key[1],
            block=block,
            values=tuple(values[:_SHOWN].tolist()),
            energy=tuple(share[:_SHOWN]),
            rank=rank,
        )
    )


def _weigh(tally: _Tally, kind: TargetKind, numbers: float, lost2: float) -> None:
    tally.numbers[kind] += numbers
    tally.lost2[kind] += lost2


def _tail(squares: Tensor, rank: int) -> float:
    return float(squares[rank:].sum())


def _said(
    recipe: MergeRecipe,
    family: str,
    modules: int,
    sampled: int,
    grown: float,
    tally: _Tally,
    notices: tuple[str, ...],
) -> MergePreview:
    width = _BYTES[recipe.target.dtype]
    size = tally.energy2
    choices = [
        MergeChoice(
            kind=kind,
            title=_PAYS if kind == "auto" and recipe.target.reduction is None else title,
            size_bytes=int(tally.numbers[kind] * width * grown),
            loss=relative(tally.lost2[kind], size),
            chosen=kind == ("auto" if recipe.target.reduction else recipe.target.kind),
        )
        for kind, title in _CHOICES
    ]
    count = len(recipe.inputs)
    pairs = [
        PairCosine(
            first=first,
            second=second,
            cosine=_cosine(tally.products, first, second),
            sign_conflict=float(tally.conflict[first, second] / tally.weight[first, second].clamp(min=1e-300)),
        )
        for first in range(count)
        for second in range(first + 1, count)
    ]
    return MergePreview(
        family=family,
        modules=modules,
        sampled=sampled,
        size_bytes=int(tally.numbers["auto"] * width * grown),
        loss=relative(tally.lost2["auto"], size),
        choices=tuple(choices),
        spectra=tuple(tally.spectra),
        spectrum_energy=tuple((rank, kept / size if size else 1.0) for rank, kept in tally.curve.items()),
        blocks=tuple(
            BlockNorm(block=block, norms=tuple(sqrt(max(norm, 0.0)) for norm in tally.blocks[block]))
            for block in sorted(tally.blocks, key=block_order)
        ),
        pairs=tuple(pairs),
        notices=notices,
    )


def _cosine(products: Tensor, first: int, second: int) -> float:
    length = float((products[first, first] * products[second, second]).clamp(min=0.0).sqrt())
    return max(-1.0, min(1.0, float(products[first, second]) / length)) if length > 0 else 0.0


def _spread(keys: Sequence[ModuleKey], count: int) -> list[ModuleKey]:
    if len(keys) <= count:
        return list(keys)
    return [keys[place * len(keys) // count] for place in range(count)]


def _side(targets: Targets, key: ModuleKey) -> float:
    shape = targets.modules[key].shape
    columns = 1
    for side in shape[1:]:
        columns *= side
    return float(shape[0] + columns)
