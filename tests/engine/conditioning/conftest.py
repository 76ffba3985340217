"""Tokenizers and text encoders of the tiny models."""

from __future__ import annotations

from typing import Any

import pytest

from engine.loading.torchvision_guard import guard_torchvision
from tests.support.tiny_models import write_tiny_sd1, write_tiny_sdxl

Encoders = tuple[list[Any], list[Any]]


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    guard_torchvision()
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = write_tiny_sd1(tmp_path_factory.mktemp("sd1"))
    return [CLIPTokenizer.from_pretrained(folder / "tokenizer")], [
        CLIPTextModel.from_pretrained(folder / "text_encoder")
    ]


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    guard_torchvision()
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = write_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))
    return [CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2")], [
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
        CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2"),
    ]
