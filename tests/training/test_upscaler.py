"""The upscaler's conversion: what is written in ncnn's layout is read back; the shipped file enlarges four times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from training.errors import RecipeError
from training.upscaler import HALF_TAG, NAME, Upscaler, read_ncnn

SHIPPED = Path(__file__).parents[2] / "models" / "starter" / "upscaler" / NAME


def ncnn_bytes(model: Upscaler) -> bytes:
    parts = []
    for layer in model.body:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            parts += [HALF_TAG.to_bytes(4, "little"), layer.weight.detach().half().numpy().tobytes()]
            parts.append(layer.bias.detach().numpy().tobytes())
        elif isinstance(layer, nn.PReLU):
            parts.append(layer.weight.detach().numpy().tobytes())
    return b"".join(parts)


def test_the_ncnn_layout_is_read_back() -> None:
    torch.manual_seed(0)
    model = Upscaler()
    content = ncnn_bytes(model)
    assert len(content) == 1_247_368, "the size of the published file"
    state = read_ncnn(content)
    assert set(state) == set(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value.half()), key


def test_wrong_bytes_are_refused() -> None:
    with pytest.raises(RecipeError, match="not the expected ones"):
        read_ncnn(b"\0" * 1000)
    with pytest.raises(RecipeError, match="8 bytes are left over"):
        read_ncnn(ncnn_bytes(Upscaler()) + b"\0" * 8)


def test_the_shipped_upscaler_keeps_colours_and_sharpens_an_edge() -> None:
    model = Upscaler()
    model.load_state_dict({key: value.float() for key, value in load_file(SHIPPED).items()})
    picture = torch.ones(1, 3, 32, 32)
    picture[:, 1:, :, 16:] = 0.1
    with torch.no_grad():
        large = model(picture).clamp(0, 1)
    assert large.shape == (1, 3, 128, 128)
    assert float((large[0, :, 64, 32] - 1).abs().max()) < 0.06
    assert np.allclose(large[0, :, 64, 100], [1, 0.1, 0.1], atol=0.08)
