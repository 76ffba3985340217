"""Adapter files told by their headers: that they are one, for which family, with which words. Maths is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.library.adapter_kinds import kind_and_rank
from engine.library.adapter_words import advised_weight, training_tags, trigger_words
from engine.library.added_kinds import added_ending
from engine.library.headers import TensorInfo
from engine.library.identity import AdapterFacts, Identity, common_dtype
from engine.library.speeds import FEW, built_for_few_steps, speed_of

_MARKS = (
    ".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", "_lora.up.", "_lora.down.", ".lora.up.", ".lora.down.",
    ".hada_", ".lokr_", ".oft_blocks", ".oft_diag", ".on_input", ".w_norm", ".diff", ".dora_scale",
    ".lora_magnitude_vector", ".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight", ".alpha",
)  # fmt: skip
_PREFIXES = (
    "lora_",
    "lycoris_",
    "oft_unet_",
    "unet.",
    "text_encoder",
    "transformer.",
    "diffusion_model.",
    "base_model.",
)

# Where trainers and managers put a picture into the metadata.
COVER_KEYS = ("ssmd_cover_images", "modelspec.thumbnail")
# Tensors whose second side is the width of what a layer reads.
_INWARD = ("lora_down", "lora_A", ".down.", ".hada_w1_b")


def is_adapter(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether most names are spelt as adapters spell them."""
    hits = 0
    for name in tensors:
        if name.startswith(_PREFIXES) and (any(mark in name for mark in _MARKS) or added_ending(name)):
            hits += 1
            if hits * 4 >= len(tensors):
                return True
    return False


def adapter_identity(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], file_name: str) -> Identity:
    """What an adapter's header says of it."""
    kind, rank, modules = kind_and_rank(tensors)
    tags = training_tags(metadata)
    words, certain = trigger_words(metadata, tags)
    speed = speed_of(metadata, file_name)
    if not speed and built_for_few_steps(tensors, metadata, modules, rank):
        speed = FEW
    facts = AdapterFacts(
        kind=kind,
        rank=rank,
        modules=modules,
        tag_lines="\n".join(f"{tag}\t{count}" for tag, count in tags),
        certain_words=certain,
        default_weight=advised_weight(metadata),
        text_width=text_width(tensors),
        has_cover=any(metadata.get(key) for key in COVER_KEYS),
        said_hash=_hash(metadata.get("sshs_model_hash", "")),
        said_name=metadata.get("ss_output_name", "")[:200],
        speed=speed,
    )
    return Identity(
        kind="adapter",
        family=_family(tensors, metadata),
        dtype=common_dtype(tensors.values()),
        title=metadata.get("modelspec.title", "")[:200],
        description=metadata.get("modelspec.description", "")[:4000],
        trigger_words=words,
        adapter=facts,
    )


def text_width(tensors: Mapping[str, TensorInfo]) -> int:
    """How wide the text is that the UNet's cross-attention reads; 0 where no tensor tells."""
    for name, tensor in tensors.items():
        reads_text = "attn2_to_k" in name or "attn2.to_k" in name
        if reads_text and any(mark in name for mark in _INWARD) and len(tensor.shape) >= 2:
            return tensor.shape[1]
    return 0


def _family(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> str:
    """From the shapes, since metadata is copied from file to file; else from the metadata; "" where neither tells."""
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in tensors):
        return "sdxl"
    by_width = {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(text_width(tensors))
    if by_width:
        return by_width
    if any(name.startswith(("transformer.", "lora_transformer_", "lora_unet_double_blocks")) for name in tensors):
        return "flux"
    said = f"{metadata.get('ss_base_model_version', '')} {metadata.get('modelspec.architecture', '')}".lower()
    for mark, family in (
        ("sdxl", "sdxl"),
        ("stable-diffusion-xl", "sdxl"),
        ("sd_v1", "sd1"),
        ("stable-diffusion-v1", "sd1"),
        ("sd_v2", "sd2"),
        ("stable-diffusion-v2", "sd2"),
        ("flux", "flux"),
        ("sd3", "sd3"),
    ):
        if mark in said:
            return family
    return ""


def _hash(text: str) -> str:
    found = text.lower().removeprefix("0x")
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else ""
