"""Blocks and their weights, on the full-size structures."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.adapters.blocks import LAYOUTS, block_of, block_order, block_weights
from engine.adapters.modules import Targets, targets_of
from engine.errors import AdapterError
from engine.families.families import CONFIGS, read_config
from engine.loading.components import build


@pytest.fixture(scope="module")
def full() -> dict[str, Targets]:
    """The UNets and text encoders at full size, without a weight."""
    result: dict[str, Targets] = {}
    for family, parts in {"sd1": ("unet", "text_encoder"), "sdxl": ("unet", "text_encoder", "text_encoder_2")}.items():
        result[family] = targets_of({part: build(part, read_config(CONFIGS / family, part), "it") for part in parts})
    return result


def test_the_family_is_told_by_the_unet(full: dict[str, Targets]) -> None:
    assert {name: each.family for name, each in full.items()} == {"sd1": "sd1", "sdxl": "sdxl"}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_block_of_the_long_layout_holds_modules(family: str, full: dict[str, Targets]) -> None:
    found = Counter(block_of(key, full[family]) for key in full[family].modules)
    assert set(found) == set(LAYOUTS[family][1])
    assert sorted(found, key=block_order) == list(LAYOUTS[family][1])


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_short_layout_names_the_blocks_with_attention(family: str, full: dict[str, Targets]) -> None:
    """They are the blocks that plain LoRA files change."""
    attention = {block_of(key, full[family]) for key in full[family].modules if "transformer_blocks" in key[1]}
    assert {"BASE", *attention} == set(LAYOUTS[family][0])


def test_known_places(full: dict[str, Targets]) -> None:
    sd1, sdxl = full["sd1"], full["sdxl"]
    for targets, path, block in (
        (sd1, "conv_in", "IN00"),
        (sd1, "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "IN01"),
        (sd1, "down_blocks.0.downsamplers.0.conv", "IN03"),
        (sd1, "mid_block.resnets.1.conv1", "M00"),
        (sd1, "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.2", "OUT11"),
        (sd1, "conv_out", "BASE"),
        (sd1, "time_embedding.linear_1", "BASE"),
        (sdxl, "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k", "IN08"),
        (sdxl, "up_blocks.0.attentions.0.transformer_blocks.3.attn1.to_v", "OUT00"),
    ):
        assert ("unet", path) in targets.modules
        assert block_of(("unet", path), targets) == block
    assert block_of(("text_encoder", "text_model.encoder.layers.0.mlp.fc1"), sd1) == "BASE"


def test_weights_reach_their_modules_and_no_others(full: dict[str, Targets]) -> None:
    targets = full["sd1"]
    weights = [0.0] * 17
    weights[0], weights[7], weights[16] = 0.25, 0.5, 0.75
    found = block_weights(weights, targets)
    assert found["text_encoder", "text_model.encoder.layers.0.mlp.fc1"] == 0.25
    assert found["unet", "mid_block.attentions.0.proj_in"] == 0.5
    assert found["unet", "up_blocks.3.attentions.2.proj_out"] == 0.75
    assert found["unet", "down_blocks.0.attentions.0.proj_in"] == 0.0
    assert ("unet", "conv_in") not in found, "IN00 is not in the short list, so it keeps its full share"
    assert block_weights(range(26), targets)["unet", "conv_in"] == 1
    assert block_weights((), targets) == {}


@pytest.mark.parametrize(
    ("family", "count", "says"), [("sd1", 12, "17 or 26"), ("sdxl", 17, "12 or 20"), ("sd1", 1, "17")]
)
def test_another_number_of_weights_is_refused(family: str, count: int, says: str, full: dict[str, Targets]) -> None:
    with pytest.raises(AdapterError) as caught:
        block_weights([1.0] * count, full[family])
    assert caught.value.code == "adapter_blocks_unknown"
    assert says in caught.value.hint
