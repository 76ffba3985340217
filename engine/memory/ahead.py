"""LoadAhead: models that a person asked for before any picture needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.errors import StudioError
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.memory.named import too_large

Load = Callable[[ModelEntry], None]


class LoadAhead:
    """May be asked from any thread; the worker loads between its turns.

    Args:
        weights: bytes that a model takes when it is loaded. room: bytes that models may take; None while that is not
            known yet.
        tell: adds a line to the panel's log.
    """

    def __init__(
        self,
        library: Library,
        weights: Callable[[ModelEntry], int],
        room: Callable[[], int | None],
        tell: Callable[[str, str], None],
    ) -> None:
        self._library, self._weights, self._room, self._tell = library, weights, room, tell
        self._post: Callable[[Callable[[], None]], None] | None = None
        self._load: Load | None = None
        self._waiting: list[ModelEntry] = []
        self._guard = threading.Lock()

    def attach(self, post: Callable[[Callable[[], None]], None], load: Load) -> None:
        """From now on there is a worker: `post` gives it work to do soon, `load` leases all parts of a model once."""
        self._post, self._load = post, load
        for entry in self._pending():
            self._hand_over(entry)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Titles of the models that are asked for and not there yet."""
        return tuple(entry.view.title for entry in self._pending())

    def ask(self, model: str) -> None:
        """Load a model soon. Raises SpecError, ModelFileError; OutOfMemoryError where it can never fit."""
        entry = self._library.find_model(model)
        need, room = self._weights(entry), self._room()
        if room is not None and need > room:
            raise too_large(entry.view.title, need, room)
        with self._guard:
            if any(each.view.id == entry.view.id for each in self._waiting):
                return
            self._waiting.append(entry)
        if self._post is not None:
            self._hand_over(entry)

    def _pending(self) -> tuple[ModelEntry, ...]:
        with self._guard:
            return tuple(self._waiting)

    def _hand_over(self, entry: ModelEntry) -> None:
        assert self._post is not None
        self._post(lambda: self._now(entry))

    def _now(self, entry: ModelEntry) -> None:
        """On the worker's thread. What goes wrong is told: nobody waits for an answer."""
        try:
            if self._load is not None:
                self._load(entry)
        except StudioError as error:
            self._tell("refused", str(error))
        finally:
            with self._guard:
                self._waiting = [each for each in self._waiting if each.view.id != entry.view.id]
