"""A merge recipe run: adapters in, one adapter out, module by module."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from engine.adapters.blocks import block_of
from engine.adapters.match import match_names
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.peft_settings import METADATA_KEY
from engine.errors import AdapterError, MergeError
from engine.families.families import family as family_of
from engine.library.adapters import adapter_identity
from engine.library.hashing import auto_v3_of
from engine.library.headers import read_header
from engine.merge.bases import opened_model, targets_of_family, targets_of_model
from engine.merge.delta import relative
from engine.merge.files import RecipeFiles, portable
from engine.merge.layouts import file_tensors, peft_metadata
from engine.merge.methods.base import MergeMethod
from engine.merge.methods.table import method_of
from engine.merge.module_merge import ModuleMerger, Written
from engine.merge.progress import Pace
from engine.merge.provenance import adapter_metadata, with_hash
from engine.merge.recipe_checks import (
    require_inputs,
    require_one_family,
    require_possible_rank,
    require_reduction,
)
from engine.merge.sources import AdapterSource, adapter_source, opened
from engine.merge.writer import StreamWriter, streamed
from engine.protocol.merge import MergeProgress, MergeRecipe, MergeReport, ModuleResult


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
    targets = _targets(recipe, files)
    sources = tuple(_source(files.adapters[each.name], targets, recipe) for each in recipe.inputs)
    touched = {key for source in sources for key in source.matching.modules}
    sides = [_smaller_side(targets.modules[key].shape) for key in touched]
    require_possible_rank(recipe.target.reduction, max(sides, default=1))
    notices = [note for source in sources for note in _left_behind(source)]
    return PreparedMerge(recipe, files, method, targets, sources, targets.family, tuple(notices))


def run_merge(
    recipe: MergeRecipe, files: RecipeFiles, out: Path, methods: Mapping[str, MergeMethod], *, replace: bool = False
) -> Iterator[MergeProgress]:
    """Merge, and yield after every module. Closing the iterator early leaves nothing behind.

    Raises:
        MergeError, AdapterError, ModelFileError, ConflictError, StorageError: nothing is left behind either.
    """
    yield MergeProgress(fraction=0.0, stage="reading")
    prepared = prepare(recipe, files, methods)
    hashes = [auto_v3_of(source.path) for source in prepared.sources]
    results: list[Written] = []
    alpha = 0.0
    with ExitStack() as stack:
        merger = prepared.merger(stack)
        pace = Pace("merging", _work(merger.keys, prepared.targets))
        described = _metadata(prepared, out.stem, hashes, [])
        writer = stack.enter_context(
            streamed(
                out,
                tensors=6 * len(merger.keys),
                metadata=described,
                expected_bytes=expected_bytes(prepared, merger.keys),
                replace=replace,
                check=lambda path: _check(path, prepared.targets, results, out.name),
            )
        )
        for key in merger.keys:
            written = merger.written(merger.merged(key), alpha)
            alpha = alpha or written.alpha
            for name, tensor in file_tensors(recipe.target.layout, key, written.tensors, prepared.targets).items():
                writer.add(name, tensor)
            # The tensors are in the file; only the numbers are kept.
            results.append(changed(written, tensors={}))
            del written
            yield pace.done(f"{key[0]}.{key[1]}")
        if not results:
            raise MergeError(
                "merge_nothing_left", "With these weights the result would change nothing.", "Raise a weight."
            )
        _describe(writer, prepared, out.stem, hashes, results)
        report = _report(prepared, out, writer, results, pace)
    yield MergeProgress(fraction=1.0, stage="done", report=report.model_copy(update={"size_bytes": out.stat().st_size}))


def expected_bytes(prepared: PreparedMerge, keys: Sequence[ModuleKey]) -> int:
    """About how large the data will be: ranks of the inputs' headers added up, or the rank that was asked for."""
    width = 4 if prepared.recipe.target.dtype == "float32" else 2
    reduction = prepared.recipe.target.reduction
    total = 0
    for key in keys:
        shape = prepared.targets.modules[key].shape
        rows, columns = shape[0], _columns(shape)
        numbers = sum(
            sum(_count(source.header.tensors[name].shape) for name in source.matching.modules[key].values())
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


def _targets(recipe: MergeRecipe, files: RecipeFiles) -> Targets:
    families = {}
    for each in recipe.inputs:
        header = read_header(files.adapters[each.name])
        families[files.adapters[each.name].stem] = adapter_identity(header.tensors, header.metadata, "").family
    return targets_for(recipe.base, files, families)


def _source(path: Path, targets: Targets, recipe: MergeRecipe) -> AdapterSource:
    try:
        return adapter_source(path, targets, path.stem)
    except AdapterError as error:
        if recipe.base is None and error.code == "adapter_matches_nothing":
            raise MergeError(
                "merge_base_needed",
                f"{path.stem} does not fit the usual shapes of its family.",
                "Name the model that it was made for as the base of the recipe.",
            ) from error
        raise


def _left_behind(source: AdapterSource) -> Iterator[str]:
    if source.report.unmatched:
        yield f"{source.title}: {source.report.summary}"
    if source.matching.embeddings:
        yield f"{source.title}: the embeddings inside the file are not carried over."


def _work(keys: Sequence[ModuleKey], targets: Targets) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in keys:
        shape = targets.modules[key].shape
        found[f"{key[0]}.{key[1]}"] = float(shape[0] + _columns(shape))
    return found


def _describe(
    writer: StreamWriter, prepared: PreparedMerge, name: str, hashes: Sequence[str], results: Sequence[Written]
) -> None:
    writer.metadata = with_hash(_metadata(prepared, name, hashes, results), writer.auto_v3)
    if prepared.recipe.target.layout == "diffusers":
        settings = peft_metadata({each.key: each.rank for each in results})
        writer.metadata[METADATA_KEY] = json.dumps(settings, sort_keys=True)


def _metadata(prepared: PreparedMerge, name: str, hashes: Sequence[str], results: Sequence[Written]) -> dict[str, str]:
    sources = [
        (source.title, digest, source.header.metadata) for source, digest in zip(prepared.sources, hashes, strict=True)
    ]
    strange = {each.kind for each in results} - {"LoRA", "LoCon"}
    lycoris = bool(strange) or prepared.recipe.target.layout == "lycoris"
    return adapter_metadata(
        name=name,
        family=prepared.family,
        recipe=portable(prepared.recipe),
        given=prepared.recipe.metadata,
        sources=sources,
        ranks=[each.rank for each in results if each.rank],
        alphas=[each.alpha for each in results if each.alpha],
        network="lycoris.kohya" if lycoris else "networks.lora",
    )


def _check(path: Path, targets: Targets, results: Sequence[Written], name: str) -> None:
    """The file read as any adapter is: every module that was written must be there, and nothing else.

    Raises:
        MergeError: `merge_check_failed`.
    """
    found = match_names(read_header(path), targets)
    wanted = {each.key for each in results}
    if set(found.modules) != wanted or found.loose or found.damaged:
        lost = len(wanted - set(found.modules)) + len(found.loose)
        raise MergeError(
            "merge_check_failed", f"{name} did not read back whole: {lost} of its parts fit nothing.", "Report this."
        )


def _report(
    prepared: PreparedMerge, out: Path, writer: StreamWriter, results: Sequence[Written], pace: Pace
) -> MergeReport:
    total = sum(each.size2 for each in results)
    kinds = Counter(each.kind for each in results)
    notices = list(prepared.notices)
    if (reduced := [each for each in results if each.energy < 1.0]) and prepared.recipe.target.reduction is None:
        notices.append(
            f"{len(reduced)} modules would have had very large ranks and keep 99.9 % of their energy; "
            "the target “LoRA” keeps all of it."
        )
    if kinds["Full"] and prepared.recipe.target.kind != "full":
        notices.append(f"{kinds['Full']} modules are kept as whole differences.")
    return MergeReport(
        task="merge",
        file=out.name,
        parameters=writer.parameters,
        method=prepared.recipe.method,
        family=prepared.family,
        error=relative(sum(each.error2 for each in results), total),
        parity=relative(sum(each.parity2 for each in results), sum(each.stack2 for each in results)),
        energy=sum(each.energy * each.size2 for each in results) / total if total else 1.0,
        seconds=pace.seconds,
        auto_v3=writer.auto_v3,
        modules=tuple(_result(each, prepared.targets) for each in results),
        notices=tuple(notices),
    )


def _result(each: Written, targets: Targets) -> ModuleResult:
    return ModuleResult(
        component=each.key[0],
        module=each.key[1],
        block=block_of(each.key, targets),
        kind=each.kind,
        rank=each.rank,
        full_rank=each.full_rank,
        energy=min(each.energy, 1.0),
        error=relative(each.error2, each.size2),
    )


def _smaller_side(shape: tuple[int, ...]) -> int:
    return min(shape[0], _columns(shape))


def _columns(shape: tuple[int, ...]) -> int:
    return _count(shape[1:])


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
