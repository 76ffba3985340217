"""`<lora:…>` tags of prompts: cut out, read as rows of the adapter stack, and written back.

    tag   := "<" ("lora" | "lyco") ":" name {":" part} ">"
    part  := weight | blocks | key "=" value

Typed weights are UNet, then text encoder; A1111's own files have the text encoder first, so two different ones are
always written by name (`te=`, `unet=`). `start`, `stop` and `step=a-b` take fractions ("0.5") or, as the block-weight
extension of A1111 does, numbers of steps ("10"); `lbw` takes block weights or the name of one of that extension's sets.
What A1111 does not know in a tag it ignores, so what is written here can be read there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.protocol.specs import AdapterRef

LONGEST = 1000
_TAG = re.compile(rf"<(?:lora|lyco):([^<>]{{1,{LONGEST}}})>", re.IGNORECASE)
# Where one begins that was not cut out; what was written of it, as far as that can be told.
_BROKEN = re.compile(r"<(?:lora|lyco):[^<>,\s]{0,60}", re.IGNORECASE)
_NUMBER = re.compile(r"\s{0,4}[+-]?(?:\d{1,12}(?:\.\d{0,20})?|\.\d{1,20})(?:e[+-]?\d{1,2})?\s{0,4}")
_START = re.compile(r"\s*(?:start\s*=|step\s*=)\s*(\d{1,12})\s*(?:-.*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[<>:]")


def _set(text: str) -> tuple[float, ...]:
    return tuple(float(digit) for digit in text)


# Seventeen weights for the blocks BASE, IN01…IN08, M00, OUT03…OUT11 of SD 1.x.
BLOCK_SETS: dict[str, tuple[float, ...]] = {
    "NONE": _set("00000000000000000"),
    "ALL": _set("11111111111111111"),
    "INS": _set("11110000000000000"),
    "IND": _set("10001110000000000"),
    "INALL": _set("11111110000000000"),
    "MIDD": _set("10001111111100000"),
    "OUTD": _set("10000000111100000"),
    "OUTS": _set("10000000000011111"),
    "OUTALL": _set("10000000111111111"),
}


@dataclass(frozen=True)
class AdapterTag:
    """One tag as it was written. `parts` are what followed the name, `source` is the whole of it."""

    name: str
    parts: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class TagRow:
    """A tag as a row. `unknown` are parts that nobody reads; `ordered`: two weights stood without names.

    `late`: the number of a step to start after, which the picture does not get to.
    """

    ref: AdapterRef
    unknown: tuple[str, ...] = ()
    ordered: bool = False
    late: int | None = None


def cut_tags(prompt: str) -> tuple[str, list[AdapterTag]]:
    """The prompt without its tags, and the tags in order. Commas around a tag stay: A1111 reads them as words too."""
    if "<" not in prompt:
        return prompt, []
    tags: list[AdapterTag] = []

    def take(match: re.Match[str]) -> str:
        name, *parts = match[1].split(":")
        if not name.strip():
            return match[0]
        tags.append(AdapterTag(name.strip().strip('"'), tuple(part.strip() for part in parts), match[0]))
        return ""

    rest = _TAG.sub(take, prompt)
    return (rest.strip() if tags else prompt), tags


def broken_tags(rest: str) -> list[str]:
    """The beginnings of tags that `cut_tags` left among the words: without an end, without a name, or too long."""
    return _BROKEN.findall(rest)


def read_tag(tag: AdapterTag, *, steps: int | None = None, text_first: bool = False) -> TagRow:
    """The row that a tag means. Ranges are not checked here.

    Args:
        steps: of the picture, to turn numbers of steps into fractions; None leaves those parts unread.
        text_first: of two weights without names, the first is the text encoder's (A1111's own files).
    """
    weights: list[float] = []
    named: dict[str, float] = {}
    blocks: tuple[float, ...] = ()
    span = [0.0, 1.0]
    unknown: list[str] = []
    for part in tag.parts:
        key, has_value, value = part.partition("=")
        key = key.strip().lower()
        if not has_value:
            found = _blocks(part)
            if (number := _number(part)) is not None and len(weights) < 2:
                weights.append(number)
            elif found and not blocks:
                blocks = found
            elif part:
                unknown.append(part)
        elif key in ("te", "unet") and (number := _number(value)) is not None:
            named[key] = number
        elif key == "lbw" and (found := _blocks(value)):
            blocks = found
        elif not _read_span(key, value, steps, span):
            unknown.append(part)
    first = weights[0] if weights else 1.0
    second = weights[1] if len(weights) > 1 else first
    unet, text = (second, first) if text_first else (first, second)
    unet, text = named.get("unet", unet), named.get("te", text)
    ref = AdapterRef(
        name=tag.name,
        unet_weight=unet,
        text_weight=None if text == unet else text,
        start=span[0],
        end=span[1],
        blocks=blocks,
    )
    return TagRow(ref, tuple(unknown), len(set(weights)) > 1 and not named, _late(tag.parts, steps))


def write_tag(ref: AdapterRef) -> str:
    """A row as a tag. A name with signs that end a tag loses them; its hash finds it again."""
    parts = [tag_name(ref)]
    if ref.text_weight is None or ref.text_weight == ref.unet_weight:
        parts.append(plain_number(ref.unet_weight))
    else:
        parts += [f"te={plain_number(ref.text_weight)}", f"unet={plain_number(ref.unet_weight)}"]
    if ref.start:
        parts.append(f"start={float(ref.start)!r}")
    if ref.end != 1.0:
        parts.append(f"stop={float(ref.end)!r}")
    if ref.blocks:
        parts.append(f"lbw={','.join(plain_number(weight) for weight in ref.blocks)}")
    return f"<lora:{':'.join(parts)}>"


def tag_name(ref: AdapterRef) -> str:
    """The name of a row as its tag has it."""
    return _FORBIDDEN.sub("_", ref.name).strip().strip('"') or "_"


def plain_number(value: float) -> str:
    """The shortest text that reads back as `value`: 7, 7.5, 0.8."""
    return repr(float(value)).removesuffix(".0")


def _read_span(key: str, value: str, steps: int | None, span: list[float]) -> bool:
    """Put a start or an end into `span`; False where it is none."""
    if key == "step":
        low, dash, high = value.partition("-")
        places = [(0, low), (1, high)] if dash else []
    else:
        places = [({"start": 0, "stop": 1, "end": 1}.get(key, -1), value)]
    read = [(place, _fraction(text, steps)) for place, text in places if place >= 0]
    if not read or any(fraction is None for _, fraction in read):
        return False
    for place, fraction in read:
        span[place] = fraction or 0.0
    return True


def _late(parts: tuple[str, ...], steps: int | None) -> int | None:
    """The number of the step to start after, where the picture has no more than these."""
    starts = [found[1] for part in parts if (found := _START.fullmatch(part))]
    return next((int(start) for start in starts if steps and int(start) >= max(steps, 2)), None)


def _fraction(text: str, steps: int | None) -> float | None:
    """A fraction as it stands; a whole number above 1 is a number of steps."""
    number = _number(text)
    if number is None or number < 0:
        return None
    if number <= 1 or "." in text:
        return number
    return None if not steps else min(1.0, number / steps)


def _blocks(text: str) -> tuple[float, ...]:
    """Block weights out of a list of numbers or a set's name; () for anything else."""
    known = BLOCK_SETS.get(text.strip().upper())
    if known is not None:
        return known
    numbers = [_number(part) for part in text.split(",")]
    found = tuple(number for number in numbers if number is not None)
    return found if len(numbers) > 1 and len(found) == len(numbers) else ()


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None
