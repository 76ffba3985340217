"""The walk through the model folders: each thing once, under the first root that holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.library.identity import AdapterFacts
from engine.library.layouts import FoundFolder
from engine.library.names import unique_ids
from engine.library.scan import state_of
from engine.library.walk import walk


def write(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 8)


def names(*roots: FoundFolder) -> list[tuple[str, str]]:
    return [(place.path.name, place.root.kind) for place in walk(roots)]


def test_a_file_belongs_to_the_first_root_that_holds_it(tmp_path: Path) -> None:
    write(tmp_path / "loras" / "b.safetensors", tmp_path / "loras" / "deep" / "a.safetensors", tmp_path / "c.ckpt")
    loras, everything = FoundFolder("adapter", tmp_path / "loras", ""), FoundFolder("unknown", tmp_path, "")
    assert names(loras, everything) == [
        ("b.safetensors", "adapter"),
        ("a.safetensors", "adapter"),
        ("c.ckpt", "unknown"),
    ]
    assert {kind for _, kind in names(everything, loras)} == {"unknown"}


def test_a_root_that_takes_more_endings_looks_again(tmp_path: Path) -> None:
    write(tmp_path / "embeddings" / "a.bin", tmp_path / "embeddings" / "b.pt")
    everything = FoundFolder("unknown", tmp_path, "")
    embeddings = FoundFolder("embedding", tmp_path / "embeddings", "")
    assert names(everything, embeddings) == [("b.pt", "unknown"), ("a.bin", "embedding")]
    assert names(embeddings, everything) == [("a.bin", "embedding"), ("b.pt", "embedding")]


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    write(tmp_path / "models" / "a.safetensors", tmp_path / "elsewhere" / "b.safetensors")
    try:
        (tmp_path / "models" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError as error:
        pytest.skip(f"no links can be made here: {error}")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "models", target_is_directory=True)
    (tmp_path / "models" / "again.safetensors").symlink_to(tmp_path / "elsewhere" / "b.safetensors")
    (tmp_path / "models" / "nowhere.safetensors").symlink_to(tmp_path / "gone")
    root = FoundFolder("adapter", tmp_path / "models", "")
    places = {place.path.name: place for place in walk([root])}
    assert set(places) == {"a.safetensors", "again.safetensors", "nowhere.safetensors"}
    assert places["nowhere.safetensors"].state is None


def test_what_the_walk_passed_has_the_state_that_is_asked_for_later(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", tmp_path / "A.Preview.png", tmp_path / ".hidden.safetensors")
    (place,) = walk([FoundFolder("adapter", tmp_path, "")])
    assert place.state == state_of(place.path)
    assert place.beside == ("A.Preview.png",)


def test_the_dot_of_a_folders_name_is_no_ending(tmp_path: Path) -> None:
    folder, file = tmp_path / "sd-v1.5", tmp_path / "ink.safetensors"
    folder.mkdir()
    write(file)
    assert unique_ids([folder, file, tmp_path / "deep" / "ink.safetensors"]) == ["sd-v1.5", "ink", "deep/ink"]


def test_the_first_tags_are_those_of_all() -> None:
    facts = AdapterFacts(tag_lines="ink\t30\nblack and white\t4\npaper\t1")
    assert facts.first_tags(2) == ("ink", "black and white")
    assert facts.first_tags(9) == tuple(tag for tag, _ in facts.tags())
    assert AdapterFacts().first_tags(3) == ()
