"""Detectors: the networks of preprocessors, read from their files."""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from engine.control.preprocessors.base import Preprocessor
from engine.errors import ControlError


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
        why = (str(error).strip().splitlines() or ["the file is empty"])[0][:200].rstrip(".")
        raise ControlError(
            "annotator_unusable",
            f"The weights of {what.title}, {names}, cannot be read: {why}.",
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
