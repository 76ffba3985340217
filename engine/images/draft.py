"""What some tool wrote about a picture, as text, before anything is checked; and what a reader may ask others.

Every dialect's reader fills a `Draft`; `engine.images.restoration` makes a spec of it, so that all behave alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.conditioning.adapter_tags import write_tag
from engine.images.control_units import FoundUnit
from engine.protocol.specs import (
    AdapterRef,
    PromptSyntax,
)

INFOTEXT_LIMIT = 200_000
Canonical = Callable[[str, str], tuple[str, str]]


@dataclass(frozen=True)
class Lookups:
    """What a reader asks of other rooms; a question that is None is not asked and the text is kept as it is.

    Attributes:
        canonical: (sampler text, schedule text or "") → ids; raises `SpecError` for names it does not know
            (`engine.sampling.table.canonical`).
        canonical_a1111: the same for A1111's own files, whose "Automatic" means other schedules
            (`engine.sampling.table.from_a1111`); None: as `canonical`.
        find_model: (name or "", hash prefix or "") → the library's id, or None.
        find_vae: VAE name → the library's id, or None.
        find_adapter: (adapter name, hash prefix or "") → the library's id, or None.
        find_embedding: (embedding's name, hash prefix or "") → the word that calls it here, or None.
        find_control: (ControlNet's name, hash prefix or "") → the library's id, or None.
        find_preprocessor: its name → its id and the names of its parameters in order, or None.
        has_asset: whether a picture is kept here.
    """

    canonical: Canonical | None = None
    canonical_a1111: Canonical | None = None
    find_model: Callable[[str, str], str | None] | None = None
    find_vae: Callable[[str], str | None] | None = None
    find_adapter: Callable[[str, str], str | None] | None = None
    find_embedding: Callable[[str, str], str | None] | None = None
    find_control: Callable[[str, str], str | None] | None = None
    find_preprocessor: Callable[[str], tuple[str, tuple[str, ...]] | None] | None = None
    has_asset: Callable[[str], bool] | None = None


@dataclass
class Draft:
    """Settings as a tool wrote them: numbers may be text, "" and None mean "not said".

    `rng` is where the noise was made ("cpu", "gpu", "nv"; "" where an A1111 picture does not say). `adapters` are the
    (name, hash) pairs of the prompt's tags, `embeddings` those of the textual inversions that its prompts were read
    with; `text_first` says that of two weights in a tag the first is the text encoder's.
    `lost` are settings that Easel knows of but cannot restore, in plain words; `unknown` are keys that nobody knows.
    """

    prompt: str = ""
    negative: str = ""
    syntax: PromptSyntax = "a1111"
    steps: Any = None
    guidance: Any = None
    seed: Any = None
    width: Any = None
    height: Any = None
    sampler: str = ""
    schedule: str = ""
    model: str = ""
    model_hash: str = ""
    vae: str = ""
    clip_skip: Any = None
    upscale: Any = None
    rng: str = "cpu"
    adapters: list[tuple[str, str]] = field(default_factory=list)
    embeddings: list[tuple[str, str]] = field(default_factory=list)
    controls: list[FoundUnit] = field(default_factory=list)
    text_first: bool = False
    lost: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def adapter_tag(name: str, unet: float, text: float | None = None) -> str:
    """A LoRA tag as A1111 reads it, for dialects that keep adapters elsewhere."""
    return write_tag(AdapterRef(name=name, unet_weight=unet, text_weight=text))


def as_number(value: Any) -> float | None:
    """`value` as a finite number; None where it is none (a text of thousands of digits too)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value[:64] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_text(value: Any) -> str:
    """`value` when it is text, else ""."""
    return value if isinstance(value, str) else ""


def clean_text(text: str) -> str:
    """`text` without lone surrogates, which no UTF-8 text can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
