"""Adapters worked into a checkpoint: the weights that a job with this stack draws with, in the file's own dtype."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.plan import Change
from engine.adapters.work_in import bias_of, work_in
from engine.library.entries import ModelEntry
from engine.library.hashing import auto_v3_of
from engine.merge.bases import targets_of_model
from engine.merge.files import RecipeFiles, portable
from engine.merge.model_files import ModelRewriter, names_in, rewritten
from engine.merge.module_merge import WeightTable
from engine.merge.placements import Placement, leaf_shape, placements
from engine.merge.progress import Pace
from engine.merge.provenance import provenance, said
from engine.merge.recipe_checks import require_inputs
from engine.merge.sources import AdapterSource, OpenAdapter, adapter_source, opened
from engine.protocol.merge import BakeRecipe
from engine.protocol.merge_reports import MergeProgress, MergeReport


class _Baker:
    """What the stack makes of each tensor of the file."""

    def __init__(
        self,
        inputs: Sequence[OpenAdapter],
        weights: WeightTable,
        targets: Targets,
        places: dict[str, dict[str, tuple[Placement, ...]]],
    ) -> None:
        self._inputs = inputs
        self._weights = weights
        self._targets = targets
        self._places = places
        self.changed: set[ModuleKey] = set()

    def __call__(self, part: str, name: str, tensor: Tensor) -> Tensor:
        found = [(each, self.changes(each.key)) for each in self._places[part].get(name, ())]
        if not any(changes for _, changes in found):
            return tensor
        result = tensor.clone()
        for placement, changes in found:
            if changes:
                own = placement.taken(tensor, leaf_shape(placement, self._targets)).float().contiguous()
                value = self._value(own, placement, changes)
                if value is not None:
                    placement.put(result, value.to(tensor.dtype))
                    self.changed.add(placement.key)
        return result

    def changes(self, key: ModuleKey) -> list[Change]:
        """The stack's changes of one module."""
        return [
            Change(each.patch(key), weight, "")
            for place, each in enumerate(self._inputs)
            if key in each.modules and (weight := self._weights.of(place, key))
        ]

    def _value(self, own: Tensor, placement: Placement, changes: Sequence[Change]) -> Tensor | None:
        if placement.leaf == "bias":
            return bias_of(own, changes)
        out = torch.empty(own.shape)
        work_in(own, changes, out)
        return out


def bakeable(recipe: BakeRecipe, files: RecipeFiles) -> tuple[ModelEntry, Targets, list[AdapterSource]]:
    """The model and its adapters, checked; only headers are read.

    Raises:
        MergeError, AdapterError, ModelFileError: one sentence each.
    """
    require_inputs(recipe.inputs, files.adapters)
    entry = files.model(recipe.model)
    targets = targets_of_model(entry)
    paths = [files.adapters[each.name] for each in recipe.inputs]
    return entry, targets, [adapter_source(path, targets, path.stem) for path in paths]


def run_bake(recipe: BakeRecipe, files: RecipeFiles, out: Path, *, replace: bool = False) -> Iterator[MergeProgress]:
    """Write the baked model; yields after every tensor.

    Raises:
        MergeError, AdapterError, ModelFileError, ConflictError, StorageError: nothing is left behind.
    """
    yield MergeProgress(fraction=0.0, stage="reading")
    entry, targets, sources = bakeable(recipe, files)
    names = names_in(entry)
    single = "" in names
    places = {
        part: dict(placements(found, targets, single_file=single, **({} if single else {"components": (part,)})))
        for part, found in names.items()
    }
    touched = {key for source in sources for key in source.matching.modules}
    parts = [part for part in names if single or any(key[0] == part for key in touched)]
    hashes = [(source.title, auto_v3_of(source.path)) for source in sources]
    merged_from = ", ".join([entry.view.title, *(source.title for source in sources)])
    metadata = {
        **provenance(portable(recipe), hashes),
        "modelspec.merged_from": merged_from,
        "modelspec.title": out.stem,
        **said(recipe.metadata),
    }
    state = ModelRewriter()
    with ExitStack() as stack:
        inputs = [stack.enter_context(opened(source, targets)) for source in sources]
        baker = _Baker(inputs, WeightTable(recipe.inputs, targets, normalise=False), targets, places)
        pace = Pace("baking", _work(names, targets, places))
        steps = rewritten(entry, out, baker, parts=parts, metadata=metadata, replace=replace, state=state)
        for part, name, _ in steps:
            yield pace.done(f"{part}/{name}")
    notices = [f"{source.title}: {source.report.summary}" for source in sources if source.report.unmatched]
    if lost := len(touched - baker.changed):
        notices.append(f"{lost} modules could not be changed, because the model's file has no place for them.")
    yield MergeProgress(
        fraction=1.0,
        stage="done",
        report=MergeReport(
            task="bake", file=out.name, size_bytes=state.size_bytes, parameters=state.parameters,
            family=entry.family.id, seconds=pace.seconds, auto_v3=state.auto_v3, notices=tuple(notices),
        ),
    )  # fmt: skip


def _work(
    names: dict[str, frozenset[str]], targets: Targets, places: dict[str, dict[str, tuple[Placement, ...]]]
) -> dict[str, float]:
    found: dict[str, float] = {}
    for part, each in names.items():
        for name in each:
            held = places[part].get(name, ())
            found[f"{part}/{name}"] = 1e4 + sum(float(_numbers(placement, targets)) for placement in held)
    return found


def _numbers(placement: Placement, targets: Targets) -> int:
    count = 1
    for side in leaf_shape(placement, targets):
        count *= side
    return count
