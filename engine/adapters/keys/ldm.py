"""Names of the original code with dots ("diffusion_model.input_blocks.4.1.…lora_A.weight")."""

from __future__ import annotations

from engine.adapters.keys.spelling import Spelling, split_dotted

_PREFIXES = ("model.diffusion_model.", "diffusion_model.")


def parse(name: str) -> Spelling | None:
    """What the key says; None: it is not spelt like this."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            if (split := split_dotted(name.removeprefix(prefix))) is None:
                return None
            module, suffix = split
            return Spelling(("unet",), module.replace(".", "_"), suffix, prefix + module)
    return None
