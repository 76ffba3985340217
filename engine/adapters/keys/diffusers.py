"""Names of diffusers: new ("unet.….to_q.lora_A.weight") and old ("….attn1.processor.to_q_lora.up.weight")."""

from __future__ import annotations

import re

from engine.adapters.keys.spelling import LORA_SUFFIXES, Spelling, component_first, split_dotted
from engine.adapters.modules import COMPONENTS

# Old attention processors keep their LoRA beside the projection that they wrap.
_PROCESSOR = re.compile(r"(.+?)\.(?:processor\.)?(to_q|to_k|to_v|to_out)_lora\.(up|down)\.weight")
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_ROOTS = (
    "down_blocks.", "up_blocks.", "mid_block.", "conv_in.", "conv_out.", "time_embedding.", "add_embedding.",
    "conv_norm_out.", "text_model.", "text_projection.",
)  # fmt: skip


def parse(name: str) -> Spelling | None:
    """What the key says; None: it is not spelt like this."""
    components, rest = component_first(name)
    if len(components) > 1:
        if not rest.startswith(_ROOTS):
            return None
        components = COMPONENTS[1:] if rest.startswith("text_") else COMPONENTS[:1]
    if match := _PROCESSOR.fullmatch(rest):
        module, projection, side = match.groups()
        if components[0] == "unet":
            leaf = "to_out.0" if projection == "to_out" else projection
        else:
            leaf = _OLD_TEXT[projection]
        return _spelling(components, f"{module}.{leaf}", f"{LORA_SUFFIXES[side]}.weight", name)
    if (split := split_dotted(rest)) is None:
        return None
    module, suffix = split
    module = module.removesuffix(".processor")
    if module.endswith(".to_out") and components[0] == "unet":
        module += ".0"
    return _spelling(components, module, suffix, name)


def _spelling(components: tuple[str, ...], module: str, suffix: str, name: str) -> Spelling:
    written = f"{components[0]}.{module}" if name.startswith(f"{components[0]}.") else module
    return Spelling(components, module.replace(".", "_"), suffix, written)
