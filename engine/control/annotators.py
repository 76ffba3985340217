"""Annotators: the weights of preprocessors: where they are looked for, and what to say when they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.control.preprocessors.base import AnnotatorFile, Preprocessor
from engine.errors import ControlError


class AnnotatorFiles:
    """Looks in `models/annotators/`, then in the user's hub cache; never fetches anything.

    Args:
        folders: the folders, the user's own first.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def find(self, file: AnnotatorFile) -> Path | None:
        """Where the file lies; None: nowhere."""
        for folder in self._folders:
            for path in (folder / file.name, folder / file.repo.replace("/", "--") / file.name):
                if path.is_file():
                    return path
            if folder.is_dir():
                found = next((path for path in sorted(folder.glob(f"*/{file.name}")) if path.is_file()), None)
                if found is not None:
                    return found
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(file.repo, file.name)
        return Path(cached) if isinstance(cached, str) and Path(cached).is_file() else None

    def missing(self, what: Preprocessor) -> str:
        """Why the preprocessor cannot run here, in a sentence; "" where it can."""
        if what.unavailable:
            return what.unavailable
        absent = [file for file in what.files if self.find(file) is None]
        return _sentence(what, absent) if absent else ""

    def paths(self, what: Preprocessor) -> list[Path]:
        """The files of a preprocessor, in its order.

        Raises:
            ControlError: `preprocessor_unavailable`, `annotator_missing`.
        """
        if what.unavailable:
            raise ControlError("preprocessor_unavailable", what.unavailable, _other(what))
        found = [(file, self.find(file)) for file in what.files]
        absent = [file for file, path in found if path is None]
        if absent:
            raise ControlError("annotator_missing", _sentence(what, absent), _other(what))
        return [path for _, path in found if path is not None]


def _sentence(what: Preprocessor, absent: Sequence[AnnotatorFile]) -> str:
    names = " and ".join(file.name for file in absent)
    repos = ", ".join(dict.fromkeys(f"https://huggingface.co/{file.repo}" for file in absent))
    return (
        f"{what.title} needs {names} from {repos}: put {'it' if len(absent) == 1 else 'them'} into models/annotators."
    )


def _other(what: Preprocessor) -> str:
    usual = {
        "lineart": "lineart_standard",
        "scribble": "scribble_edges",
        "softedge": "lineart_standard",
    }
    other = next((usual[kind] for kind in what.types if kind in usual), "")
    return f"{other} works without weights." if other else "Or give a picture that is a hint already."
