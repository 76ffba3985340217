"""Tiny real models for the tests of techniques, offloading and number formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.loading.torchvision_guard import guard_torchvision
from tests.support.tiny_models import write_tiny_sd1

guard_torchvision()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd1(tmp_path_factory.mktemp("memory") / "tiny")


@pytest.fixture
def pipe(tiny_folder: Path) -> Any:
    """A plain diffusers pipeline."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """Makes a picture with a fixed seed: values 0.0–1.0."""

    def make(pipeline: Any, size: int = 64, **options: Any) -> np.ndarray:
        generator = torch.Generator().manual_seed(3)
        answer = pipeline(
            "a boat",
            width=size,
            height=size,
            num_inference_steps=3,
            generator=generator,
            output_type="np",
            **options,
        )
        return np.asarray(answer.images[0])

    return make
