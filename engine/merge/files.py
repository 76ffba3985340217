"""What the names in a recipe stand for: files of adapters and entries of models, found by whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import ModelFileError
from engine.library.entries import ModelEntry
from engine.protocol.merge import AnyRecipe, MergeInput


@dataclass(frozen=True)
class RecipeFiles:
    """Names as the recipe has them → what they are."""

    adapters: Mapping[str, Path] = field(default_factory=dict)
    models: Mapping[str, ModelEntry] = field(default_factory=dict)

    def model(self, name: str) -> ModelEntry:
        """A model that can be used.

        Raises:
            ModelFileError: its problem.
        """
        entry = self.models[name]
        if entry.view.problem:
            raise ModelFileError(entry.problem_code or "model_file_unsupported", entry.view.problem)
        return entry


def names_of(recipe: AnyRecipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names of adapters, names of models) that a recipe needs."""
    if recipe.task == "merge":
        return _names(recipe.inputs), (recipe.base,) if recipe.base else ()
    if recipe.task == "convert":
        return (recipe.input,), (recipe.base,) if recipe.base else ()
    if recipe.task == "bake":
        return _names(recipe.inputs), (recipe.model,)
    if recipe.task == "extract":
        return _names(recipe.inputs), (recipe.tuned, recipe.base) if recipe.tuned else (recipe.base,)
    return (), _names(recipe.inputs)


def portable(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe as it is kept inside a file: paths of this machine become bare names."""
    values = recipe.model_dump()
    for field_name in ("base", "tuned", "model", "input"):
        if values.get(field_name):
            values[field_name] = _bare(values[field_name])
    if "inputs" in values:
        values["inputs"] = [{**each, "name": _bare(each["name"])} for each in values["inputs"]]
    return type(recipe).model_validate(values)


def _names(inputs: tuple[MergeInput, ...]) -> tuple[str, ...]:
    return tuple(each.name for each in inputs)


def _bare(name: str) -> str:
    path = Path(name)
    return path.name.removesuffix(".safetensors") if path.is_absolute() or path.suffix == ".safetensors" else name
