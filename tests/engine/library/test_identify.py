"""What a file is, told by its header: families, kinds, and a sentence for what Easel cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.errors import ModelFileError
from engine.library.headers import TensorInfo
from engine.library.identify import identify, identify_file
from engine.library.identity import Identity
from tests.support.tiny_models import write_single_file, write_tiny_sd1, write_tiny_sd2, write_tiny_sdxl

UNET = "model.diffusion_model."
SD1 = {
    f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
SDXL = {
    f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    f"{UNET}input_blocks.7.1.transformer_blocks.9.norm1.weight": (1280,),
    f"{UNET}label_emb.0.0.weight": (1280, 2816),
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
SD2 = {
    f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
    "cond_stage_model.model.ln_final.weight": (1024,),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}


def told(
    shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, name: str = "x.safetensors"
) -> Identity:
    tensors = {key: TensorInfo("F16", shape, 0, 2) for key, shape in shapes.items()}
    return identify(tensors, metadata or {}, name)


@pytest.mark.parametrize(("shapes", "family"), [(SD1, "sd1"), (SD2, "sd2"), (SDXL, "sdxl")])
def test_families(shapes: dict[str, tuple[int, ...]], family: str) -> None:
    identity = told(shapes)
    assert (identity.kind, identity.family, identity.problem, identity.dtype) == ("checkpoint", family, "", "float16")
    assert {"unet", "vae", "text_encoder"} <= set(identity.parts)


@pytest.mark.parametrize("write", [write_tiny_sd1, write_tiny_sd2, write_tiny_sdxl])
def test_real_files(write: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", dtype=torch.float16)  # type: ignore[operator]
    identity = identify_file(write_single_file(folder, tmp_path / "model.safetensors"))
    assert identity.family == write.__name__.removeprefix("write_tiny_")  # type: ignore[attr-defined]
    assert identity.dtype == "float16"
    assert identity.problem == ""


def test_a_pickled_checkpoint_is_told_by_its_names(tmp_path: Path) -> None:
    folder = write_tiny_sd1(tmp_path / "model")
    identity = identify_file(write_single_file(folder, tmp_path / "model.ckpt"))
    assert (identity.kind, identity.family, identity.problem) == ("checkpoint", "sd1", "")


@pytest.mark.parametrize(
    ("shapes", "metadata", "name", "prediction"),
    [
        (SDXL, {}, "x.safetensors", "epsilon"),
        (SDXL | {"v_pred": (0,)}, {}, "x.safetensors", "v_prediction"),
        (SDXL, {"modelspec.prediction_type": "v"}, "x.safetensors", "v_prediction"),
        (SD1, {"modelspec.prediction_type": "v_prediction"}, "x.safetensors", "v_prediction"),
        (SD2, {}, "v2-1_768-ema-pruned.safetensors", "v_prediction"),
        (SD2, {}, "v2-1_512-ema-pruned.safetensors", "epsilon"),
        (SD2, {}, "512-base-ema.safetensors", "epsilon"),
        (SD2, {"modelspec.prediction_type": "epsilon"}, "v2-1_768.safetensors", "epsilon"),
        (SD2, {}, "my-database-model.safetensors", "v_prediction"),
    ],
)
def test_v_prediction(shapes: dict[str, tuple[int, ...]], metadata: dict[str, str], name: str, prediction: str) -> None:
    assert told(shapes, metadata, name).prediction_type == prediction


def test_zero_terminal_snr_mark() -> None:
    assert told(SDXL | {"v_pred": (0,), "ztsnr": (0,)}).zero_snr
    assert not told(SDXL).zero_snr


@pytest.mark.parametrize(
    ("shapes", "word"),
    [
        (SD1 | {f"{UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}, "inpainting"),
        (SD1 | {f"{UNET}input_blocks.0.0.weight": (320, 8, 3, 3)}, "InstructPix2Pix"),
        (
            {
                f"{UNET}input_blocks.0.0.weight": (384, 4, 3, 3),
                "conditioner.embedders.0.model.ln_final.weight": (1280,),
            },
            "refiner",
        ),
        ({f"{UNET}double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "Flux"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "Flux"),
        ({f"{UNET}joint_blocks.0.context_block.adaLN_modulation.1.bias": (1,)}, "Stable Diffusion 3"),
        (SD1 | {f"{UNET}input_blocks.1.1.time_stack.0.norm1.weight": (320,)}, "Video"),
        ({name: shape for name, shape in SD1.items() if name.startswith(UNET)}, "without its text encoder"),
        ({name: shape for name, shape in SDXL.items() if "blocks.9" not in name}, "shortened SDXL"),
        ({"image_proj.proj.weight": (1,)}, "part of an IP-Adapter"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}, "16 latent channels"),
        ({"something.else": (1,)}, "does not know"),
        ({"text_model.final_layer_norm.weight": (768,)}, "text encoder alone"),
        ({"down_blocks.0.resnets.0.norm1.weight": (320,)}, "UNet alone"),
        ({}, "does not know"),
    ],
)
def test_what_easel_cannot_use_is_called_by_its_name(shapes: dict[str, tuple[int, ...]], word: str) -> None:
    identity = told(shapes, name="file.safetensors")
    assert word in identity.problem
    assert identity.problem.startswith("file.safetensors")
    assert identity.problem.endswith(".")
    assert identity.code in {"model_file_unsupported", "model_parts_missing"}


@pytest.mark.parametrize(
    ("shapes", "metadata", "kind", "family"),
    [
        (
            {"lora_unet_x_attn2_to_k.lora_down.weight": (8, 768), "lora_unet_x_attn2_to_k.lora_up.weight": (320, 8)},
            {},
            "adapter",
            "sd1",
        ),
        (
            {"lora_unet_x_attn2_to_k.lora_down.weight": (8, 2048), "lora_unet_x_attn2_to_k.alpha": ()},
            {},
            "adapter",
            "sdxl",
        ),
        ({"lora_te2_x.lora_up.weight": (1280, 8), "lora_te2_x.lora_down.weight": (8, 1280)}, {}, "adapter", "sdxl"),
        (
            {"lora_unet_x.hada_w1_a": (320, 8), "lora_unet_x.hada_w1_b": (8, 320)},
            {"ss_base_model_version": "sdxl_base_v1-0"},
            "adapter",
            "sdxl",
        ),
        (
            {"unet.x.attn2.to_k.lora_A.weight": (8, 1024), "unet.x.attn2.to_k.lora_B.weight": (640, 8)},
            {},
            "adapter",
            "sd2",
        ),
        ({"transformer.x.lora_A.weight": (8, 3072), "transformer.x.lora_B.weight": (3072, 8)}, {}, "adapter", "flux"),
        (
            {"control_model.input_hint_block.0.weight": (16, 3, 3, 3), "control_model.x.attn2.to_k.weight": (320, 768)},
            {},
            "controlnet",
            "sd1",
        ),
        (
            {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "add_embedding.linear_1.weight": (1280, 2816)},
            {},
            "controlnet",
            "sdxl",
        ),
        ({"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}, {}, "vae", ""),
        (
            {
                "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
                "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
            },
            {},
            "vae",
            "",
        ),
        ({"emb_params": (4, 768)}, {}, "embedding", "sd1"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, {}, "embedding", "sdxl"),
        ({"conv_first.weight": (64, 3, 3, 3), "body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, {}, "upscaler", ""),
    ],
)
def test_other_kinds(shapes: dict[str, tuple[int, ...]], metadata: dict[str, str], kind: str, family: str) -> None:
    identity = told(shapes, metadata)
    assert (identity.kind, identity.family, identity.problem) == (kind, family, "")


def test_trigger_words_from_training_tags() -> None:
    metadata = {"ss_tag_frequency": '{"a": {"ohwx style": 40, "cat": 3}, "b": {"ohwx style": 10}}'}
    shapes = {"lora_unet_x.lora_down.weight": (8, 320), "lora_unet_x.lora_up.weight": (320, 8)}
    assert told(shapes, metadata).trigger_words == ("ohwx style",)
    assert told(shapes, {"modelspec.trigger_phrase": "in ohwx style"}).trigger_words == ("in ohwx style",)
    assert told(shapes, {"ss_tag_frequency": "[broken"}).trigger_words == ()


def test_a_damaged_file_raises(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelFileError):
        identify_file(path)


_NAMES = st.sampled_from([*SD1, *SDXL, "lora_unet_x.lora_up.weight", "v_pred", "emb_params", "clip_l"]) | st.text(
    max_size=20
)
_INFOS = st.builds(
    TensorInfo, st.sampled_from(["F16", "F32", "ODD", ""]), st.lists(st.integers(0, 4000), max_size=4).map(tuple)
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_NAMES, _INFOS, max_size=8), st.dictionaries(st.text(max_size=30), st.text(max_size=30)))
def test_any_header_gets_an_answer(tensors: dict[str, TensorInfo], metadata: dict[str, str]) -> None:
    identity = identify(tensors, metadata, "any.safetensors")
    assert bool(identity.problem) == bool(identity.code)
