"""Number formats: what rests in fewer bits computes nearly the same, and takes as little as it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import SpecError
from engine.memory.quantize import (
    DTypePolicy,
    QuantizationEngine,
    choose_dtype,
    compute_dtype_of,
    storage_dtype_of,
)
from engine.memory.rounded import RoundedConv2d, RoundedLinear, RoundedWeight
from engine.memory.sizes import module_nbytes
from tests.support.fake_machine import GIB, card, no_card
from tests.support.likeness import psnr


@pytest.mark.parametrize(("bits", "most"), [(8, 1 / 127 / 2), (4, 1 / 7 / 2)])
def test_a_rounded_weight_is_within_half_a_step(bits, most):
    torch.manual_seed(0)
    weight = torch.randn(12, 30)
    rounded = RoundedWeight(weight, bits)
    back = rounded()
    assert back.shape == weight.shape
    assert float((back - weight).abs().max()) <= most * float(weight.abs().max()) * 1.001


def test_zeros_stay_zeros():
    for bits in (4, 8):
        assert bool((RoundedWeight(torch.zeros(3, 5), bits)() == 0).all())


@pytest.mark.parametrize(("bits", "error"), [(8, 0.02), (4, 0.2)])
def test_layers_compute_nearly_the_same(bits, error):
    torch.manual_seed(1)
    linear, conv = nn.Linear(64, 32), nn.Conv2d(8, 16, 3, padding=1, stride=2)
    rows, picture = torch.randn(4, 64), torch.randn(2, 8, 10, 10)
    with torch.no_grad():
        for layer, rounded, given in (
            (linear, RoundedLinear(linear, bits), rows),
            (conv, RoundedConv2d(conv, bits), picture),
        ):
            wanted, got = layer(given), rounded(given)
            assert got.shape == wanted.shape
            assert float((got - wanted).norm() / wanted.norm()) < error
            assert rounded.weight.shape == layer.weight.shape


@pytest.mark.parametrize(
    ("target", "storage", "share", "decibels"),
    [
        (torch.bfloat16, "bfloat16", 0.51, 25),
        (torch.float16, "float16", 0.51, 45),
        ("float8_e4m3fn", "float8_e4m3fn", 0.6, 20),
        (torch.int8, "int8", 0.6, 30),
        ("int4", "int4", 0.5, 10),
    ],
)
def test_a_pipeline_in_every_format(pipe, picture, target, storage, share, decibels):
    plain = picture(pipe)
    whole = module_nbytes(pipe.unet)
    QuantizationEngine().quantize_model(pipe.unet, target)
    if storage in ("bfloat16", "float16"):
        for part in (pipe.vae, pipe.text_encoder):
            QuantizationEngine().quantize_model(part, target)
    assert storage_dtype_of(pipe.unet) == storage
    assert module_nbytes(pipe.unet) <= whole * share
    made = picture(pipe)
    assert np.isfinite(made).all()
    assert psnr(plain, made) > decibels


def test_storage_and_compute_are_two_things(pipe):
    QuantizationEngine().quantize_model(pipe.unet, torch.int8)
    assert storage_dtype_of(pipe.unet) == "int8"
    assert compute_dtype_of(pipe.unet) == torch.float32


def test_an_unknown_format_is_one_sentence():
    with pytest.raises(SpecError) as refused:
        QuantizationEngine().quantize_model(nn.Linear(2, 2), "int3")
    assert refused.value.code == "dtype_unknown"


@pytest.mark.parametrize(
    ("policy", "vram", "storage", "compute"),
    [
        (DTypePolicy.AUTO, 24, "bfloat16", "bfloat16"),
        (DTypePolicy.SEED, 6, "int8", "bfloat16"),
        (DTypePolicy.SEED, 10, "float16", "float16"),
        (DTypePolicy.SEED, 24, "float32", "float32"),
        (DTypePolicy.FP8, 24, "float8_e4m3fn", "bfloat16"),
        (DTypePolicy.INT4, 24, "int4", "bfloat16"),
        (DTypePolicy.FLOAT16, 24, "float16", "float16"),
    ],
)
def test_policies(policy, vram, storage, compute):
    choice = choose_dtype(policy, card(vram))
    assert (choice.storage_dtype, choice.compute_dtype) == (storage, compute)
    assert choice.rounds == (storage != compute)


def test_auto_rounds_only_where_it_spares_an_offload():
    six, budget = 6 * GIB, 4 * GIB
    assert choose_dtype(DTypePolicy.AUTO, card(5), weights_16=six, budget_bytes=budget).storage_dtype == "float8_e4m3fn"
    assert not choose_dtype(DTypePolicy.AUTO, card(8), weights_16=six, budget_bytes=7 * GIB).rounds
    assert not choose_dtype(DTypePolicy.AUTO, card(2), weights_16=six, budget_bytes=GIB).rounds
    assert choose_dtype(DTypePolicy.AUTO, card(8, capability=(7, 5))).compute_dtype == "float16"
    assert choose_dtype(DTypePolicy.AUTO, no_card()).compute_dtype == "float32"
