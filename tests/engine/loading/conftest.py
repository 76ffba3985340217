"""Tiny real models for the loading tests, written once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.library.entries import ModelEntry
from engine.library.layouts import FoundFolder
from engine.library.models import FamilyConfigs, Naming, build_entry
from engine.library.scan import look_at
from tests.support.network import block_network
from tests.support.tiny_models import write_single_file, write_tiny_sd1, write_tiny_sd2, write_tiny_sdxl

EntryOf = Callable[[Path], ModelEntry]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sd1, sd2 and sdxl, each as a diffusers folder and as `<family>.safetensors`."""
    base = tmp_path_factory.mktemp("tiny")
    for write in (write_tiny_sd1, write_tiny_sd2, write_tiny_sdxl):
        name = write.__name__.removeprefix("write_tiny_")
        write_single_file(write(base / name), base / f"{name}.safetensors")
    return base


@pytest.fixture
def entry_of() -> EntryOf:
    """The library's entry of one file or folder, whatever its problem."""

    def make(path: Path) -> ModelEntry:
        found = look_at(path, FoundFolder("checkpoint", path.parent, ""))
        return build_entry(found, Naming(path.stem), FamilyConfigs())

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket can be made while the test runs."""
    block_network(monkeypatch)
