"""A result that is there already: its run was broken off between the naming of the file and the end of the job."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ModelFileError
from engine.library.headers import read_header
from engine.merge.beside import copy_beside
from engine.merge.files import RecipeFiles, portable
from engine.merge.provenance import RECIPE_KEY, recipe_text
from engine.protocol.merge import AnyRecipe


def made_already(recipe: AnyRecipe, files: RecipeFiles, out: Path) -> bool:
    """Whether `out` was made by this very recipe. What belongs beside a model is laid there then, if it is missing.

    A result takes its name only when it is whole, so what bears the name and holds the recipe needs nothing more. A
    folder is known by any of its parts whose weights were written.
    """
    candidates = sorted(out.glob("*/*.safetensors")) if out.is_dir() else [out]
    wanted = recipe_text(portable(recipe))
    if not any(_recipe_in(file) == wanted for file in candidates):
        return False
    if recipe.task in ("bake", "checkpoint") and not out.is_dir():
        first = recipe.model if recipe.task == "bake" else recipe.inputs[0].name
        copy_beside(files.models[first].path, out)
    return True


def _recipe_in(file: Path) -> str | None:
    """None also where it is no safetensors file, or gone."""
    try:
        return read_header(file).metadata.get(RECIPE_KEY)
    except ModelFileError:
        return None
