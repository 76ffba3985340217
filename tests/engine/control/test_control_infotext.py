"""ControlNet units in infotext: written, read back, and read from A1111's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.control.preprocessors.table import preprocessor
from engine.errors import ControlError
from engine.images.draft import Lookups
from engine.images.infotext import spec_from_infotext, write_infotext
from engine.images.infotext_grammar import parse_infotext
from engine.protocol.specs import ControlUnit, GenerationSpec

SPEC = GenerationSpec(
    prompt="a cat", negative_prompt="", steps=5, guidance=5.0, sampler="euler", seed=1, width=64, height=64
)
ASSET = "asset:" + "ab" * 32
A1111 = (
    "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, "
    'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 0.8, Resize Mode: Resize and '
    "Fill, Processor Res: 512, Threshold A: 64.0, Threshold B: 192.0, Guidance Start: 0.1, Guidance End: 0.7, Pixel "
    'Perfect: False, Control Mode: ControlNet is more important", ControlNet 1: "Module: lineart_standard (from white '
    'bg & black line), Model: control_v11p_sd15_lineart, Weight: 1.0, Pixel Perfect: True, Control Mode: Balanced", '
    "Version: v1.10.1"
)


def known(name: str) -> tuple[str, tuple[str, ...]] | None:
    try:
        what = preprocessor(name)
    except ControlError:
        return None
    return what.id, tuple(each.name for each in what.parameters)


LOOKUPS = Lookups(
    find_control=lambda name, digest: None if "gone" in name else name,
    find_preprocessor=known,
    has_asset=lambda ref: ref == ASSET,
)


def written(*units: ControlUnit, **hashes: str) -> str:
    spec = SPEC.model_copy(update={"controls": units})
    return write_infotext(spec, model_title="m", model_hash="", version="1", controls=hashes)


def controls(text: str, lookups: Lookups = LOOKUPS) -> tuple[ControlUnit, ...]:
    spec = spec_from_infotext(text, lookups=lookups).spec
    assert spec is not None
    return spec.controls


UNIT = ControlUnit(
    model="canny", image=ASSET, preprocessor="canny", parameters={"low": 64.0, "high": 192.0}, weight=0.8, start=0.1,
    end=0.7, ramp="cosine", resize="fill", mode="control", percent_rule="sigma",
)  # fmt: skip


def test_a1111_reads_what_is_written() -> None:
    fields = parse_infotext(written(UNIT, canny="CD" * 32))
    assert fields["ControlNet 0"] == (
        "Module: canny, Model: canny [cdcdcdcd], Weight: 0.8, Resize Mode: Resize and Fill, Threshold A: 64, "
        "Threshold B: 192, Guidance Start: 0.1, Guidance End: 0.7, Pixel Perfect: True, "
        "Control Mode: ControlNet is more important"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resolution": 384},
        {"mode": "guess", "ramp": "linear_in"},
        {"model": 'odd, Weight: 7, "quoted": name\nin two lines'},
        {"preprocessor": "scribble_edges", "parameters": {"smoothing": 2.0, "threshold": 90.0, "thickness": 3.0}},
        {"preprocessor": "none", "parameters": {}, "resize": "stretch", "mode": "prompt"},
    ],
)
def test_units_come_back_from_the_infotext_alone(changes: dict[str, Any]) -> None:
    unit = UNIT.model_copy(update=changes)
    second = ControlUnit(model="depth", image=ASSET)
    keep = Lookups(find_preprocessor=known)
    found = controls(written(unit, second), keep)
    wanted = unit.model_copy(update={"model": unit.model}) if "\n" not in unit.model else found[0]
    assert found == (wanted, second)
    assert found[0].weight == 0.8


def test_muted_units_are_not_written() -> None:
    text = written(UNIT.model_copy(update={"muted": True}))
    assert "ControlNet" not in text
    assert "controls" not in text


def test_a1111s_units_are_read_and_switched_off_without_a_picture() -> None:
    first, second = controls(A1111)
    assert first == ControlUnit(
        model="control_v11p_sd15_canny", image="", preprocessor="canny", parameters={"low": 64.0, "high": 192.0},
        weight=0.8, start=0.1, end=0.7, resize="fill", mode="control", resolution=512, muted=True,
    )  # fmt: skip
    assert second.preprocessor == "lineart_standard"
    assert second.resolution is None
    assert second.muted
    said = [notice.message for notice in spec_from_infotext(A1111, lookups=LOOKUPS).notices]
    assert sum("its picture is not stored" in message for message in said) == 2


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("Module: canny, Model: gone", "not in the library"),
        ("Module: magic, Model: x", "not known here"),
        ("Module: canny, Model: x, Weight: 99", "changed to 2"),
        ("Module: canny, Model: x, Guidance Start: 0.9, Guidance End: 0.1", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_told(unit: str, said: str) -> None:
    text = f'a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, ControlNet 0: "{unit}"'
    recipe = spec_from_infotext(text, lookups=LOOKUPS)
    assert any(said in notice.message for notice in recipe.notices)


@pytest.mark.parametrize(
    "odd", ["[]", "{}", "[1]", "[[[[", '[{"model": 1}]', "[" * 5000, '[{"model":"x","image":"y","weight":1e999}]']
)
def test_a_damaged_record_is_no_trouble(odd: str) -> None:
    pairs = f"Easel controls: {json.dumps(odd)}, ControlNet 0: {json.dumps('Module: canny, Model: x')}"
    assert len(controls(f"a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, {pairs}")) <= 1
