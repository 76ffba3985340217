"""A merge recipe that was checked and laid over its model: only headers were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

from engine.adapters.kinds import boft, oft
from engine.adapters.match import match_names
from engine.adapters.modules import COMPONENTS, ModuleKey, Targets
from engine.errors import AdapterError, MergeError
from engine.families.families import family as family_of
from engine.library.adapters import adapter_identity
from engine.library.headers import Header, read_header
from engine.merge.bases import opened_model, targets_of_family, targets_of_model
from engine.merge.files import RecipeFiles
from engine.merge.methods.base import MergeMethod
from engine.merge.methods.table import method_of
from engine.merge.module_merge import ModuleMerger, WeightTable
from engine.merge.recipe_checks import (
    needs_base,
    require_inputs,
    require_one_family,
    require_possible_rank,
    require_reduction,
)
from engine.merge.sources import AdapterSource, adapter_source, opened
from engine.protocol.merge import MergeRecipe

_AGAINST_A_BASE = {
    "DoRA": frozenset({"dora_scale", "magnitude"}),
    "BOFT": boft.NAMES - oft.NAMES,
    "OFT": oft.NAMES - {"rescale"},
}


@dataclass(frozen=True)
class PreparedMerge:
    """A recipe that was checked, its inputs matched; nothing is open yet.

    Attributes:
        targets: the modules of the base, or of the family's usual shapes.
        notices: sentences about what of the inputs is left behind.
    """

    recipe: MergeRecipe
    files: RecipeFiles
    method: MergeMethod
    targets: Targets
    sources: tuple[AdapterSource, ...]
    family: str
    notices: tuple[str, ...]

    def merger(self, stack: ExitStack) -> ModuleMerger:
        """The recipe over its opened files; they stay open as long as the stack."""
        inputs = [stack.enter_context(opened(source, self.targets)) for source in self.sources]
        base = None
        if self.recipe.base:
            base = stack.enter_context(opened_model(self.files.model(self.recipe.base), self.targets))
        return ModuleMerger(self.recipe, self.method, inputs, self.targets, base)


def prepare(recipe: MergeRecipe, files: RecipeFiles, methods: Mapping[str, MergeMethod]) -> PreparedMerge:
    """Check a recipe and match its inputs; only headers are read.

    Raises:
        MergeError, AdapterError, ModelFileError: one sentence each.
    """
    method = method_of(recipe.method, methods)
    require_inputs(recipe.inputs, files.adapters)
    method.validate(recipe)
    require_reduction(recipe.target.reduction)
    headers = {each.name: read_header(files.adapters[each.name]) for each in recipe.inputs}
    targets = _targets(recipe, files, headers)
    sources = tuple(_source(files.adapters[name], header, targets, recipe) for name, header in headers.items())
    # Refuses weights that cannot be normalised, and block weights of a wrong number.
    WeightTable(recipe.inputs, targets, normalise=recipe.normalise)
    if recipe.base is None:
        _refuse_without_base(recipe, sources)
    touched = {key for source in sources for key in source.matching.modules}
    sides = [_smaller_side(targets.modules[key].shape) for key in touched]
    require_possible_rank(recipe.target.reduction, max(sides, default=1))
    notices = [note for source in sources for note in _left_behind(source)]
    return PreparedMerge(recipe, files, method, targets, sources, targets.family, tuple(notices))


def fit_their_family(paths: Sequence[Path]) -> bool:
    """Whether each file fits the usual shapes of the family that it names; only headers are read.

    Raises:
        ModelFileError: a file cannot be read.
    """
    for path in paths:
        header = read_header(path)
        told = adapter_identity(header.tensors, header.metadata, "").family
        try:
            targets = targets_of_family(family_of(told))
        except KeyError:
            # Flux and others, which are refused with their own sentence.
            continue
        if not match_names(header, targets).modules:
            return False
    return True


def expected_bytes(prepared: PreparedMerge, keys: Sequence[ModuleKey]) -> int:
    """About how large the data will be: ranks of the inputs' headers added up, or the rank that was asked for."""
    width = 4 if prepared.recipe.target.dtype == "float32" else 2
    reduction = prepared.recipe.target.reduction
    total = 0
    for key in keys:
        shape = prepared.targets.modules[key].shape
        rows, columns = shape[0], prod(shape[1:])
        numbers = sum(
            sum(prod(source.header.tensors[name].shape) for name in source.matching.modules[key].values())
            for source in prepared.sources
            if key in source.matching.modules
        )
        if prepared.recipe.target.kind == "full":
            numbers = rows * columns
        elif reduction is not None and reduction.rank is not None:
            numbers = min(reduction.rank, rows, columns) * (rows + columns)
        total += numbers * width
    return total


def targets_for(base: str | None, files: RecipeFiles, families: Mapping[str, str]) -> Targets:
    """The modules of the base, or of the family that the files say they are for.

    Raises:
        MergeError: `merge_families_differ`, `merge_base_needed`. ModelFileError: the base cannot be used.
    """
    if base:
        entry = files.model(base)
        require_one_family(families, entry.family.id)
        return targets_of_model(entry)
    family = require_one_family(families, "")
    try:
        return targets_of_family(family_of(family))
    except KeyError as error:
        raise MergeError(
            "merge_base_needed",
            "The files do not say which family of models they are for.",
            "Name the base model in the recipe.",
        ) from error


def _targets(recipe: MergeRecipe, files: RecipeFiles, headers: Mapping[str, Header]) -> Targets:
    families = {
        files.adapters[name].stem: adapter_identity(header.tensors, header.metadata, "").family
        for name, header in headers.items()
    }
    return targets_for(recipe.base, files, families)


def _source(path: Path, header: Header, targets: Targets, recipe: MergeRecipe) -> AdapterSource:
    try:
        return adapter_source(path, targets, path.stem, header)
    except AdapterError as error:
        if recipe.base is None and error.code == "adapter_matches_nothing":
            raise MergeError(
                "merge_base_needed",
                f"{path.stem} does not fit the usual shapes of its family.",
                "Name the model that it was made for as the base of the recipe.",
            ) from error
        raise


def _refuse_without_base(recipe: MergeRecipe, sources: Sequence[AdapterSource]) -> None:
    """Kinds whose names in the file say that they change a model by its own weights. (IA)³ and GLoRA may merge within
    themselves, which shows module by module."""
    for each, source in zip(recipe.inputs, sources, strict=True):
        if not any(each.weight_of(component) for component in COMPONENTS):
            continue
        suffixes = {suffix for names in source.matching.modules.values() for suffix in names}
        for kind, spelt in _AGAINST_A_BASE.items():
            if suffixes & spelt:
                raise needs_base(kind, source.title)


def _left_behind(source: AdapterSource) -> Iterator[str]:
    if source.report.unmatched:
        yield f"{source.title}: {source.report.summary}"
    if source.matching.embeddings:
        yield f"{source.title}: the embeddings inside the file are not carried over."


def _smaller_side(shape: tuple[int, ...]) -> int:
    return min(shape[0], prod(shape[1:]))
