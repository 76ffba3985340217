"""The kinds of adapters, in the order in which a module is asked for them."""

from __future__ import annotations

from engine.adapters.kinds import boft, full, glora, ia3, loha, lokr, lora, norm, oft
from engine.adapters.kinds.parts import Kind

KINDS: tuple[Kind, ...] = (
    Kind("LoRA", lora.detect, lora.read, lora.NAMES),
    Kind("LoHa", loha.detect, loha.read, loha.NAMES),
    Kind("LoKr", lokr.detect, lokr.read, lokr.NAMES),
    Kind("BOFT", boft.detect, boft.read, boft.NAMES),
    Kind("OFT", oft.detect, oft.read, oft.NAMES),
    Kind("GLoRA", glora.detect, glora.read, glora.NAMES),
    Kind("(IA)³", ia3.detect, ia3.read, ia3.NAMES),
    Kind("Full", full.detect, full.read, full.NAMES),
    Kind("Norm", norm.detect, norm.read, norm.NAMES),
)
