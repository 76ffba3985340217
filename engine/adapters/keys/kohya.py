"""Names of kohya's scripts and of LyCORIS: a prefix for the component, the module with underscores, the tensor."""

from __future__ import annotations

from engine.adapters.keys.spelling import Spelling, canonical_suffix
from engine.adapters.modules import COMPONENTS

# The longer prefix first. "lycoris_" comes from the library's own wrapper, which knows no components.
PREFIXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lora_unet_", ("unet",)),
    ("lora_te1_", ("text_encoder",)),
    ("lora_te2_", ("text_encoder_2",)),
    ("lora_te_", ("text_encoder",)),
    ("oft_unet_", ("unet",)),
    ("oft_te_", ("text_encoder",)),
    ("lycoris_unet_", ("unet",)),
    ("lycoris_te1_", ("text_encoder",)),
    ("lycoris_te2_", ("text_encoder_2",)),
    ("lycoris_te_", ("text_encoder",)),
    ("lycoris_", COMPONENTS),
)


def parse(name: str) -> Spelling | None:
    """What the key says; None: it is not spelt like this."""
    for prefix, components in PREFIXES:
        if name.startswith(prefix):
            module, dot, rest = name.removeprefix(prefix).partition(".")
            # (IA)³ of LyCORIS calls its vector just "weight"; only here is that no module's own weight.
            suffix = "weight" if rest == "weight" else canonical_suffix(rest)
            written = name[: len(prefix) + len(module)]
            return Spelling(components, module, suffix, written) if dot and module and suffix else None
    return None
