"""Tiny real models of the Stable Diffusion classes: real code at a small size instead of mocks.

`write_tiny_sd1`, `write_tiny_sd2` and `write_tiny_sdxl` write diffusers folders of random but seeded weights (equal
bytes at every call); `write_single_file` writes the same weights in the original single-file layout. Latents have 4
channels and a quarter of the picture's side (the VAE halves twice), so 64 px pictures have 16×16 latents.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from engine.families import keys
from engine.loading.torchvision_guard import guard_torchvision

TOKENIZER_FILES = Path(__file__).resolve().parents[2] / "engine" / "families" / "configs" / "clip_tokenizer"
SCHEDULER: dict[str, Any] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
}


def write_tiny_sd1(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, **unet: Any) -> Path:
    """Write a tiny SD 1.x model as a diffusers folder; `unet` overrides fields of the UNet's config."""
    return _write(folder, "sd1", seed, dtype, unet)


def write_tiny_sd2(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, **unet: Any) -> Path:
    """Write a tiny SD 2.x model (open_clip text encoder, linear projections, v-prediction)."""
    return _write(folder, "sd2", seed, dtype, unet)


def write_tiny_sdxl(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, **unet: Any) -> Path:
    """Write a tiny SDXL model (two text encoders, pooled text and sizes as added conditions)."""
    return _write(folder, "sdxl", seed, dtype, unet)


def write_tiny_controlnet(
    folder: Path, model_folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> Path:
    """Write a ControlNet for the UNet of a tiny model, as diffusers keeps one; `changes` override its config.

    Its output convolutions are random, not zero as in training's first step: the residuals are as large as the skips.
    """
    guard_torchvision()
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(model_folder / "unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=(4, 8, 16), load_weights_from_unet=False
        )
        if changes:
            model = ControlNetModel.from_config({**model.config, **changes})
        for part in (
            model.controlnet_cond_embedding.conv_out,
            model.controlnet_down_blocks,
            model.controlnet_mid_block,
        ):
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    _save(model, folder, dtype)
    return folder


def write_single_controlnet(
    folder: Path, target: Path, *, original: bool = True, prefix: str = "control_model."
) -> Path:
    """Write the weights of a ControlNet folder as one file, in the original layout or with diffusers' names."""
    config = json.loads((folder / "config.json").read_text())
    result: dict[str, torch.Tensor] = {}
    for name, value in load_file(next(folder.glob("*.safetensors"))).items():
        _put(result, keys.controlnet_name(name, config, prefix) if original else keys.Rename(name), value)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in result.items()}, target, metadata={"format": "pt"})
    return target


def write_single_file(
    model_folder: Path,
    target: Path,
    *,
    dtype: torch.dtype | None = None,
    metadata: dict[str, str] | None = None,
    extra: dict[str, torch.Tensor] | None = None,
    parts: tuple[str, ...] = ("unet", "vae", "text_encoder", "text_encoder_2"),
    sidecar: bool = True,
) -> Path:
    """Write the weights of a diffusers folder in the original layout, as model sites offer them.

    A tiny model does not have the shapes of its family, so its configs go beside the file as `<stem>.config/`
    (`sidecar`), where Easel's loader looks before it takes the family's own.
    """
    weights = original_weights(model_folder, parts)
    weights.update(extra or {})
    if dtype is not None:
        weights = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".safetensors":
        save_file(weights, target, metadata={"format": "pt", **(metadata or {})})
    else:
        torch.save({"state_dict": weights, "global_step": 1}, target)
    if sidecar:
        copy_configs(model_folder, target.with_suffix(".config"))
    return target


def copy_configs(model_folder: Path, target: Path) -> Path:
    """Copy the JSON files of a diffusers folder, without weights and without the tokenizers' word lists."""
    for file in model_folder.rglob("*.json"):
        if file.name != "vocab.json":
            copy = target / file.relative_to(model_folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    return target


def original_weights(model_folder: Path, parts: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The weights of a diffusers folder under their original names."""
    result: dict[str, torch.Tensor] = {}
    is_xl = (model_folder / "text_encoder_2").is_dir()
    for part in parts:
        folder = model_folder / part
        if not folder.is_dir():
            continue
        config = json.loads((folder / "config.json").read_text())
        file = next(folder.glob("*.safetensors"))
        for name, value in load_file(file).items():
            place = _place(part, name, config, is_xl)
            _put(result, place, value)
    return {name: value.contiguous() for name, value in result.items()}


def _place(part: str, name: str, config: dict[str, Any], is_xl: bool) -> keys.Rename:
    if part == "unet":
        return keys.unet_name(name, config)
    if part == "vae":
        return keys.vae_name(name, config)
    if part == "text_encoder_2":
        return keys.open_clip_name(name, keys.XL_OPEN_CLIP_PREFIX)
    if config["hidden_act"] == "gelu":
        return keys.open_clip_name(name, keys.OPEN_CLIP_PREFIX)
    return keys.clip_name(name, keys.XL_CLIP_PREFIX if is_xl else keys.CLIP_PREFIX)


def _put(result: dict[str, torch.Tensor], place: keys.Rename, value: torch.Tensor) -> None:
    if place.form == "rows":
        rows = value.shape[0]
        whole = result.setdefault(place.name, value.new_empty(rows * 3, *value.shape[1:]))
        whole[place.third * rows : (place.third + 1) * rows] = value
    elif place.form == "squeeze":
        result[place.name] = value[:, :, None, None]
    elif place.form == "transpose":
        result[place.name] = value.T
    else:
        result[place.name] = value


def _write(
    folder: Path, family: Literal["sd1", "sd2", "sdxl"], seed: int, dtype: torch.dtype, unet: dict[str, Any]
) -> Path:
    guard_torchvision()
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = CLIPTextModel(CLIPTextConfig(**_text_config(family, projection=False)))
        _save_text_encoder(encoder, folder / "text_encoder", dtype)
        if family == "sdxl":
            second = CLIPTextModelWithProjection(CLIPTextConfig(**_text_config(family, projection=True)))
            _save_text_encoder(second, folder / "text_encoder_2", dtype)
        _save(UNet2DConditionModel(**{**_unet_config(family), **unet}), folder / "unet", dtype)
        _save(AutoencoderKL(**_vae_config(family)), folder / "vae", dtype)
    _write_tokenizer(folder / "tokenizer", pad="<|endoftext|>" if family != "sd2" else "!")
    if family == "sdxl":
        _write_tokenizer(folder / "tokenizer_2", pad="!")
    prediction = "v_prediction" if family == "sd2" else "epsilon"
    _write_json(
        folder / "scheduler" / "scheduler_config.json",
        {"_class_name": "PNDMScheduler", **SCHEDULER, "prediction_type": prediction},
    )
    _write_json(folder / "model_index.json", _model_index(family))
    return folder


def _save(model: Any, folder: Path, dtype: torch.dtype) -> None:
    (model if dtype == torch.float32 else model.to(dtype)).save_pretrained(folder)


def _save_text_encoder(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Save with the `text_model.` prefix, whichever way this transformers would name the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for name, value in model.state_dict().items():
        prefixed = name.startswith(("text_model.", "text_projection."))
        weights[name if prefixed else f"text_model.{name}"] = value.to(dtype).contiguous()
    model.config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _text_config(family: str, *, projection: bool) -> dict[str, Any]:
    gelu = projection or family == "sd2"
    width = 48 if projection else 32
    return {
        "vocab_size": 49408,
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "hidden_act": "gelu" if gelu else "quick_gelu",
        "projection_dim": width,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "architectures": ["CLIPTextModelWithProjection" if projection else "CLIPTextModel"],
    }


def _unet_config(family: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
    }
    if family != "sd1":
        config.update(use_linear_projection=True, attention_head_dim=(2, 4))
    if family == "sdxl":
        config.update(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32 + 48,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=48 + 6 * 8,
        )
    return config


def _vae_config(family: str) -> dict[str, Any]:
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (32, 32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "sample_size": 64,
        "scaling_factor": 0.13025 if family == "sdxl" else 0.18215,
        "force_upcast": family == "sdxl",
    }


def _model_index(family: str) -> dict[str, Any]:
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if family == "sdxl":
        index.update(
            text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
            tokenizer_2=["transformers", "CLIPTokenizer"],
            force_zeros_for_empty_prompt=True,
        )
    else:
        index.update(safety_checker=[None, None], feature_extractor=[None, None], requires_safety_checker=False)
    return index


def _write_tokenizer(folder: Path, pad: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(TOKENIZER_FILES / name, folder / name)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": pad,
        },
    )


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n")
