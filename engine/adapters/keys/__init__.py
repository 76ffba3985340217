"""The ways in which files spell the names of modules, in the order in which a key is tried."""

from __future__ import annotations

from collections.abc import Callable

from engine.adapters.keys import diffusers, kohya, ldm, peft
from engine.adapters.keys.spelling import Spelling

DIALECTS: tuple[Callable[[str], Spelling | None], ...] = (kohya.parse, peft.parse, ldm.parse, diffusers.parse)
