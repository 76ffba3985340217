"""The concept list: which emoji are learnt, under which words, and which of them in other colours."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from training.errors import RecipeError


@dataclass(frozen=True)
class Concepts:
    """`words`: slug → names, the usual one first. `recoloured`: slugs that also appear in each of `colours`."""

    words: dict[str, tuple[str, ...]]
    recoloured: tuple[str, ...]
    colours: tuple[str, ...]


def read_concepts(path: Path, only: tuple[str, ...] = ()) -> Concepts:
    """The list in `path`, or those of it whose slugs are in `only`.

    Raises `RecipeError` for a missing file, an unknown slug in `only`, an empty word or a recoloured
    slug that is not a concept.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"The concept list {path.name} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"The concept list {path.name} is not valid TOML: {error}.") from error
    words = {slug: tuple(name.strip() for name in names) for slug, names in table.get("concepts", {}).items()}
    for slug, names in words.items():
        if not names or not all(names):
            raise RecipeError(
                f"The concept {slug!r} in {path.name} has an empty caption.", "Give it at least one word."
            )
    recolour = table.get("recolour", {})
    recoloured = tuple(recolour.get("slugs", ()))
    unknown = [slug for slug in recoloured if slug not in words]
    if unknown:
        raise RecipeError(f"{path.name} wants to recolour {unknown[0]!r}, which is not among its concepts.")
    stray = [slug for slug in only if slug not in words]
    if stray:
        raise RecipeError(f"The recipe wants {stray[0]!r}, which {path.name} does not hold.")
    if only:
        words = {slug: names for slug, names in words.items() if slug in only}
        recoloured = tuple(slug for slug in recoloured if slug in only)
    return Concepts(words, recoloured, tuple(recolour.get("colours", ())))
