"""The shipped configs build the public models: their sizes are the published ones, to the last parameter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.families.families import CLIP_TOKENIZER, FAMILIES, config_file, family
from engine.loading.components import build

PARAMETERS = {
    ("sd1", "unet"): 859_520_964,
    ("sd1", "vae"): 83_653_863,
    ("sd1", "text_encoder"): 123_060_480,
    ("sd2", "unet"): 865_910_724,
    ("sd2", "text_encoder"): 340_387_840,
    ("sdxl", "vae"): 83_653_863,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
    ("sdxl", "unet"): 2_567_463_684,
}


@pytest.mark.parametrize(("family_id", "part"), list(PARAMETERS))
def test_shipped_config_builds_the_public_model(family_id: str, part: str) -> None:
    module: Any = build(part, family(family_id).config(part), family_id)
    assert sum(parameter.numel() for parameter in module.parameters()) == PARAMETERS[family_id, part]


@pytest.mark.parametrize("each", FAMILIES, ids=lambda each: each.id)
def test_every_part_has_a_config_and_defaults_are_complete(each: Any) -> None:
    for part in ("model_index", *each.parts):
        assert json.loads(config_file(each.config_dir, part).read_text()), part
    values = each.defaults.model_dump(exclude={"negative_prompt"})
    assert all(value is not None for value in values.values()), values


def test_tokenizer_files_are_clips() -> None:
    vocabulary = json.loads((CLIP_TOKENIZER / "vocab.json").read_text(encoding="utf-8"))
    assert len(vocabulary) == 49_408
    assert vocabulary["<|startoftext|>"] == 49_406
    assert vocabulary["<|endoftext|>"] == 49_407


def test_an_unknown_family_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        family("sd9")
