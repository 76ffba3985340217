"""The rendered pictures of a recipe: made once, kept in one file per set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.sets import SETS, read_names, read_set
from training.errors import RecipeError
from training.files import write_atomically


@dataclass(frozen=True)
class Pictures:
    """`rgba` (N, size, size, 4) uint8, straight alpha; `slugs` names each row."""

    slugs: tuple[str, ...]
    rgba: np.ndarray

    def find(self, slug: str) -> np.ndarray | None:
        """The cut-out of `slug`, or None where this set does not draw it."""
        return self.rgba[self.slugs.index(slug)] if slug in self.slugs else None


def pictures_path(folder: Path, key: str, size: int) -> Path:
    return folder / f"pictures-{key}-{size}.npz"


def render_sets(packages: Path, folder: Path, keys: tuple[str, ...], size: int) -> None:
    """Render every named emoji of the sets `keys` at `size` px into `folder`; finished sets are left alone."""
    names = None
    for key in keys:
        path = pictures_path(folder, key, size)
        if path.exists():
            continue
        if key not in SETS:
            raise RecipeError(f"There is no picture set called {key!r}.", f"Known: {', '.join(SETS)}.")
        names = names or read_names(packages)
        rows = list(read_set(packages, SETS[key], names, size))
        if not rows:
            raise RecipeError(f"The picture set {key} holds no picture that has a name.")
        save_pictures(path, Pictures(tuple(slug for slug, _ in rows), np.stack([rgba for _, rgba in rows])))
        print(f"{key}: {len(rows)} pictures of {size} px", flush=True)


def save_pictures(path: Path, pictures: Pictures) -> None:
    def write(target: Path) -> None:
        np.savez_compressed(target, slugs=np.asarray(pictures.slugs), rgba=pictures.rgba)

    write_atomically(path, write)


def load_pictures(path: Path) -> Pictures:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Pictures(tuple(str(slug) for slug in stored["slugs"]), stored["rgba"])
    except FileNotFoundError as error:
        raise RecipeError(f"{path.name} is not there yet.", "Run `python -m training data` first.") from error
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"{path.name} is damaged.", "Delete it and run `python -m training data` again.") from error
