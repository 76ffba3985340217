"""Annotators: the weights of preprocessors: where they are looked for, and what to say when they are not there."""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

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


def load_detector(what: Preprocessor, paths: Sequence[Path], device: torch.device | str) -> Any:
    """The detector of a preprocessor, in float32. Call `guard_torchvision` before.

    Raises:
        ControlError: `annotator_unusable`.
    """
    if what.load is None:
        raise AssertionError(f"{what.id} has no weights")
    try:
        # controlnet-aux and timm say much at their import that nobody here can change.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode(False):
            warnings.simplefilter("ignore")
            detector = what.load(paths)
            for module in modules_of(detector):
                module.eval().requires_grad_(False)
            return detector.to(device)
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError, ValueError, TypeError, OSError) as error:
        names = " or ".join(path.name for path in paths)
        raise ControlError(
            "annotator_unusable",
            f"The weights of {what.title}, {names}, cannot be read: {str(error).splitlines()[0][:200]}.",
            "Fetch the file again.",
        ) from error


def modules_of(detector: Any) -> list[torch.nn.Module]:
    """The networks inside a detector of controlnet-aux."""
    found: list[torch.nn.Module] = []
    for value in vars(detector).values():
        if isinstance(value, torch.nn.Module):
            found.append(value)
        elif type(value).__module__.startswith("controlnet_aux"):
            found += modules_of(value)
    return found


def detector_bytes(detector: Any) -> int:
    """Bytes of a detector's weights."""
    tensors = (tensor for module in modules_of(detector) for tensor in (*module.parameters(), *module.buffers()))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
