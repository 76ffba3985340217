"""File names: the seed's form, every field, and that no text leaves the folder or names a device."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.images.names import FIELDS, check_pattern, file_name, free_name
from engine.protocol.specs import GenerationSpec, OutputOptions

WHEN = datetime(2026, 3, 4, 5, 6, 7)
ID = "89abcdef012345670123456789abcdef"
SPEC = GenerationSpec(
    prompt="A cat: on/under a mat?",
    seed=5,
    steps=20,
    guidance=7.5,
    width=512,
    height=768,
    sampler="euler",
    schedule="karras",
    clip_skip=2,
    vae="soft",
)


def name(pattern: str | None, spec: GenerationSpec = SPEC, model: str = "starter-kit", image_id: str = ID) -> str:
    return file_name(pattern, model=model, seed=5, when=WHEN, image_id=image_id, spec=spec, index=3)


def test_the_default_pattern_is_the_seeds_form() -> None:
    assert name(None) == "starter_kit_20260304_050607_89abcdef.png"
    assert re.fullmatch(r"[a-z_]+_\d{8}_\d{6}_[0-9a-f]{8}\.png", name("{model}_{date}_{time}_{id}"))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("model", "starter_kit"),
        ("date", "20260304"),
        ("time", "050607"),
        ("year", "2026"),
        ("month", "03"),
        ("day", "04"),
        ("id", "89abcdef"),
        ("seed", "5"),
        ("index", "3"),
        ("prompt", "A_cat_on_under_a_mat"),
        ("sampler", "euler"),
        ("schedule", "karras"),
        ("steps", "20"),
        ("guidance", "7.5"),
        ("width", "512"),
        ("height", "768"),
        ("clip_skip", "2"),
        ("vae", "soft"),
    ],
)
def test_every_field(field: str, text: str) -> None:
    assert name(f"x{{{field}}}-{{id}}") == f"x{text}-89abcdef.png"


def test_every_field_is_tested_and_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "file-formats.md").read_text(encoding="utf-8")
    for field in FIELDS:
        assert f"`{{{field}}}`" in page


@pytest.mark.parametrize(("image_format", "suffix"), [("png", ".png"), ("webp", ".webp"), ("jpeg", ".jpg")])
def test_the_suffix_follows_the_format(image_format: str, suffix: str) -> None:
    spec = SPEC.model_copy(update={"output": OutputOptions.model_validate({"format": image_format})})
    assert name("{id}", spec) == f"89abcdef{suffix}"


def test_a_pattern_without_the_id_gets_it() -> None:
    assert name("{seed}") == "5_89abcdef.png"


@pytest.mark.parametrize(
    ("pattern", "hint"), [("{sed}", "{seed}"), ("{Prompt}", "{prompt}"), ("{zzzzzz}", "Known fields"), ("{}", "Known")]
)
def test_an_unknown_field_names_the_nearest(pattern: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_pattern(pattern)
    assert caught.value.code == "bad_request"
    assert hint in caught.value.hint


@pytest.mark.parametrize("pattern", ["{seed", "seed}", "{{seed}}", "x" * 301, "{seed.__class__}", "{seed!r:>9999999}"])
def test_other_wrong_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(SpecError) as caught:
        name(pattern)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("device", ["CON", "nul", "Com1", "LPT9", "aux.txt", "COM²", "conin$"])
def test_device_names_of_windows_are_changed(device: str) -> None:
    made = name("{prompt}", SPEC.model_copy(update={"prompt": device}), image_id="")
    assert not made.lower().startswith(device.lower() + ".")
    assert name("{model}.{id}", model="nul") == "_nul.89abcdef.png"


@given(st.text(max_size=300), st.text(max_size=50), st.text(max_size=40))
@example("../../etc/passwd", "..", "/")
@example("🐈" * 300, "c:\\x", "..")
@example("\u202egnp.exe", " . ", "a" * 300)
def test_no_text_leaves_the_folder(prompt: str, model: str, image_id: str) -> None:
    spec = SPEC.model_copy(update={"prompt": prompt})
    for pattern in ("{prompt}", "{model}/{prompt}", "../{prompt}/{id}", "{prompt}{prompt}{prompt}{model}", ".{model}"):
        made = name(pattern, spec, model, image_id)
        assert Path(made).name == made
        assert PureWindowsPath(made).name == made
        assert not PureWindowsPath(made).drive
        assert not made.startswith((".", "-"))
        assert not re.search(r'[<>:"/\\|?*#%&\s\x00-\x1f]', made)
        assert len(made.encode()) <= 190
        assert not made.removesuffix(".png").endswith((".", " "))
        assert made.endswith(".png")


def test_a_long_name_keeps_its_id() -> None:
    made = name("{prompt}_{prompt}_{prompt}_{prompt}_{id}", SPEC.model_copy(update={"prompt": "猫" * 200}))
    assert made.endswith("_89abcdef.png")


def test_a_taken_name_gets_the_whole_id(tmp_path: Path) -> None:
    assert free_name(tmp_path, "a.png", ID) == "a.png"
    (tmp_path / "a.png").touch()
    assert free_name(tmp_path, "a.png", ID) == f"a_{ID}.png"
