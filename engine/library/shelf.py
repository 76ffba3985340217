"""Shelf: one state of the whole library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.library.adapter_shelf import AdapterShelf
from engine.library.entries import ModelEntry
from engine.library.scan import Found
from engine.protocol.library import FileView


@dataclass(frozen=True)
class Shelf:
    """Replaced as a whole, so that readers in other threads need no lock. `found` is what it was arranged from."""

    models: tuple[ModelEntry, ...] = ()
    files: tuple[tuple[FileView, Found], ...] = ()
    found: tuple[Found, ...] = ()
    adapters: AdapterShelf = field(default_factory=AdapterShelf)

    @property
    def views(self) -> tuple[object, ...]:
        """Everything that a person could see, to compare two states."""
        models = tuple(entry.view for entry in self.models)
        return models, tuple(view for view, _ in self.files), tuple(entry.view for entry in self.adapters.entries)

    def with_hashes(self, known: Mapping[str, tuple[str, str]]) -> Shelf:
        """The same with hashes that came later: path → (SHA-256, AutoV3)."""
        kinds = {each.kind for each in self.found if str(each.path) in known}
        return Shelf(
            tuple(
                replace(entry, view=entry.view.model_copy(update={"hash": known[str(entry.path)][0]}))
                if str(entry.path) in known
                else entry
                for entry in self.models
            ),
            tuple(
                (view.model_copy(update={"hash": known[str(each.path)][0]}), _hashed(each, known))
                if str(each.path) in known
                else (view, each)
                for view, each in self.files
            ),
            tuple(_hashed(each, known) if str(each.path) in known else each for each in self.found),
            self.adapters.with_hashes(known) if "adapter" in kinds else self.adapters,
        )


def _hashed(found: Found, known: Mapping[str, tuple[str, str]]) -> Found:
    sha256, auto_v3 = known[str(found.path)]
    return replace(found, hash=sha256, auto_v3=auto_v3)
