"""A merge recipe run: adapters in, one adapter out, module by module."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from math import prod
from pathlib import Path

from engine.adapters.blocks import block_of
from engine.adapters.match import match_names
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.peft_settings import METADATA_KEY
from engine.errors import MergeError
from engine.library.headers import Header
from engine.merge.delta import relative
from engine.merge.files import RecipeFiles, portable
from engine.merge.layouts import file_tensors, peft_metadata
from engine.merge.measuring import Measuring
from engine.merge.methods.base import MergeMethod
from engine.merge.prepared import PreparedMerge, expected_bytes, prepare
from engine.merge.progress import Pace
from engine.merge.provenance import adapter_metadata, with_hash
from engine.merge.sources import DataHashes
from engine.merge.writer import StreamWriter, streamed
from engine.merge.written import Form, Measured
from engine.protocol.merge import MergeRecipe
from engine.protocol.merge_reports import MergeProgress, MergeReport, ModuleResult


def run_merge(
    recipe: MergeRecipe, files: RecipeFiles, out: Path, methods: Mapping[str, MergeMethod], *, replace: bool = False
) -> Iterator[MergeProgress]:
    """Merge, and yield after every module. Closing the iterator early leaves nothing behind.

    Raises:
        MergeError, AdapterError, ModelFileError, ConflictError, StorageError: nothing is left behind either.
    """
    yield MergeProgress(fraction=0.0, stage="reading")
    prepared = prepare(recipe, files, methods)
    forms: list[Form] = []
    alpha = 0.0
    with ExitStack() as stack:
        hashes = stack.enter_context(closing(DataHashes(prepared.sources)))
        measuring = stack.enter_context(closing(Measuring()))
        merger = prepared.merger(stack)
        pace = Pace("merging", _work(merger.keys, prepared.targets))
        writer = stack.enter_context(
            streamed(
                out,
                tensors=6 * len(merger.keys),
                metadata=_metadata(prepared, out.stem, ["0" * 64] * len(prepared.sources), []),
                expected_bytes=expected_bytes(prepared, merger.keys),
                replace=replace,
                check=lambda header: _check(header, prepared.targets, forms, out.name),
            )
        )
        for key in merger.keys:
            with measuring.sharing():
                written = merger.written(merger.merged(key), alpha)
                alpha = alpha or written.form.alpha
                for name, tensor in file_tensors(recipe.target.layout, key, written.tensors, prepared.targets).items():
                    writer.add(name, tensor)
                forms.append(written.form)
                measuring.add(written)
                del written
            yield pace.done(f"{key[0]}.{key[1]}")
        if not forms:
            raise MergeError(
                "merge_nothing_left", "With these weights the result would change nothing.", "Raise a weight."
            )
        _describe(writer, prepared, out.stem, hashes.all(), forms)
        report = _report(prepared, out, writer, measuring.all(), pace)
    yield MergeProgress(fraction=1.0, stage="done", report=report.model_copy(update={"size_bytes": out.stat().st_size}))


def _work(keys: Sequence[ModuleKey], targets: Targets) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in keys:
        shape = targets.modules[key].shape
        found[f"{key[0]}.{key[1]}"] = float(shape[0] + prod(shape[1:]))
    return found


def _describe(
    writer: StreamWriter, prepared: PreparedMerge, name: str, hashes: Sequence[str], forms: Sequence[Form]
) -> None:
    writer.metadata = with_hash(_metadata(prepared, name, hashes, forms), writer.auto_v3)
    if prepared.recipe.target.layout == "diffusers":
        settings = peft_metadata({each.key: each.rank for each in forms})
        writer.metadata[METADATA_KEY] = json.dumps(settings, sort_keys=True)


def _metadata(prepared: PreparedMerge, name: str, hashes: Sequence[str], forms: Sequence[Form]) -> dict[str, str]:
    sources = [
        (source.title, digest, source.header.metadata) for source, digest in zip(prepared.sources, hashes, strict=True)
    ]
    strange = {each.kind for each in forms} - {"LoRA", "LoCon"}
    lycoris = bool(strange) or prepared.recipe.target.layout == "lycoris"
    return adapter_metadata(
        name=name,
        family=prepared.family,
        recipe=portable(prepared.recipe),
        given=prepared.recipe.metadata,
        sources=sources,
        ranks=[each.rank for each in forms if each.rank],
        alphas=[each.alpha for each in forms if each.alpha],
        network="lycoris.kohya" if lycoris else "networks.lora",
    )


def _check(header: Header, targets: Targets, forms: Sequence[Form], name: str) -> None:
    """The file matched as any adapter is: every module that was written must be there, and nothing else.

    Raises:
        MergeError: `merge_check_failed`.
    """
    found = match_names(header, targets)
    wanted = {each.key for each in forms}
    if set(found.modules) != wanted or found.loose or found.damaged:
        lost = len(wanted - set(found.modules)) + len(found.loose)
        raise MergeError(
            "merge_check_failed", f"{name} did not read back whole: {lost} of its parts fit nothing.", "Report this."
        )


def _report(
    prepared: PreparedMerge, out: Path, writer: StreamWriter, results: Sequence[Measured], pace: Pace
) -> MergeReport:
    total = sum(each.size2 for each in results)
    kinds = Counter(each.form.kind for each in results)
    notices = list(prepared.notices)
    if (reduced := [each for each in results if each.form.energy < 1.0]) and prepared.recipe.target.reduction is None:
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
        energy=sum(each.form.energy * each.size2 for each in results) / total if total else 1.0,
        seconds=pace.seconds,
        auto_v3=writer.auto_v3,
        modules=tuple(_result(each, prepared.targets) for each in results),
        notices=tuple(notices),
    )


def _result(each: Measured, targets: Targets) -> ModuleResult:
    form = each.form
    return ModuleResult(
        component=form.key[0],
        module=form.key[1],
        block=block_of(form.key, targets),
        kind=form.kind,
        rank=form.rank,
        full_rank=form.full_rank,
        energy=min(form.energy, 1.0),
        error=relative(each.error2, each.size2),
        parity=relative(each.parity2, each.stack2),
    )
