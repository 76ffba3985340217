"""The folders that people are told to put models into are there, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from engine.library.roots import OWN_FOLDERS, make_own_folders
from engine.server.runtime import Runtime
from engine.settings import ROOT, Settings
from tests.support.nobody import as_nobody


def settings_of(data: Path, models: str = "models") -> Settings:
    return Settings.model_validate({"paths": {"data": str(data), "models": models}})


def folders(place: Path) -> set[str]:
    return {entry.name for entry in place.iterdir()}


def test_a_studio_that_starts_makes_them(tmp_path: Path) -> None:
    runtime = Runtime(settings_of(tmp_path), extensions=None)
    try:
        assert folders(tmp_path / "models") == set(OWN_FOLDERS)
    finally:
        runtime.stop()


def test_they_are_those_of_the_documentation() -> None:
    table = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("\n\n## What can be used")[0]
    assert set(re.findall(r"`(\w+)/`", table)) - {"models", "starter"} == set(OWN_FOLDERS)


def test_a_models_folder_elsewhere_is_left_alone(tmp_path: Path) -> None:
    data, others = tmp_path / "data", tmp_path / "others"
    data.mkdir()
    others.mkdir()
    make_own_folders(settings_of(data, str(others)))
    (data / "models").symlink_to(others)
    make_own_folders(settings_of(data))
    assert folders(others) == set()
    make_own_folders(settings_of(data, str(tmp_path / "unplugged")))
    assert not (tmp_path / "unplugged").exists()


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with as_nobody():
        make_own_folders(settings_of(tmp_path))
    tmp_path.chmod(0o755)
    assert folders(tmp_path) == set()
