"""Attention called directly: the same numbers, without a look at the signature of the processor."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from engine.pipeline.direct_attention import attend_directly


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip


def noise(unet: UNet2DConditionModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        return unet(torch.randn(2, 4, 8, 8, generator=generator), 5, torch.randn(2, 7, 32, generator=generator)).sample


def test_the_numbers_are_those_of_diffusers_bit_for_bit(
    unet: UNet2DConditionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    look = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda of: asked.append(of) or look(of))
    plain = noise(unet)
    assert asked, "diffusers looks; where it looks no more, this file can go"
    asked.clear()
    attend_directly(unet)
    assert torch.equal(noise(unet), plain)
    assert asked == []
    assert torch.equal(noise(copy.deepcopy(unet)), plain)


def test_processors_come_and_go_and_further_arguments_are_seen_to(unet: UNet2DConditionModel) -> None:
    attend_directly(unet)
    plain = noise(unet)
    module = next(each for each in unet.modules() if isinstance(each, Attention))
    before, seen = module.processor, []

    def watching(attn: Attention, hidden_states: torch.Tensor, **given: Any) -> Any:
        seen.append(sorted(given))
        return before(attn, hidden_states, **given)

    module.processor = watching
    assert torch.equal(noise(unet), plain)
    assert seen == [["attention_mask", "encoder_hidden_states"]]
    module.processor = before
    hidden = torch.randn(1, 3, 32)
    assert torch.equal(module(hidden, unheard_of=1), module(hidden)), "diffusers leaves out what it does not take"
