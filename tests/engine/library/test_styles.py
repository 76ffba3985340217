"""styles.csv as A1111 writes it, and that saving loses nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError, SpecError, StorageError
from engine.library.styles import StyleFile, apply_styles
from engine.protocol.commands import Style

FILE = (
    "\ufeffname,prompt,negative_prompt\r\n"
    "# my styles,,\r\n"
    'Film,"{prompt}, 35mm, grain","cartoon, 3d"\r\n'
    "Ink,ink drawing,\r\n"
    'Lines,"one\ntwo",bad\r\n'
)


def styles(path: Path, text: str = FILE) -> StyleFile:
    path = path / "styles.csv"
    path.write_bytes(text.encode("utf-8"))
    return StyleFile(path)


def test_the_file_is_read(tmp_path: Path) -> None:
    assert styles(tmp_path).load() == [
        Style(name="Film", prompt="{prompt}, 35mm, grain", negative_prompt="cartoon, 3d"),
        Style(name="Ink", prompt="ink drawing"),
        Style(name="Lines", prompt="one\ntwo", negative_prompt="bad"),
    ]


def test_the_old_header_is_read_and_written_new(tmp_path: Path) -> None:
    file = styles(tmp_path, "name,text\nOld,oil painting\n")
    assert file.load() == [Style(name="Old", prompt="oil painting")]
    file.save(Style(name="New", prompt="x"))
    assert (tmp_path / "styles.csv").read_text("utf-8-sig").splitlines() == [
        "name,prompt,negative_prompt", "Old,oil painting,", "New,x,",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "prompt", "negative", "expected"),
    [
        (["Film"], "a cat", "", ("a cat, 35mm, grain", "cartoon, 3d")),
        (["Ink"], "a cat", "dog", ("a cat, ink drawing", "dog")),
        (["Ink", "Film"], "a cat", "dog", ("a cat, ink drawing, 35mm, grain", "dog, cartoon, 3d")),
        (["Ink"], "", "", ("ink drawing", "")),
        ([], "a cat", "dog", ("a cat", "dog")),
    ],
)
def test_styles_are_applied(
    tmp_path: Path, names: list[str], prompt: str, negative: str, expected: tuple[str, str]
) -> None:
    assert apply_styles(styles(tmp_path).pick(names), prompt, negative) == expected


def test_a_prompt_with_braces_is_not_a_pattern() -> None:
    style = Style(name="s", prompt="{prompt} {0} %s")
    assert apply_styles([style], "{x} {prompt}", "") == ("{x} {prompt} {0} %s", "")


def test_an_unknown_style_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        styles(tmp_path).pick(["Flim"])
    assert caught.value.code == "style_unknown"
    assert "Film" in caught.value.hint
    with pytest.raises(SpecError):
        styles(tmp_path).delete("# my styles")


def test_saving_replaces_in_place_keeps_comments_and_further_columns_and_a_copy(tmp_path: Path) -> None:
    before = FILE.replace("negative_prompt\r\n", "negative_prompt,note\r\n").replace(
        "Ink,ink drawing,", "Ink,ink drawing,,mine"
    )
    file = styles(tmp_path, before)
    file.save(Style(name="Ink", prompt="pen, ink", negative_prompt="colour"))
    text = (tmp_path / "styles.csv").read_bytes().decode()
    assert text.startswith("\ufeffname,prompt,negative_prompt,note\r\n# my styles,,,\r\n")
    assert 'Ink,"pen, ink",colour,mine\r\n' in text
    assert [style.name for style in file.load()] == ["Film", "Ink", "Lines"]
    assert (tmp_path / "styles.csv.bak").read_bytes().decode() == before
    file.delete("Film")
    assert [style.name for style in file.load()] == ["Ink", "Lines"]
    assert (tmp_path / "styles.csv.bak").read_bytes().decode() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["styles.csv", "styles.csv.bak"]


def test_of_two_with_one_name_the_last_counts_and_is_the_one_that_is_saved(tmp_path: Path) -> None:
    file = styles(tmp_path, "name,prompt,negative_prompt\na,1,\nb,2,\na,3,\n")
    assert file.load() == [Style(name="a", prompt="3"), Style(name="b", prompt="2")]
    file.save(Style(name="a", prompt="4"))
    assert file.load()[0].prompt == "4"
    file.delete("a")
    assert [style.name for style in file.load()] == ["b"]


def test_no_file_and_an_empty_one_have_no_styles(tmp_path: Path) -> None:
    assert StyleFile(tmp_path / "none.csv").load() == []
    assert styles(tmp_path, "").load() == []
    StyleFile(tmp_path / "new" / "styles.csv").save(Style(name="a", prompt="b"))
    assert (tmp_path / "new" / "styles.csv").exists()


@pytest.mark.parametrize("text", ["something,else\n1,2\n", "<html>\n"])
def test_another_table_is_a_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        styles(tmp_path, text).load()
    assert caught.value.code == "config_unreadable"


def test_a_spreadsheets_encoding_is_read(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_bytes("name,prompt\nCafé,été\n".encode("cp1252"))
    assert StyleFile(tmp_path / "styles.csv").load() == [Style(name="Café", prompt="été")]


@pytest.mark.parametrize("name", ["", "  ", "#x"])
def test_names_that_cannot_be_styles(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        styles(tmp_path).save(Style(name=name))
    assert caught.value.code == "bad_request"


def test_a_style_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        styles(tmp_path).save(Style(name="x", prompt="y" * 20_001))
    assert caught.value.code == "prompt_too_long"


def test_a_folder_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").mkdir()
    with pytest.raises(StorageError):
        StyleFile(tmp_path / "styles.csv").save(Style(name="a"))


words = st.text(max_size=40)


@given(st.lists(st.builds(Style, name=words, prompt=words, negative_prompt=words), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_styles_survive_saving(tmp_path: Path, wanted: list[Style]) -> None:
    path = tmp_path / "styles.csv"
    path.unlink(missing_ok=True)
    file = StyleFile(path)
    expected: dict[str, Style] = {}
    for style in wanted:
        name = style.name.strip()
        if name and not name.startswith("#"):
            file.save(style)
            expected[name] = style.model_copy(update={"name": name})
    assert file.load() == list(expected.values())
    if expected:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            assert [row["name"] for row in csv.DictReader(stream)] == list(expected)
