"""Write files so that a crash, a full disk or Ctrl-C never leaves half of one under its final name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from training.errors import RecipeError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write` fills a temporary neighbour, which then takes the name `path`. Raises `RecipeError` on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # each library has its own word for a full disk
        raise RecipeError(f"{path.name} could not be written: {error}.", "Is the disk full?") from error
    finally:
        temporary.unlink(missing_ok=True)
