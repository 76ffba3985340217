"""What a key of a file says: which module, in which component, and which of its tensors; and the names of suffixes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.adapters.modules import COMPONENTS
from engine.library.added_kinds import added_ending

LORA_SUFFIXES = {"A": "lora_down", "B": "lora_up", "down": "lora_down", "up": "lora_up", "mid": "lora_mid"}
# peft puts the adapter's name between suffix and "weight", some exports keep it: lora_A.default.weight.
_LORA = re.compile(r"(?:lora|lora_linear_layer)[._](A|B|up|down|mid)(?:\.[^.]+)?\.(weight|bias)")
_MAGNITUDE = re.compile(r"lora_magnitude_vector(?:\.[^.]+)?(?:\.weight)?")
_ROTATION = re.compile(r"oft_R(?:\.[^.]+)?\.weight")
_PLAIN = re.compile(
    r"(alpha|dora_scale|diff|diff_b|w_norm|b_norm|hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?|[ab][12]\.weight"
    r"|bm\.weight|on_input|oft_blocks|oft_diag|rescale|boft_[Rs]|ia3_l)(?:\.default)?"
)
_DOTTED = re.compile(
    r"(.+?)\.((?:lora|lora_linear_layer)[._](?:A|B|up|down|mid)\..+|lora_magnitude_vector.*|oft_R\..+|[ab][12m]\.weight"
    r"|(?:alpha|dora_scale|diff|diff_b|w_norm|b_norm|hada_\w+|lokr_\w+|on_input|oft_blocks|oft_diag|rescale|boft_[Rs]|ia3_l)"
    r"(?:\.[^.]+)?)"
)


@dataclass(frozen=True)
class Spelling:
    """One key of a file, understood.

    Attributes:
        components: where the module may lie, the likeliest first.
        module: its name with "_" for every ".", as `NameTable` looks it up.
        suffix: the tensor's name as LyCORIS has it ("lora_up.weight"), or a name of peft's own ("magnitude", "ia3_l").
        written: the module as the file spells it.
    """

    components: tuple[str, ...]
    module: str
    suffix: str
    written: str


def canonical_suffix(text: str) -> str | None:
    """The suffix as LyCORIS has it; None: nobody knows it."""
    if match := _LORA.fullmatch(text):
        return f"{LORA_SUFFIXES[match[1]]}.{match[2]}"
    if _MAGNITUDE.fullmatch(text):
        return "magnitude"
    if _ROTATION.fullmatch(text):
        return "oft_R"
    match = _PLAIN.fullmatch(text)
    if match:
        return match[1]
    added = added_ending(f".{text}")
    return added[1] if added and not added[0] else None


def split_dotted(name: str) -> tuple[str, str] | None:
    """(module, canonical suffix) of a name whose module is written with dots; None: no suffix that anybody knows."""
    match = _DOTTED.fullmatch(name)
    suffix = canonical_suffix(match[2]) if match else None
    if match and suffix:
        return match[1], suffix
    added = added_ending(name)
    return (added[0], added[1]) if added and added[0] else None


def component_first(name: str) -> tuple[tuple[str, ...], str]:
    """(components, rest) of a dotted name that may begin with its component."""
    for component in reversed(COMPONENTS):
        if name.startswith(f"{component}."):
            return (component,), name.removeprefix(f"{component}.")
    return COMPONENTS, name
