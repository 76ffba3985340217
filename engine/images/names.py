"""File names from patterns such as `{model}_{date}_{time}_{id}`.

A name is one path component that every system accepts, whatever a prompt or a model is called. The fields are listed in
docs/file-formats.md.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engine.conditioning.adapter_tags import plain_number
from engine.errors import SpecError
from engine.images.formats import FORMATS
from engine.protocol.specs import GenerationSpec

DEFAULT_PATTERN = "{model}_{date}_{time}_{id}"
MAX_PATTERN = 300
MAX_STEM_BYTES = 180
PROMPT_LENGTH = 60
ID_LENGTH = 8
_FIELD = re.compile(r"\{([^{}]*)\}")
# Also characters that mean something in a URL, as names become addresses.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*#%&+;\s\x00-\x1f\x7f-\x9f\ufffd\u200b-\u200f\u2028-\u202e\u2066-\u2069]+')
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?")


@dataclass(frozen=True)
class _Facts:
    model: str
    seed: int
    when: datetime
    image_id: str
    spec: GenerationSpec
    index: int


FIELDS: dict[str, Callable[[_Facts], str]] = {
    "model": lambda facts: facts.model.replace("-", "_"),
    "date": lambda facts: facts.when.strftime("%Y%m%d"),
    "time": lambda facts: facts.when.strftime("%H%M%S"),
    "year": lambda facts: facts.when.strftime("%Y"),
    "month": lambda facts: facts.when.strftime("%m"),
    "day": lambda facts: facts.when.strftime("%d"),
    "id": lambda facts: _short_id(facts.image_id),
    "seed": lambda facts: str(facts.seed),
    "index": lambda facts: str(facts.index),
    "prompt": lambda facts: clean_part(facts.spec.prompt)[:PROMPT_LENGTH],
    "sampler": lambda facts: facts.spec.sampler or "",
    "schedule": lambda facts: facts.spec.schedule or "",
    "steps": lambda facts: _number(facts.spec.steps),
    "guidance": lambda facts: _number(facts.spec.guidance),
    "width": lambda facts: _number(facts.spec.width),
    "height": lambda facts: _number(facts.spec.height),
    "clip_skip": lambda facts: _number(facts.spec.clip_skip),
    "vae": lambda facts: facts.spec.vae or "",
}


def check_pattern(pattern: str | None) -> None:
    """Refuse a pattern that cannot name a picture; None (the default pattern) is always good.

    Raises:
        SpecError: `bad_request` for an unknown field (naming the nearest), a stray brace, or more than 300 characters.
    """
    if pattern is None:
        return
    if len(pattern) > MAX_PATTERN:
        raise SpecError("bad_request", "The name pattern is too long.", f"Use at most {MAX_PATTERN} characters.")
    for match in _FIELD.finditer(pattern):
        field = match.group(1)
        if field not in FIELDS:
            near = difflib.get_close_matches(field.lower(), FIELDS, n=1, cutoff=0.5)
            hint = f"Did you mean {{{near[0]}}}?" if near else f"Known fields: {', '.join(FIELDS)}."
            raise SpecError("bad_request", f"The name pattern has no field {{{field[:40]}}}.", hint)
    if any(brace in _FIELD.sub("", pattern) for brace in "{}"):
        raise SpecError("bad_request", "The name pattern has a single brace.", "Write fields as {seed}.")


def file_name(
    pattern: str | None,
    *,
    model: str,
    seed: int,
    when: datetime,
    image_id: str,
    spec: GenerationSpec,
    index: int,
) -> str:
    """The name of a picture, with the suffix of `spec.output.format`; one component, at most 190 bytes.

    The first eight characters of `image_id` are always part of it (appended where the pattern leaves them out), so that
    a pattern such as `{seed}` does not make two pictures share a name.

    Raises:
        SpecError: `bad_request`, as `check_pattern`.
    """
    pattern = pattern or DEFAULT_PATTERN
    check_pattern(pattern)
    facts = _Facts(model, seed, when, image_id, spec, index)
    stem = clean_part(_FIELD.sub(lambda match: FIELDS[match.group(1)](facts), pattern))
    short = _short_id(image_id)
    if "{id}" not in pattern:
        stem = f"{stem}_{short}" if stem else short
    return _fitted(stem, short) + FORMATS[spec.output.format].suffix


def free_name(folder: Path, name: str, image_id: str) -> str:
    """`name`, or where `folder` has such a file already, `name` with the whole id before its suffix."""
    if not (folder / name).exists():
        return name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}_{_safe_id(image_id)}{dot}{suffix}"


def clean_part(text: str) -> str:
    """`text` with everything that a file name or an address cannot hold turned into "_"; no dot or dash at the ends."""
    plain = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
    return _FORBIDDEN.sub("_", plain).strip("._-")


def _fitted(stem: str, short: str) -> str:
    """`stem` within the length limit (its end kept when that is the id), and not a device's name on Windows."""
    if len(stem.encode("utf-8")) > MAX_STEM_BYTES:
        room = MAX_STEM_BYTES - len(short) - 1
        stem = stem.encode("utf-8")[:room].decode("utf-8", "ignore").rstrip("._-") + f"_{short}"
    if _RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    return stem or short


def _safe_id(image_id: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", image_id)[:64] or "picture"


def _short_id(image_id: str) -> str:
    return _safe_id(image_id)[:ID_LENGTH]


def _number(value: float | None) -> str:
    return "" if value is None else plain_number(value)
