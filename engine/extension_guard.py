"""The extension guard: an extension's own code may raise whatever it likes, and the engine goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import StudioError
from engine.extension_folder import place_of


def guard(action: Callable[[], Any]) -> tuple[str, str]:
    """Run an extension's own code. Returns ("", "") or a sentence and the place in the extension's code.

    This is the extension guard: the one place of the engine where any exception of an extension is caught.
    """
    try:
        action()
    except StudioError as error:
        return str(error), place_of(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the extension guard
        return f"{type(error).__name__}: {error}".rstrip(": ") + ".", place_of(error)
    return "", ""
