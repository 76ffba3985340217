"""One module of a merge: the shares of all inputs, their method's exact result, and what is written of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.adapters.blocks import block_weights
from engine.adapters.modules import COMPONENTS, ModuleKey, Targets
from engine.adapters.patch import ModulePatch
from engine.adapters.plan import Change
from engine.adapters.work_in import bias_of, work_in
from engine.errors import MergeError
from engine.merge.bases import OpenModel
from engine.merge.delta import Delta, combined
from engine.merge.expand import delta_of
from engine.merge.methods.base import MergeMethod, Share
from engine.merge.recipe_checks import needs_base
from engine.merge.sources import OpenAdapter
from engine.merge.within_kind import merged_within
from engine.merge.written import Written, written_delta, written_within
from engine.protocol.merge import MergeInput, MergeRecipe

Patched = tuple[ModulePatch | None, float]
"""(what an input does to a module, or None; its weight there)."""


@dataclass(frozen=True)
class Merged:
    """The exact result for one module.

    Attributes:
        delta: the method's result; None where it is of a kind of its own (`tensors`).
        stack: what stacking the inputs does; None where it is the same as `delta`.
        tensors: (IA)³ and GLoRA within their kind, float32, by suffix.
    """

    key: ModuleKey
    delta: Delta | None
    stack: Delta | None = None
    tensors: Mapping[str, Tensor] | None = None


class WeightTable:
    """How strongly each input goes into each module: component, block, and normalising."""

    def __init__(self, inputs: Sequence[MergeInput], targets: Targets, *, normalise: bool) -> None:
        self._blocks = [block_weights(each.blocks, targets) for each in inputs]
        self._weights = [{part: each.weight_of(part) for part in COMPONENTS} for each in inputs]
        if normalise:
            sums = {part: sum(weights[part] for weights in self._weights) for part in COMPONENTS}
            if any(abs(total) < 1e-12 for total in sums.values()):
                raise MergeError(
                    "merge_weights_zero",
                    "The weights add up to 0, so they cannot be divided by their sum.",
                    "Change a weight, or switch normalising off.",
                )
            self._weights = [{part: weights[part] / sums[part] for part in COMPONENTS} for weights in self._weights]

    def of(self, place: int, key: ModuleKey) -> float:
        """The weight of the input at that place of the recipe."""
        return self._weights[place][key[0]] * self._blocks[place].get(key, 1.0)


class ModuleMerger:
    """All that a recipe says, applied to one module at a time. Files stay open outside of it."""

    def __init__(
        self,
        recipe: MergeRecipe,
        method: MergeMethod,
        inputs: Sequence[OpenAdapter],
        targets: Targets,
        base: OpenModel | None,
    ) -> None:
        self._recipe = recipe
        self._method = method
        self._inputs = inputs
        self._targets = targets
        self._base = base
        self._weights = WeightTable(recipe.inputs, targets, normalise=recipe.normalise)
        wanted = COMPONENTS if recipe.target.text_encoders else COMPONENTS[:1]
        touched = {key for each in inputs for key in each.modules}
        self.keys: tuple[ModuleKey, ...] = tuple(
            key for key in targets.modules if key in touched and key[0] in wanted and self._weighs(key)
        )

    def patches(self, key: ModuleKey) -> list[Patched]:
        """Every input's patch of the module, in the recipe's order."""
        weights = [self._weights.of(place, key) for place in range(len(self._inputs))]
        return [
            (each.patch(key) if weight and key in each.modules else None, weight)
            for each, weight in zip(self._inputs, weights, strict=True)
        ]

    def deltas(self, key: ModuleKey, patches: Sequence[Patched]) -> list[Delta]:
        """Every input's change at weight 1; empty where it has none."""
        return [self._delta(key, patch) for patch, _ in patches]

    def merged(self, key: ModuleKey) -> Merged:
        """The exact result.

        Raises:
            MergeError: `merge_base_needed`. AdapterError, ModelFileError: an input cannot be read.
        """
        patches, exact = self.patches(key), self._method.view.exact
        active = [(patch, weight) for patch, weight in patches if patch is not None]
        target = self._targets.modules[key]
        if exact and any(patch.needs_base for patch, _ in active):
            asked = self._recipe.target
            own_kind = asked.kind != "full" and asked.reduction is None and asked.layout != "diffusers"
            if own_kind and (tensors := merged_within(active, target)) is not None:
                return Merged(key, None, tensors=tensors)
            return Merged(key, self._stacked(key, active))
        shares = [Share(delta, weight) for delta, (_, weight) in zip(self.deltas(key, patches), patches, strict=True)]
        delta = self._method.merge(shares, self._recipe.options, self._random(key))
        if exact:
            return Merged(key, delta)
        if any(patch.needs_base for patch, _ in active):
            return Merged(key, delta, self._stacked(key, active))
        return Merged(key, delta, combined([share.delta for share in shares], [share.weight for share in shares]))

    def written(self, merged: Merged, alpha: float = 0.0) -> Written:
        """The result as it is written; `alpha` as in `written_delta`.

        Raises:
            MergeError: `merge_rank_out_of_range`.
        """
        if merged.tensors is not None:
            return written_within(merged.key, merged.tensors, self._recipe.target)
        assert merged.delta is not None
        target = self._targets.modules[merged.key]
        return written_delta(merged.key, merged.delta, merged.stack, target, self._recipe.target, alpha=alpha)

    def _weighs(self, key: ModuleKey) -> bool:
        return any(key in each.modules and self._weights.of(place, key) for place, each in enumerate(self._inputs))

    def _delta(self, key: ModuleKey, patch: ModulePatch | None) -> Delta:
        target = self._targets.modules[key]
        if patch is None:
            return Delta(target.shape, norm_layer=target.kind == "norm")
        if not patch.needs_base:
            return delta_of(patch, target)
        base = self._need_base(key, patch)
        weight = base.weight(key).float()
        bias = patch.bias_delta(1.0, base.bias(key))
        return Delta(
            target.shape, dense=patch.delta(weight, 1.0).reshape(target.shape[0], -1), bias=bias, expanded=True
        )

    def _stacked(self, key: ModuleKey, active: Sequence[tuple[ModulePatch, float]]) -> Delta:
        """What the stack makes of the base's weight, less that weight: each on what the ones before it made."""
        target = self._targets.modules[key]
        base = self._need_base(key, next(patch for patch, _ in active if patch.needs_base))
        weight, bias = base.weight(key).float(), base.bias(key)
        changes = [Change(patch, scale, "") for patch, scale in active]
        moved = torch.empty(weight.shape)
        work_in(weight, changes, moved)
        new_bias = bias_of(bias, changes)
        own = None if bias is None else bias.float()
        change = None if new_bias is None else new_bias if own is None else new_bias - own
        if change is not None and not bool(change.any()):
            change = None
        return Delta(target.shape, dense=(moved - weight).reshape(target.shape[0], -1), bias=change, expanded=True)

    def _need_base(self, key: ModuleKey, patch: ModulePatch) -> OpenModel:
        if self._base is None:
            raise needs_base(patch.kind)
        return self._base

    def _random(self, key: ModuleKey) -> torch.Generator:
        text = f"{self._recipe.options.seed}|{key[0]}|{key[1]}"
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little"))
