"""Names of weights in the original single-file layout, from their names in diffusers' layout.

Single files from model sites keep the names of the original code (`model.diffusion_model.input_blocks.4.1.…`), and
adapters often do. The functions here translate one name at a time and need no weights and no torch; the structure that
the names depend on comes from the component's config. `tests/engine/families/test_keys.py` proves them against
diffusers' own conversion. Names that differ in more than the name (a fused `in_proj`, a transposed projection, a 1×1
convolution kept as a matrix) are listed by the `Rename` they come with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

UNET_PREFIX = "model.diffusion_model."
CONTROL_PREFIX = "control_model."
VAE_PREFIX = "first_stage_model."
CLIP_PREFIX = "cond_stage_model.transformer."
OPEN_CLIP_PREFIX = "cond_stage_model.model."
XL_CLIP_PREFIX = "conditioner.embedders.0.transformer."
XL_OPEN_CLIP_PREFIX = "conditioner.embedders.1.model."

Form = Literal["same", "squeeze", "transpose", "rows"]


@dataclass(frozen=True)
class Rename:
    """Where a weight lies in the original layout, and how it differs there.

    form: "same" · "squeeze": there (out, in, 1[, 1]), here (out, in) · "transpose": there (in, out), here (out, in)
        · "rows": the third number `third` (0, 1, 2) of the rows of a fused q, k, v.
    """

    name: str
    form: Form = "same"
    third: int = 0


_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP_TOP = {
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MID = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_VAE_BLOCK = re.compile(r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
_VAE_MID = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_HINT = re.compile(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.(\d+))")
_ZERO = re.compile(r"controlnet_(mid_block|down_blocks\.(\d+))")
_CLIP_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def unet_name(name: str, config: Mapping[str, Any]) -> Rename:
    """The original place of a UNet weight. `config` is the UNet's config.

    Raises:
        KeyError: the original layout has no such weight.
    """
    stem, _, leaf = name.rpartition(".")
    if stem in _UNET_TOP:
        return Rename(f"{UNET_PREFIX}{_UNET_TOP[stem]}.{leaf}")
    if match := _MID.fullmatch(name):
        kind, number, rest = match.groups()
        place = 1 if kind == "attentions" else int(number) * 2
        return Rename(f"{UNET_PREFIX}middle_block.{place}.{_unet_inner(kind, rest)}")
    match = _BLOCK.fullmatch(name)
    if match is None:
        raise KeyError(name)
    way, block, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    layers = _layers(config)
    if block >= len(layers):
        raise KeyError(name)
    if way == "down":
        index = 1 + sum(layers[:block]) + block + number
        if kind == "downsamplers":
            index = 1 + sum(layers[:block]) + block + layers[block]
            return Rename(f"{UNET_PREFIX}input_blocks.{index}.0.op.{rest.removeprefix('conv.')}")
        return Rename(f"{UNET_PREFIX}input_blocks.{index}.{int(kind == 'attentions')}.{_unet_inner(kind, rest)}")
    up_layers = [count + 1 for count in reversed(layers)]
    index = sum(up_layers[:block]) + number
    if kind == "upsamplers":
        index = sum(up_layers[: block + 1]) - 1
        place = 2 if "CrossAttn" in config["up_block_types"][block] else 1
        return Rename(f"{UNET_PREFIX}output_blocks.{index}.{place}.{rest}")
    return Rename(f"{UNET_PREFIX}output_blocks.{index}.{int(kind == 'attentions')}.{_unet_inner(kind, rest)}")


def controlnet_name(name: str, config: Mapping[str, Any], prefix: str = CONTROL_PREFIX) -> Rename:
    """The original place of a ControlNet weight; `prefix` is "" in some files. `config` is the ControlNet's config.

    Raises:
        KeyError: the original layout has no such weight.
    """
    stem, _, leaf = name.rpartition(".")
    if match := _HINT.fullmatch(stem):
        blocks = 2 * (len(config["conditioning_embedding_out_channels"]) - 1)
        number = {"conv_in": 0, "conv_out": blocks + 1}.get(match[1])
        number = int(match[2]) + 1 if number is None else number
        return Rename(f"{prefix}input_hint_block.{2 * number}.{leaf}")
    if match := _ZERO.fullmatch(stem):
        place_of = "middle_block_out" if match[1] == "mid_block" else f"zero_convs.{match[2]}"
        return Rename(f"{prefix}{place_of}.0.{leaf}")
    place = unet_name(name, config)
    return Rename(prefix + place.name.removeprefix(UNET_PREFIX), place.form, place.third)


def vae_name(name: str, config: Mapping[str, Any], prefix: str = VAE_PREFIX) -> Rename:
    """The original place of an AutoencoderKL weight; `prefix` is "" in files that hold a VAE only."""
    blocks = len(config["block_out_channels"])
    if match := _VAE_MID.fullmatch(name):
        side, kind, number, rest = match.groups()
        if kind == "resnets":
            inner = rest.replace("conv_shortcut", "nin_shortcut")
            return Rename(f"{prefix}{side}.mid.block_{int(number) + 1}.{inner}")
        stem, _, leaf = rest.rpartition(".")
        matrix = leaf == "weight" and stem != "group_norm"
        return Rename(f"{prefix}{side}.mid.attn_1.{_VAE_ATTENTION[stem]}.{leaf}", "squeeze" if matrix else "same")
    if match := _VAE_BLOCK.fullmatch(name):
        side, block, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        place = f"down.{block}" if side == "encoder" else f"up.{blocks - 1 - block}"
        if kind == "resnets":
            return Rename(f"{prefix}{side}.{place}.block.{number}.{rest.replace('conv_shortcut', 'nin_shortcut')}")
        return Rename(f"{prefix}{side}.{place}.{'down' if kind == 'downsamplers' else 'up'}sample.{rest}")
    return Rename(prefix + name.replace("conv_norm_out", "norm_out"))


def clip_name(name: str, prefix: str = CLIP_PREFIX) -> Rename:
    """The original place of a CLIPTextModel weight that was stored by transformers (SD 1; SDXL's first encoder)."""
    return Rename(prefix + name)


def open_clip_name(name: str, prefix: str = XL_OPEN_CLIP_PREFIX) -> Rename:
    """The original place of a text encoder weight that was stored by open_clip (SD 2; SDXL's second encoder)."""
    if name in _OPEN_CLIP_TOP:
        return Rename(prefix + _OPEN_CLIP_TOP[name])
    if name == "text_projection.weight":
        return Rename(prefix + "text_projection", "transpose")
    match = _CLIP_LAYER.fullmatch(name)
    if match is None:
        raise KeyError(name)
    layer, inner, leaf = match.groups()
    place = f"{prefix}transformer.resblocks.{layer}."
    fused = {"self_attn.q_proj": 0, "self_attn.k_proj": 1, "self_attn.v_proj": 2}
    if inner in fused:
        return Rename(f"{place}attn.in_proj_{leaf}", "rows", fused[inner])
    return Rename(f"{place}{_OPEN_CLIP_LAYER[inner]}.{leaf}")


def _layers(config: Mapping[str, Any]) -> list[int]:
    layers = config["layers_per_block"]
    return list(layers) if isinstance(layers, list | tuple) else [int(layers)] * len(config["block_out_channels"])


def _unet_inner(kind: str, rest: str) -> str:
    if kind != "resnets":
        return rest
    stem, _, leaf = rest.rpartition(".")
    return f"{_UNET_RESNET[stem]}.{leaf}"
