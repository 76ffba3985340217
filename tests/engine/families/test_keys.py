"""Names in the original layout, proved against diffusers' own conversion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from engine.families import keys
from engine.families.families import family
from engine.loading.components import build
from engine.loading.torchvision_guard import guard_torchvision
from tests.support.tiny_models import original_weights, write_tiny_sd1, write_tiny_sd2, write_tiny_sdxl

WRITERS = {"sd1": write_tiny_sd1, "sd2": write_tiny_sd2, "sdxl": write_tiny_sdxl}


@pytest.mark.parametrize("family_id", list(WRITERS))
def test_diffusers_reads_back_what_the_names_wrote(family_id: str, tmp_path: Path) -> None:
    guard_torchvision()
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    folder = WRITERS[family_id](tmp_path / "model")
    original = original_weights(folder, ("unet", "vae"))
    for part, convert in (("unet", convert_ldm_unet_checkpoint), ("vae", convert_ldm_vae_checkpoint)):
        expected = load_file(folder / part / "diffusion_pytorch_model.safetensors")
        config = build(part, _config(folder, part), part).config  # type: ignore[union-attr]
        read = convert(original, config)
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[name], expected[name]) for name in expected)


def test_diffusers_reads_back_both_text_encoders(tmp_path: Path) -> None:
    guard_torchvision()
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    folder = write_tiny_sdxl(tmp_path / "model")
    original = original_weights(folder, ("text_encoder", "text_encoder_2"))
    for part, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
        model = create_diffusers_clip_model_from_ldm(
            kind, dict(original), subfolder=part, config=str(folder), local_files_only=True
        )
        expected = load_file(folder / part / "model.safetensors")
        read = model.state_dict()
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("family_id", "part", "name", "original"),
    [
        ("sd1", "unet", "down_blocks.1.attentions.1.proj_in.weight", "input_blocks.5.1.proj_in.weight"),
        ("sd1", "unet", "down_blocks.2.downsamplers.0.conv.bias", "input_blocks.9.0.op.bias"),
        ("sd1", "unet", "up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("sd1", "unet", "up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("sd1", "unet", "up_blocks.3.resnets.2.conv_shortcut.weight", "output_blocks.11.0.skip_connection.weight"),
        ("sdxl", "unet", "add_embedding.linear_1.weight", "label_emb.0.0.weight"),
        ("sdxl", "unet", "down_blocks.2.attentions.1.norm.weight", "input_blocks.8.1.norm.weight"),
        ("sdxl", "unet", "up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("sd1", "vae", "decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.3.block.2.conv1.weight"),
        ("sd1", "vae", "encoder.mid_block.attentions.0.to_q.weight", "encoder.mid.attn_1.q.weight"),
        ("sd1", "vae", "decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
    ],
)
def test_well_known_names_of_full_size_models(family_id: str, part: str, name: str, original: str) -> None:
    config = family(family_id).config(part)
    found = keys.unet_name(name, config) if part == "unet" else keys.vae_name(name, config)
    assert found.name == (keys.UNET_PREFIX if part == "unet" else keys.VAE_PREFIX) + original


@pytest.mark.parametrize("family_id", ["sd1", "sd2", "sdxl"])
def test_every_weight_of_a_full_size_model_has_its_own_place(family_id: str) -> None:
    each = family(family_id)
    namers: dict[str, Callable[[str], keys.Rename]] = {
        "unet": lambda name: keys.unet_name(name, each.config("unet")),
        "vae": lambda name: keys.vae_name(name, each.config("vae")),
        "text_encoder": keys.open_clip_name if family_id == "sd2" else keys.clip_name,
        "text_encoder_2": keys.open_clip_name,
    }
    for part in each.parts:
        if part in namers:
            names = build(part, each.config(part), family_id).state_dict()
            places = {(place.name, place.third) for place in map(namers[part], names)}
            assert len(places) == len(names), part


STRANGE = st.text(max_size=60) | st.from_regex(
    r"(down|up)_blocks\.\d{1,2}\.(resnets|attentions|downsamplers|upsamplers)\.\d\.[a-z0-9._]{1,20}", fullmatch=True
)


@given(STRANGE)
@settings(max_examples=200, deadline=None)
def test_strange_names_are_key_errors_or_renames(name: str) -> None:
    config: dict[str, Any] = family("sd1").config("unet")
    for namer in (lambda text: keys.unet_name(text, config), keys.open_clip_name):
        try:
            assert isinstance(namer(name), keys.Rename)
        except KeyError:
            pass


def _config(folder: Path, part: str) -> dict[str, Any]:
    from engine.families.families import read_config

    return read_config(folder, part)
