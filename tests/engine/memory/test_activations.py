"""What activations take, against a run on the meta device of the real networks at full and at tiny size."""

from __future__ import annotations

import pytest
import torch
from accelerate import init_empty_weights

from engine.families.families import family
from engine.loading.torchvision_guard import guard_torchvision
from engine.memory.activations import dtype_bytes, unet_shape, vae_units
from tests.support import tiny_models
from tests.support.activation_meter import activation_peak

guard_torchvision()


def _unet(config):
    from diffusers import UNet2DConditionModel

    with init_empty_weights(include_buffers=True):
        return UNet2DConditionModel.from_config(config).to(torch.bfloat16).eval()


def _measured(config, height, width, rows):
    unet = _unet(config)
    text = unet.config.cross_attention_dim
    added = None
    if unet.config.addition_embed_type == "text_time":
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        added = {"text_embeds": _meta(rows, pooled), "time_ids": _meta(rows, 6)}
    sample, times, words = _meta(rows, 4, height, width), _meta(rows), _meta(rows, 77, text)
    return activation_peak(
        unet,
        lambda: unet(sample, times, encoder_hidden_states=words, added_cond_kwargs=added, return_dict=False),
    )


def _meta(*shape):
    return torch.empty(*shape, device="meta", dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("name", "height", "width", "rows"),
    [("sd1", 64, 64, 2), ("sd1", 96, 64, 8), ("sd2", 96, 96, 2), ("sdxl", 128, 128, 2), ("sdxl", 64, 96, 1)],
)
def test_a_full_size_unet_takes_what_is_predicted(name, height, width, rows):
    config = family(name).config("unet")
    predicted = unet_shape(config).units * height * width * rows * dtype_bytes("bfloat16")
    measured = _measured(config, height, width, rows)
    assert 0.99 * measured <= predicted <= 1.05 * measured


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_a_tiny_unet_too(name):
    config = tiny_models._unet_config(name)
    predicted = unet_shape(config).units * 64 * 64 * 2 * 2
    measured = _measured({"_class_name": "UNet2DConditionModel", **config}, 64, 64, 2)
    assert 0.97 * measured <= predicted <= 1.15 * measured


@pytest.mark.parametrize(("height", "width", "pictures"), [(64, 64, 1), (96, 64, 2)])
def test_a_decode_takes_what_is_predicted(height, width, pictures):
    from diffusers import AutoencoderKL

    config = family("sd1").config("vae")
    with init_empty_weights(include_buffers=True):
        vae = AutoencoderKL.from_config(config).to(torch.bfloat16).eval()
    latents = _meta(pictures, 4, height, width)
    measured = activation_peak(vae, lambda: vae.decode(latents, return_dict=False))
    predicted = vae_units(config) * height * width * 64 * pictures * 2
    assert 0.99 * measured <= predicted <= 1.05 * measured


def test_a_small_decode_too():
    from diffusers import AutoencoderTiny

    with init_empty_weights(include_buffers=True):
        vae = AutoencoderTiny().to(torch.bfloat16).eval()
    latents = _meta(1, 4, 32, 32)
    measured = activation_peak(vae, lambda: vae.decode(latents, return_dict=False))
    assert 0.99 * measured <= vae_units(vae.config) * 256 * 256 * 2 <= 1.05 * measured
