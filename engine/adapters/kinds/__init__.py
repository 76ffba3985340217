"""The kinds of adapters, in the order in which a module is asked for them."""

from __future__ import annotations

from engine.adapters.kinds import lora
from engine.adapters.kinds.parts import Kind

KINDS: tuple[Kind, ...] = (Kind("LoRA", lora.detect, lora.read, lora.NAMES),)
