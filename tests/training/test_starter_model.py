"""The shipped starter: loads offline in plain diffusers, draws, is small, and every file of it is accounted for."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import pytest
from safetensors import safe_open

STARTER = Path(__file__).parents[2] / "models" / "starter"


def files() -> list[Path]:
    return [path for path in STARTER.rglob("*") if path.is_file()]


def test_every_file_is_listed_in_the_licences() -> None:
    listed = (STARTER / "LICENCES.md").read_text(encoding="utf-8")
    missing = [name for path in files() if f"`{(name := path.relative_to(STARTER).as_posix())}`" not in listed]
    assert not missing


def test_every_learnt_set_is_attributed() -> None:
    text = (STARTER / "LICENCES.md").read_text(encoding="utf-8")
    for words in ("Microsoft", "MIT", "Google", "Apache-2.0", "Twitter", "CC-BY-4.0", "OpenAI"):
        assert words in text


def test_it_stays_small_and_in_half_precision() -> None:
    assert sum(path.stat().st_size for path in files()) < 60_000_000
    for path in STARTER.rglob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (not a dict)
                assert weights.get_slice(key).get_dtype() in ("F16", "I64"), (path.name, key)


def test_the_text_encoder_carries_the_prefix() -> None:
    with safe_open(STARTER / "text_encoder" / "model.safetensors", "pt") as weights:
        assert all(key.startswith("text_model.") for key in weights.keys())  # noqa: SIM118


def test_easel_toml_has_what_the_studio_reads() -> None:
    table = tomllib.loads((STARTER / "easel.toml").read_text(encoding="utf-8"))
    assert {"name", "family", "description", "licence", "upscale", "defaults", "examples", "prompts"} <= set(table)
    assert set(table["defaults"]) == {"width", "height", "steps", "guidance", "sampler", "scheduler", "clip_skip"}
    assert len(table["examples"]["prompts"]) >= 10
    assert len(table["prompts"]["styles"]) >= 3


def test_it_draws_offline_in_plain_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loading reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    from training.torchvision_fix import declare_missing_operators

    declare_missing_operators()
    import numpy as np
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(str(STARTER), safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)

    def draw(prompt: str) -> np.ndarray:
        made = pipeline(
            prompt, width=64, height=64, num_inference_steps=8, guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1), output_type="np",
        )  # fmt: skip
        return made.images[0]

    apple, background = draw("a red apple, flat"), draw("a red apple, flat, on a blue background")
    assert apple.shape == (64, 64, 3)
    red, green, blue = apple[24:44, 20:44].mean((0, 1))
    assert red > max(green, blue)
    assert apple[:6, :6].mean() > 0.93, "the usual background is white"
    assert background[:6, :6, 2].mean() > background[:6, :6, 0].mean() + 0.2, "blue was asked for"
