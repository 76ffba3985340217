"""The shipped starter: loads offline in plain diffusers, draws, is small, and every file of it is accounted for."""

from __future__ import annotations

import hashlib
import json
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

STARTER = Path(__file__).parents[2] / "models" / "starter"
CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from training.torchvision_fix import declare_missing_operators

    declare_missing_operators()
    from training.export import load_pipeline

    return load_pipeline(STARTER)


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


def test_every_weights_file_has_the_hash_that_the_licences_list() -> None:
    listed = (STARTER / "LICENCES.md").read_text(encoding="utf-8")
    for path in STARTER.rglob("*.safetensors"):
        (line,) = [line for line in listed.splitlines() if f"`{path.relative_to(STARTER).as_posix()}`" in line]
        assert line.endswith(f"SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"), path.name


def test_it_stays_small_and_in_half_precision() -> None:
    assert sum(path.stat().st_size for path in files()) < 60_000_000
    assert max(path.stat().st_size for path in files()) < 95_000_000
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


# --- what fits it ---------------------------------------------------------------------------------------------------

LORAS = sorted((STARTER / "loras").glob("*.safetensors"))
EMBEDDINGS = sorted((STARTER / "embeddings").glob("*.safetensors"))
CONTROLNETS = sorted(path.parent for path in (STARTER / "controlnet").glob("*/config.json"))


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as weights:
        return dict(weights.metadata())


@pytest.mark.parametrize("path", [*LORAS, *EMBEDDINGS], ids=lambda path: path.stem)
def test_an_adapter_says_what_it_is_and_carries_its_hash(path: Path) -> None:
    said = metadata_of(path)
    assert said["ss_base_model_version"] == "easel-starter"
    assert said["modelspec.sai_model_spec"] == "1.0.0"
    assert said["modelspec.architecture"].startswith("easel-starter/")
    assert said["modelspec.title"]
    assert said["modelspec.license"] in ("MIT", "Apache-2.0", "CC-BY-4.0")
    assert said["modelspec.trigger_phrase"]
    document = path.read_bytes()
    data = document[8 + int.from_bytes(document[:8], "little") :]
    assert said["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
    assert said["modelspec.hash_sha256"] == f"0x{said['sshs_model_hash']}"
    assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("path", [*LORAS, *EMBEDDINGS], ids=lambda path: path.stem)
def test_an_adapter_has_a_picture_and_a_sidecar(path: Path) -> None:
    from PIL import Image

    with Image.open(path.with_suffix(".png")) as picture:
        assert min(picture.size) >= 128
    side = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert side["activation text"] == metadata_of(path)["modelspec.trigger_phrase"]
    assert 0 < side["preferred weight"] <= 1.5


@pytest.mark.parametrize("path", LORAS, ids=lambda path: path.stem)
def test_a_lora_names_its_training(path: Path) -> None:
    said = metadata_of(path)
    for key in ("ss_v2", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args", "ss_seed"):
        assert said[key], key
    (counts,) = json.loads(said["ss_tag_frequency"]).values()
    assert counts[said["modelspec.trigger_phrase"]] == max(counts.values())
    json.loads(said["ss_network_args"])


def test_the_kinds_and_layouts_that_people_meet_are_there() -> None:
    keys = {path.stem: set(load_file(path)) for path in LORAS}
    endings = {name: {key.partition(".")[2] for key in names} for name, names in keys.items()}
    assert any("hada_w1_a" in found for found in endings.values())
    assert any("lokr_w1" in found for found in endings.values())
    assert any("dora_scale" in found for found in endings.values())
    assert any(all(key.startswith("unet.") and ".lora_" in key for key in names) for names in keys.values())
    assert any(any(key.startswith("lora_te_text_model_") for key in names) for names in keys.values())


@pytest.mark.parametrize("path", LORAS, ids=lambda path: path.stem)
def test_every_key_of_a_lora_fits_and_changes_the_base(path: Path, pipeline: Any) -> None:
    from training.evaluation.reference import deltas_of

    deltas = deltas_of(path, pipeline)
    assert len(deltas) > 50
    assert all(bool(delta.isfinite().all()) for delta in deltas.values())
    assert sum(bool((delta != 0).any()) for delta in deltas.values()) > 50


@pytest.mark.parametrize("path", EMBEDDINGS, ids=lambda path: path.stem)
def test_an_embedding_loads_in_diffusers(path: Path, pipeline: Any) -> None:
    vectors = load_file(path)["emb_params"]
    assert vectors.shape[1] == pipeline.text_encoder.config.hidden_size
    pipeline.load_textual_inversion(str(path), token=path.stem)
    assert len(pipeline.tokenizer(path.stem, add_special_tokens=False).input_ids) >= 1
    pipeline.unload_textual_inversion()


@pytest.mark.parametrize("folder", CONTROLNETS, ids=lambda folder: folder.name)
def test_a_controlnet_loads_and_changes_the_picture(folder: Path, pipeline: Any) -> None:
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    from training.evaluation.drawing import load_control, with_control

    hint = Image.new("RGB", (64, 64))
    ImageDraw.Draw(hint).ellipse((12, 12, 52, 52), outline="white", width=2)
    joined = with_control(pipeline, load_control(folder))

    def draw(weight: float) -> np.ndarray:
        return joined(
            "a ball, flat", image=hint, width=64, height=64, num_inference_steps=4, output_type="np",
            controlnet_conditioning_scale=weight, generator=torch.Generator().manual_seed(3),
        ).images[0]  # fmt: skip

    assert np.abs(draw(1.0) - draw(0.0)).mean() > 0.01


@pytest.mark.parametrize("folder", CONTROLNETS, ids=lambda folder: folder.name)
def test_a_controlnet_says_what_it_is(folder: Path) -> None:
    said = metadata_of(folder / "diffusion_pytorch_model.safetensors")
    assert said["modelspec.sai_model_spec"] == "1.0.0"
    assert said["modelspec.architecture"] == "easel-starter/controlnet"
    assert said["modelspec.title"]
    table = tomllib.loads((folder / "easel.toml").read_text(encoding="utf-8"))
    assert table["variant"] == "easel-starter"
    assert table["preprocessor"] == said["modelspec.preprocessor"]
    assert table["preprocessor"] in ("canny", "scribble")
    recipe = tomllib.loads((CONFIGS / "starter-adapters.toml").read_text(encoding="utf-8"))
    asked = next(row["weights"] for row in recipe["controlnet"] if row["name"] == folder.name)
    assert [table["weight"], table["weight_low"], table["weight_high"]] == asked


def test_every_set_that_an_adapter_learnt_is_attributed() -> None:
    text = (STARTER / "LICENCES.md").read_text(encoding="utf-8")
    for path in [*LORAS, *EMBEDDINGS]:
        author = metadata_of(path)["modelspec.author"].partition("pictures by ")[2]
        assert author in text


def test_the_model_card_has_the_measured_numbers() -> None:
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    for path in [*LORAS, *EMBEDDINGS, *CONTROLNETS]:
        assert path.stem in card
    for words in ("Base, style", "Base, thing among five", "Colour words", "never saw"):
        assert words in card
