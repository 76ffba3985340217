"""The difference of two checkpoints as an adapter: LoRA by its largest singular values, or the nearest LoKr.

LoKr: the nearest Kronecker product of a matrix is the largest singular pair of the matrix whose rows are its blocks
(Van Loan and Pitsianis 1993).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace as changed
from math import isqrt, prod
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters.blocks import block_of
from engine.adapters.modules import COMPONENTS, ModuleKey, TargetModule, Targets
from engine.adapters.peft_settings import METADATA_KEY
from engine.errors import MergeError
from engine.merge.delta import Delta, norm2, relative
from engine.merge.differences import Difference, model_difference, stack_difference
from engine.merge.files import RecipeFiles, portable
from engine.merge.layouts import file_tensors, peft_metadata
from engine.merge.measuring import Measuring
from engine.merge.progress import Pace
from engine.merge.provenance import adapter_metadata, with_hash
from engine.merge.randomised import leading
from engine.merge.recipe_checks import require_reduction
from engine.merge.reduction import decomposed, is_kernel
from engine.merge.writer import FILE_DTYPES, streamed
from engine.merge.written import Form, Measured, Written, alpha_tensor, written_delta
from engine.protocol.merge import AdapterTarget, ExtractRecipe
from engine.protocol.merge_reports import MergeProgress, MergeReport, ModuleResult


def difference_of(recipe: ExtractRecipe, files: RecipeFiles) -> Difference:
    """What is extracted from, checked; only headers are read.

    Raises:
        MergeError, AdapterError, ModelFileError: one sentence each.
    """
    require_reduction(recipe.reduction)
    if recipe.kind == "lokr" and recipe.layout == "diffusers":
        raise MergeError(
            "merge_layout_cannot", "diffusers' layout has no keys for LoKr.", "Take kohya's or LyCORIS' layout."
        )
    return stack_difference(recipe, files) if recipe.inputs else model_difference(recipe, files)


def run_extract(
    recipe: ExtractRecipe, files: RecipeFiles, out: Path, *, replace: bool = False
) -> Iterator[MergeProgress]:
    """Write the adapter; yields after every module.

    Raises:
        MergeError, ModelFileError, ConflictError, StorageError: nothing is left behind.
    """
    yield MergeProgress(fraction=0.0, stage="reading")
    difference = difference_of(recipe, files)
    targets = difference.targets
    keys = _keys(recipe, targets)
    forms: list[Form] = []
    alpha = 0.0
    with ExitStack() as stack:
        measuring = stack.enter_context(closing(Measuring()))
        changes = stack.enter_context(difference.opened())
        pace = Pace("extracting", {f"{key[0]}.{key[1]}": float(prod(targets.modules[key].shape)) for key in keys})
        writer = stack.enter_context(
            streamed(out, tensors=6 * len(keys), metadata={"x": "x" * 20000}, expected_bytes=0, replace=replace)
        )
        for key in keys:
            with measuring.sharing():
                written = _extracted(key, recipe, changes(key), targets, alpha)
                if written is not None:
                    for name, tensor in file_tensors(recipe.layout, key, written.tensors, targets).items():
                        writer.add(name, tensor)
                    forms.append(written.form)
                    measuring.add(written)
                    alpha = alpha or written.form.alpha
                del written
            yield pace.done(f"{key[0]}.{key[1]}")
        if not forms:
            raise MergeError(
                "merge_nothing_left", "Both have equal weights, so there is nothing to extract.", "Choose others."
            )
        metadata = adapter_metadata(
            name=out.stem,
            family=targets.family,
            recipe=portable(recipe),
            given=recipe.metadata,
            sources=difference.sources(),
            ranks=[each.rank for each in forms if each.rank],
            alphas=[each.alpha for each in forms if each.alpha],
            network="lycoris.kohya" if {each.kind for each in forms} - {"LoRA", "LoCon"} else "networks.lora",
        )
        writer.metadata = with_hash(metadata, writer.auto_v3)
        if recipe.layout == "diffusers":
            writer.metadata[METADATA_KEY] = json.dumps(peft_metadata({each.key: each.rank for each in forms}))
        results = measuring.all()
    total = sum(each.size2 for each in results)
    report = MergeReport(
        task="extract",
        file=out.name,
        size_bytes=out.stat().st_size,
        parameters=writer.parameters,
        method=recipe.kind,
        family=targets.family,
        error=relative(sum(each.error2 for each in results), total),
        energy=sum(each.form.energy * each.size2 for each in results) / total if total else 1.0,
        seconds=pace.seconds,
        auto_v3=writer.auto_v3,
        modules=tuple(_result(each, targets) for each in results),
    )
    yield MergeProgress(fraction=1.0, stage="done", report=report)


def _keys(recipe: ExtractRecipe, targets: Targets) -> list[ModuleKey]:
    wanted = COMPONENTS if recipe.text_encoders else COMPONENTS[:1]
    kinds = ("linear", "conv") if recipe.layout == "diffusers" else ("linear", "conv", "norm")
    return [key for key, target in targets.modules.items() if key[0] in wanted and target.kind in kinds]


def _extracted(key: ModuleKey, recipe: ExtractRecipe, delta: Delta, targets: Targets, alpha: float) -> Written | None:
    target = targets.modules[key]
    if recipe.layout == "diffusers" or (delta.bias is not None and float(delta.bias.abs().max()) < recipe.smallest):
        delta = changed(delta, bias=None)
    if delta.dense is not None and float(delta.dense.abs().max()) < recipe.smallest:
        delta = changed(delta, dense=None)
    if delta.dense is None and delta.thin is None and delta.bias is None:
        return None
    weighs = delta.dense is not None or delta.thin is not None
    if recipe.kind == "lokr" and weighs and target.kind in ("linear", "conv"):
        return _lokr(key, delta, target, recipe)
    asked = AdapterTarget(kind="lora", reduction=recipe.reduction, layout=recipe.layout, dtype=recipe.dtype)
    rank = recipe.reduction.rank
    if is_kernel(target.shape) and recipe.reduction.conv_rank is not None:
        rank = recipe.reduction.conv_rank
    if delta.dense is not None and recipe.reduction.rule == "rank" and rank is not None and target.kind != "norm":
        found = leading(delta.dense, rank)
        if found is not None:
            return _of_rank(key, delta, found, target, asked, alpha)
    return written_delta(key, delta, None, target, asked, alpha=alpha)


def _of_rank(
    key: ModuleKey,
    delta: Delta,
    found: tuple[Tensor, Tensor, Tensor],
    target: TargetModule,
    asked: AdapterTarget,
    alpha: float,
) -> Written:
    """What `written_delta` says of a truncation that was found by random projection."""
    left, values, right = found
    root = values.sqrt()
    thin = ((left * root).float(), (root.unsqueeze(1) * right).float())
    reduced = changed(delta, thin=thin, dense=None)
    unreduced = asked.model_copy(update={"reduction": None})
    written = written_delta(key, reduced, delta, target, unreduced, alpha=alpha)
    size2 = norm2(delta)
    weight2 = size2 - (float(delta.bias.double().square().sum()) if delta.bias is not None else 0.0)
    energy = float(values.square().sum()) / weight2 if weight2 > 0 else 1.0
    form = changed(written.form, energy=energy, full_rank=delta.full_rank)

    def measure() -> Measured:
        # What is lost counts against the whole difference, not against its truncation.
        error2 = written.measure().parity2
        return Measured(form, error2, size2, error2, size2)

    return Written(form, written.tensors, measure)


def _lokr(key: ModuleKey, delta: Delta, target: TargetModule, recipe: ExtractRecipe) -> Written:
    rows, width, kernel = target.shape[0], target.shape[1], prod(target.shape[2:])
    a, b = _divisor(rows, recipe.factor), _divisor(width, recipe.factor)
    c, d = rows // a, width // b * kernel
    matrix = delta.matrix()
    blocks = matrix.reshape(a, c, b, d).permute(0, 2, 1, 3).reshape(a * b, c * d)
    found = leading(blocks, 1)
    left, values, right = found if found is not None else decomposed(Delta(tuple(blocks.shape), dense=blocks))
    root = float(values[0]) ** 0.5
    dtype = FILE_DTYPES[recipe.dtype]
    first = (left[:, 0] * root).reshape(a, b).to(dtype)
    second = (right[0] * root).reshape(c, width // b, *target.shape[2:]).to(dtype)
    # Whole factors have no rank, so it says nothing; the lycoris library does not open files without it.
    tensors = {"lokr_w1": first, "lokr_w2": second, "alpha": alpha_tensor(1.0, dtype)}
    if delta.bias is not None:
        tensors["diff_b"] = delta.bias.to(dtype)
    size2 = float(matrix.double().square().sum())
    energy = float(values[0].square()) / size2 if size2 else 1.0
    form = Form(key, "LoKr", 0, delta.full_rank, energy, alpha=0.0)

    def measure() -> Measured:
        made = torch.kron(first.double(), second.double().flatten(1))
        error2 = float((made - matrix.double()).square().sum())
        return Measured(form, error2, size2, error2, size2)

    return Written(form, tensors, measure)


def _divisor(side: int, factor: int) -> int:
    """The largest divisor up to the root of a side, and up to `factor` where that is positive."""
    most = isqrt(side) if factor <= 0 else min(factor, isqrt(side))
    return next(each for each in range(most, 0, -1) if side % each == 0)


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
    )
