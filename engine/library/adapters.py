"""Adapter files told by their headers: that they are one, for which family, with which words. Maths is elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping

from engine.library.headers import TensorInfo
from engine.library.identity import Identity, common_dtype

_MARKS = (
    ".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", "_lora.up.", "_lora.down.", ".lora.up.", ".lora.down.",
    ".hada_w1_a", ".lokr_w1", ".lokr_w2", ".oft_blocks", ".oft_diag", ".on_input", ".w_norm", ".diff", ".dora_scale",
    ".lora_magnitude_vector", ".a1.weight", ".b1.weight",
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


def is_adapter(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether most names are spelt as adapters spell them."""
    hits = sum(1 for name in tensors if name.startswith(_PREFIXES) and any(mark in name for mark in _MARKS))
    return hits > 0 and hits * 4 >= len(tensors)


def adapter_identity(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], file_name: str) -> Identity:
    """What an adapter's header says of it."""
    return Identity(
        kind="adapter",
        family=_family(tensors, metadata),
        dtype=common_dtype(tensors.values()),
        title=metadata.get("modelspec.title", ""),
        description=metadata.get("modelspec.description", ""),
        trigger_words=_trigger_words(metadata),
    )


def _family(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> str:
    """From the metadata, else from the second text encoder's or the cross-attention's shape; "" where neither tells."""
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
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in tensors):
        return "sdxl"
    for name, tensor in tensors.items():
        reads_text = "attn2_to_k" in name or "attn2.to_k" in name
        if reads_text and ("lora_down" in name or "lora_A" in name or ".down." in name) and len(tensor.shape) >= 2:
            return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(tensor.shape[1], "")
    if any(name.startswith(("transformer.", "lora_transformer_", "lora_unet_double_blocks")) for name in tensors):
        return "flux"
    return ""


def _trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    said = metadata.get("modelspec.trigger_phrase", "").strip()
    if said:
        return (said,)
    try:
        counts = json.loads(metadata.get("ss_tag_frequency", ""))
    except (ValueError, RecursionError):
        return ()
    if not isinstance(counts, dict):
        return ()
    tags: dict[str, int] = {}
    for folder in counts.values():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if isinstance(count, int):
                tags[str(tag).strip()] = tags.get(str(tag).strip(), 0) + count
    # A word that stands at (nearly) every training picture is what the adapter answers to.
    most = max(tags.values(), default=0)
    words = [tag for tag, count in sorted(tags.items(), key=lambda item: -item[1]) if count >= 0.9 * most]
    return tuple(words[:3])
