"""Any recipe run: an iterator that yields between modules, so that whoever runs it can do other work in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.merge.adapters import run_merge
from engine.merge.bake import run_bake
from engine.merge.checkpoints import run_checkpoints
from engine.merge.convert import run_convert
from engine.merge.details import require_details
from engine.merge.extract import run_extract
from engine.merge.files import RecipeFiles
from engine.merge.methods.base import MergeMethod
from engine.merge.methods.table import own_methods
from engine.protocol.merge import AnyRecipe
from engine.protocol.merge_reports import MergeProgress


def run(
    recipe: AnyRecipe,
    files: RecipeFiles,
    out: Path,
    *,
    replace: bool = False,
    methods: Mapping[str, MergeMethod] | None = None,
) -> Iterator[MergeProgress]:
    """Do what the recipe says. The last progress has the report; closing the iterator early leaves nothing behind.

    Args:
        files: what the recipe's names stand for.
        out: the file to make (for a baked or merged diffusers model, the folder).
        replace: a file of that name may be overwritten.
        methods: the merge methods there are; Easel's own where nothing is said.

    Raises:
        MergeError, AdapterError, ModelFileError, ConflictError, StorageError: nothing is left behind.
    """
    require_details(recipe.metadata)
    if recipe.task == "merge":
        return run_merge(recipe, files, out, own_methods() if methods is None else methods, replace=replace)
    if recipe.task == "bake":
        return run_bake(recipe, files, out, replace=replace)
    if recipe.task == "extract":
        return run_extract(recipe, files, out, replace=replace)
    if recipe.task == "convert":
        return run_convert(recipe, files, out, replace=replace)
    return run_checkpoints(recipe, files, out, replace=replace)
