"""Tiny real models that adapters are read for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.adapters.modules import Targets, targets_of
from engine.loading.components import build
from engine.loading.torchvision_guard import guard_torchvision
from tests.support.tiny_models import write_tiny_sd1, write_tiny_sd2, write_tiny_sdxl

WRITERS = {"sd1": write_tiny_sd1, "sd2": write_tiny_sd2, "sdxl": write_tiny_sdxl}
PARTS = ("unet", "text_encoder", "text_encoder_2")
LoadParts = Callable[[str], dict[str, nn.Module]]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model folder per family."""
    root = tmp_path_factory.mktemp("models")
    return {family: write(root / family) for family, write in WRITERS.items()}


@pytest.fixture
def same_numbers() -> Iterator[None]:
    """What draws from torch's own generator, as foreign libraries do, gets the same numbers in every test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


@pytest.fixture
def load_parts(folders: dict[str, Path]) -> LoadParts:
    """Loads the parts that adapters change, float32, ready to run, fresh at every call."""

    def load(family: str) -> dict[str, nn.Module]:
        guard_torchvision()
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        classes = dict(zip(PARTS, (UNet2DConditionModel, CLIPTextModel, CLIPTextModelWithProjection), strict=True))
        here = {name: cls for name, cls in classes.items() if (folders[family] / name).is_dir()}
        loaded = {name: cls.from_pretrained(folders[family] / name) for name, cls in here.items()}
        return {name: part.eval().requires_grad_(False) for name, part in loaded.items()}

    return load


@pytest.fixture(scope="session")
def targets(folders: dict[str, Path]) -> dict[str, Targets]:
    """The places of each tiny model, told without a weight in memory."""
    result: dict[str, Targets] = {}
    for family, folder in folders.items():
        parts = {
            name: build(name, json.loads((folder / name / "config.json").read_text()), family)
            for name in PARTS
            if (folder / name).is_dir()
        }
        result[family] = targets_of(parts, family=family)
    return result


def unet_output(unet: nn.Module, family: str = "sd1") -> torch.Tensor:
    """One evaluation at fixed inputs."""
    generator = torch.Generator().manual_seed(3)
    width = unet.config.cross_attention_dim  # type: ignore[union-attr]
    conditions = None
    if family == "sdxl":
        conditions = {"text_embeds": torch.randn(2, 48, generator=generator), "time_ids": torch.ones(2, 6)}
    with torch.no_grad():
        answer = unet(
            torch.randn(2, 4, 16, 16, generator=generator),
            torch.tensor([500, 10]),
            torch.randn(2, 7, width, generator=generator),
            added_cond_kwargs=conditions,
        )
    result: torch.Tensor = answer.sample
    return result
