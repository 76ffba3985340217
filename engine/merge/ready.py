"""A recipe looked at before it is queued: what names and headers tell is refused at once, not by a run that fails."""

from __future__ import annotations

from collections.abc import Mapping

from engine.merge.bake import bakeable
from engine.merge.checkpoints import alike
from engine.merge.convert import convertible
from engine.merge.details import require_details
from engine.merge.extract import difference_of
from engine.merge.files import RecipeFiles
from engine.merge.methods.base import MergeMethod
from engine.merge.prepared import prepare
from engine.protocol.merge import AnyRecipe


def require_ready(recipe: AnyRecipe, files: RecipeFiles, methods: Mapping[str, MergeMethod]) -> None:
    """Refuse what the run would refuse before it reads a weight. Only headers are read.

    Raises:
        MergeError, AdapterError, ModelFileError: one sentence each.
    """
    require_details(recipe.metadata)
    if recipe.task == "merge":
        prepare(recipe, files, methods)
    elif recipe.task == "bake":
        bakeable(recipe, files)
    elif recipe.task == "extract":
        difference_of(recipe, files)
    elif recipe.task == "convert":
        convertible(recipe, files)
    else:
        alike(recipe, files)
