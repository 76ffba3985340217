"""RowPaths: rows of one call that carry different adapters, each with its own thin term beside the bare layer.

A layer's output for row n gets Uₙ·(Dₙ·xₙ): two batched products instead of one call of the model for each stack. Only
for plans that are `thin`; the sum of a stack's LoRAs on a layer is one product of their joined ranks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.adapters.kinds.operation import on_channels, operate, pointwise
from engine.adapters.patch import LowRank
from engine.adapters.plan import Changes, PatchPlan, signature_of
from engine.adapters.work_in import joined

Part = tuple[int, PatchPlan]
"""(rows, what they carry); the parts of a call stand below each other in the order of its rows."""
# The same people's pictures go on for many steps; what was made ready for them is kept.
KEPT = 2


@dataclass(frozen=True)
class _Term:
    """What the rows first…last − 1 get on a layer: up (out, r) · down (r, in[·kernel]), and a bias (out,) or None."""

    first: int
    last: int
    thin: LowRank
    bias: Tensor | None


@dataclass(frozen=True)
class _Layer:
    """A layer's terms, and for linear layers all of them as one batch: down (rows, in, r), up (rows, r, out)."""

    terms: tuple[_Term, ...]
    batch: LowRank | None


class RowPaths:
    """The terms of one component, which must be bare meanwhile.

    Args:
        component: "unet". root: the module; its weights are not touched.
    """

    def __init__(self, component: str, root: nn.Module) -> None:
        self._component = component
        self._modules: Mapping[str, nn.Module] = {path: each for path, each in root.named_modules() if path}
        self._ready: OrderedDict[object, dict[str, _Layer]] = OrderedDict()

    @contextmanager
    def beside(self, parts: Sequence[Part]) -> Iterator[None]:
        """Within it, calls of the component of as many rows as the parts have carry them.

        Raises:
            ValueError: a plan is not thin.
        """
        layers = self._layers(parts)
        handles = [self._modules[path].register_forward_hook(partial(_add, layer)) for path, layer in layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _layers(self, parts: Sequence[Part]) -> dict[str, _Layer]:
        plans = [(count, plan.of(self._component)) for count, plan in parts]
        place = tuple((count, _signed(changes)) for count, changes in plans)
        known = self._ready.pop(place, None)
        if known is None:
            if not all(plan.thin for _, plan in parts):
                raise ValueError("rows can only carry adapters that are products of thin matrices")
            rows = sum(count for count, _ in parts)
            paths = dict.fromkeys(path for _, changes in plans for path in changes)
            # Not inference tensors: they are kept for calls outside of it, too.
            with torch.inference_mode(False), torch.no_grad():
                known = {path: _layer(self._modules[path], path, plans, rows) for path in paths}
        self._ready[place] = known
        while len(self._ready) > KEPT:
            self._ready.popitem(last=False)
        return known


def _signed(changes: Mapping[str, Changes]) -> tuple[object, ...]:
    return tuple((path, signature_of(each)) for path, each in changes.items())


def _layer(module: nn.Module, path: str, plans: Sequence[tuple[int, Mapping[str, Changes]]], rows: int) -> _Layer:
    weight = module.weight
    assert isinstance(weight, Tensor)
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    terms: list[_Term] = []
    first = 0
    for count, changes in plans:
        if here := changes.get(path):
            up, down = (each.to(dtype) for each in _thin(here, weight.device))
            terms.append(_Term(first, first + count, (up, down), _bias(here)))
        first += count
    batch = _batch(terms, rows) if isinstance(module, nn.Linear) else None
    return _Layer(tuple(terms), batch)


def _thin(changes: Changes, device: torch.device) -> LowRank:
    found = [(change.patch.low_rank(), change.scale) for change in changes]
    return joined([(thin, scale) for thin, scale in found if thin is not None], device)


def _bias(changes: Changes) -> Tensor | None:
    found = [each for change in changes if (each := change.patch.bias_delta(change.scale)) is not None]
    return torch.stack([each.float() for each in found]).sum(0) if found else None


def _batch(terms: Sequence[_Term], rows: int) -> LowRank:
    """All terms for a batched product; smaller ranks are filled up with zeros, rows without a term have only those."""
    rank = max(term.thin[1].shape[0] for term in terms)
    up, down = terms[0].thin
    downs = down.new_zeros(rows, down.shape[1], rank)
    ups = up.new_zeros(rows, rank, up.shape[0])
    for term in terms:
        own = term.thin[1].shape[0]
        downs[term.first : term.last, :, :own] = term.thin[1].T
        ups[term.first : term.last, :own] = term.thin[0].T
    return ups, downs


def _add(layer: _Layer, module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
    x: Tensor = inputs[0]
    if layer.batch is not None:
        ups, downs = (each.to(x) for each in layer.batch)
        rows = x.shape[0]
        low = torch.bmm(x.reshape(rows, -1, x.shape[-1]), downs)
        made = torch.baddbmm(out.reshape(rows, -1, out.shape[-1]), low, ups).reshape(out.shape)
    else:
        made = out.clone(memory_format=torch.preserve_format)
        for term in layer.terms:
            made[term.first : term.last] += _convolved(module, x[term.first : term.last], term.thin)
    for term in layer.terms:
        if term.bias is not None:
            made[term.first : term.last] += on_channels(module, term.bias, out)
    return made


def _convolved(module: nn.Module, x: Tensor, thin: LowRank) -> Tensor:
    up, down = thin
    kernel = tuple(getattr(module, "kernel_size", ()))
    low = operate(module, x, down.reshape(down.shape[0], -1, *kernel))
    if low is None:
        raise TypeError(f"{type(module).__name__} has no thin path")
    return pointwise(low, up)
