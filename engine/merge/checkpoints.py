"""Checkpoints merged: weighted, or one model's difference added to another; per component and per block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from engine.adapters.modules import ModuleKey, Targets
from engine.errors import MergeError
from engine.library.entries import ModelEntry
from engine.loading.weights import Weights, open_weights
from engine.merge.bases import model_hash, part_file, targets_of_model
from engine.merge.files import RecipeFiles, portable
from engine.merge.model_files import ModelRewriter, names_in, rewritten
from engine.merge.module_merge import WeightTable
from engine.merge.placements import Placement, placements
from engine.merge.progress import Pace
from engine.merge.provenance import provenance, said
from engine.merge.recipe_checks import require_inputs, require_one_family
from engine.protocol.merge import CheckpointRecipe
from engine.protocol.merge_reports import MergeProgress, MergeReport

# Of the names that adapters can change: files of one family differ in a few buffers, not in layers.
_MAY_LACK = 0.02


class _Mixer:
    """What the models together make of each tensor of the first one's file."""

    def __init__(
        self,
        recipe: CheckpointRecipe,
        others: Sequence[dict[str, Weights]],
        weights: WeightTable,
        places: dict[str, dict[str, tuple[Placement, ...]]],
    ) -> None:
        self._recipe = recipe
        self._others = others
        self._weights = weights
        self._places = places
        self.kept = 0

    def __call__(self, part: str, name: str, tensor: Tensor) -> Tensor:
        held = self._places[part].get(name)
        # VAE, buffers, positions: the first model's.
        if not held or not tensor.is_floating_point():
            return tensor
        others = [weights[part] for weights in self._others]
        if not all(name in each.names() for each in others):
            self.kept += 1
            return tensor
        values = [tensor, *(each.get(name) for each in others)]
        if any(value.shape != tensor.shape for value in values):
            raise MergeError(
                "merge_models_differ", f"“{name}” has different shapes in these models.", "Merge models of one family."
            )
        factors = _factors(self._recipe, self._weights, held[0].key)
        # In float32 one after another: two tensors in memory, however many models there are.
        total = tensor.float() * factors[0]
        for value, factor in zip(values[1:], factors[1:], strict=True):
            total.add_(value.float(), alpha=factor)
        return total.to(tensor.dtype)


def _factors(recipe: CheckpointRecipe, table: WeightTable, key: ModuleKey) -> list[float]:
    """By what each model's numbers of a module are multiplied. Raises MergeError `merge_weights_zero`."""
    weights = [table.of(place, key) for place in range(len(recipe.inputs))]
    if recipe.method == "add_difference":
        return [1.0, weights[1], -weights[1]]
    if not recipe.normalise:
        return weights
    total = sum(weights)
    if abs(total) < 1e-12:
        raise MergeError(
            "merge_weights_zero",
            f"The weights of {key[0]} add up to 0, so they cannot be divided by their sum.",
            "Change a weight or a block, or switch normalising off.",
        )
    return [weight / total for weight in weights]


def alike(recipe: CheckpointRecipe, files: RecipeFiles) -> tuple[list[ModelEntry], Targets]:
    """The models and the modules of the first, checked as far as their entries and configs tell.

    Raises:
        MergeError: `merge_twice`, `merge_weights_zero`, `merge_inputs_missing`, `merge_families_differ`,
            `merge_models_differ`. AdapterError: `adapter_blocks_unknown`. ModelFileError: one of them cannot be used.
    """
    entries = [files.model(each.name) for each in recipe.inputs]
    require_inputs(recipe.inputs, {each.name: files.models[each.name].path for each in recipe.inputs})
    wanted = 3 if recipe.method == "add_difference" else 2
    if len(entries) < wanted or (recipe.method == "add_difference" and len(entries) != 3):
        raise MergeError(
            "merge_inputs_missing",
            f"This method works on {'exactly 3' if wanted == 3 else 'at least 2'} models, not {len(entries)}.",
            "Add or take away models.",
        )
    require_one_family({entry.view.title: entry.family.id for entry in entries}, "")
    first = entries[0]
    if any(entry.path.is_dir() != first.path.is_dir() for entry in entries):
        raise MergeError(
            "merge_models_differ",
            "Some of these models are single files and some are folders, whose tensors have other names.",
            "Merge single files with single files, folders with folders.",
        )
    targets = targets_of_model(first)
    table = WeightTable(recipe.inputs, targets, normalise=False)
    for key in targets.modules:
        _factors(recipe, table, key)
    return entries, targets


def run_checkpoints(
    recipe: CheckpointRecipe, files: RecipeFiles, out: Path, *, replace: bool = False
) -> Iterator[MergeProgress]:
    """Write the merged model; yields after every tensor.

    Raises:
        MergeError, ModelFileError, ConflictError, StorageError: nothing is left behind.
    """
    yield MergeProgress(fraction=0.0, stage="reading")
    entries, targets = alike(recipe, files)
    first = entries[0]
    names = names_in(first)
    places = _places(names, targets)
    _require_alike(entries, places)
    hashes = [(entry.view.title, model_hash(entry)) for entry in entries]
    metadata = {
        **provenance(portable(recipe), hashes),
        "modelspec.merged_from": ", ".join(title for title, _ in hashes),
        "modelspec.title": out.stem,
        **said(recipe.metadata),
    }
    state = ModelRewriter()
    with ExitStack() as stack:
        others = [_opened(entry, names, stack) for entry in entries[1:]]
        mixer = _Mixer(recipe, others, WeightTable(recipe.inputs, targets, normalise=False), places)
        pace = Pace("merging", {f"{part}/{name}": 1.0 for part, each in names.items() for name in each})
        for part, name, _ in rewritten(
            first, out, mixer, parts=list(names), metadata=metadata, replace=replace, state=state
        ):
            yield pace.done(f"{part}/{name}")
    notices = ["The VAE is that of the first model."]
    if mixer.kept:
        notices.append(f"{mixer.kept} tensors that not all models have are those of the first.")
    yield MergeProgress(
        fraction=1.0,
        stage="done",
        report=MergeReport(
            task="checkpoint", file=out.name, size_bytes=state.size_bytes, parameters=state.parameters,
            method=recipe.method, family=first.family.id, seconds=pace.seconds, auto_v3=state.auto_v3,
            notices=tuple(notices),
        ),
    )  # fmt: skip


def _places(names: dict[str, frozenset[str]], targets: Targets) -> dict[str, dict[str, tuple[Placement, ...]]]:
    single = "" in names
    return {
        part: dict(placements(found, targets, single_file=single, **({} if single else {"components": (part,)})))
        for part, found in names.items()
    }


def _require_alike(entries: Sequence[ModelEntry], places: dict[str, dict[str, tuple[Placement, ...]]]) -> None:
    for entry in entries[1:]:
        there = names_in(entry)
        for part, held in places.items():
            lacking = [name for name in held if name not in there.get(part, frozenset())]
            if len(lacking) > _MAY_LACK * len(held):
                raise MergeError(
                    "merge_models_differ",
                    f"{entry.view.title} lacks {len(lacking)} of {len(held)} layers of {entries[0].view.title}, "
                    f"“{lacking[0]}” for one.",
                    "Merge models of one family and one layout.",
                )


def _opened(entry: ModelEntry, names: dict[str, frozenset[str]], stack: ExitStack) -> dict[str, Weights]:
    if "" in names:
        return {"": stack.enter_context(open_weights(entry.path))}
    return {part: stack.enter_context(open_weights(part_file(entry, part))) for part in names}
