"""The grammar of A1111's infotext: text to fields and back.

    infotext := prompt-lines ["\\nNegative prompt: " negative-lines] "\\n" pairs
    pairs    := key ": " value {", " key ": " value}        one line, at least three pairs, else it is prompt

A value is quoted with JSON's rules where it contains a comma, a line feed or a colon. See docs/file-formats.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from engine.images.safe_json import unreadable

MAX_INFOTEXT = 2**20
MIN_PAIRS = 3
PROMPT_KEY, NEGATIVE_KEY = "Prompt", "Negative prompt"
NEGATIVE = "Negative prompt:"

# The known pattern is `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`. This one finds the same pairs, but only
# tries each run of key characters once, so that a hostile text of a megabyte takes linear time.
_PAIR = re.compile(r'(?<![\w \-/])[ \-/]*+(\w[\w \-/]++):\s*+("(?:\\.|[^\\"])++"|[^,]*+)(?:,|$)')
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
# Civitai's raw JSON object, which the grammar above would tear apart at its commas.
_HASHES = re.compile(r"(?:^|,)\s{0,8}Hashes:\s{0,8}(\{[^{}]{0,100000}\})(?=,|$)")


def write_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """`key: value` pairs joined by ", "; a pair whose value is its key is written as the bare key."""
    return ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in pairs)


def quote(value: str) -> str:
    """`value`, as a JSON string where it holds a comma, a line feed or a colon, or would not be read back bare."""
    bare = not any(mark in value for mark in ",\n:") and value == value.strip() and not value.startswith('"')
    return value if bare else json.dumps(value, ensure_ascii=False)


def unquote(value: str) -> str:
    """The reverse of `quote`; text that is not proper JSON is kept as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        decoded = json.loads(value, strict=False)
    except ValueError:
        return value
    return decoded if isinstance(decoded, str) else value


def parse_infotext(text: str) -> dict[str, str]:
    """The fields of an infotext: `Prompt`, `Negative prompt`, and the pairs under their own keys.

    Values of the form WxH become `key-1` and `key-2`; Civitai's `Hashes` is kept as its JSON text. A last line with
    fewer than three pairs belongs to the prompt.

    Raises:
        SpecError: `image_unreadable` when the text is longer than 1 MiB.
    """
    if len(text) > MAX_INFOTEXT:
        raise unreadable("the text is too long.")
    lines = [line.removesuffix("\r") for line in text.strip().split("\n")]
    fields: dict[str, str] = {}
    pairs, hashes = _pairs(lines[-1])
    if len(pairs) >= MIN_PAIRS:
        lines.pop()
        for key, value in pairs:
            _keep(fields, key, value)
        if hashes:
            fields["Hashes"] = hashes
    prompt, negative = _prompts(lines)
    return {PROMPT_KEY: prompt, NEGATIVE_KEY: negative, **fields}


def _pairs(line: str) -> tuple[list[tuple[str, str]], str]:
    """Pairs of a line, and the raw `Hashes` object ("" where there is none), which is taken out first."""
    hashes = ""
    found = _HASHES.search(line)
    if found and _is_json(found.group(1)):
        hashes = found.group(1)
        line = line[: found.start()] + line[found.end() :]
    return [(match.group(1).strip(), match.group(2).strip()) for match in _PAIR.finditer(line)], hashes


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _keep(fields: dict[str, str], key: str, raw: str) -> None:
    value = unquote(raw)
    size = _SIZE.fullmatch(value)
    if size:
        fields[f"{key}-1"], fields[f"{key}-2"] = size.groups()
    elif key not in (PROMPT_KEY, NEGATIVE_KEY):
        fields[key] = value


def _prompts(lines: Sequence[str]) -> tuple[str, str]:
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in lines:
        if line.lstrip().startswith(NEGATIVE):
            rest = line.lstrip()[len(NEGATIVE) :].removeprefix(" ")
            negative = [rest] if negative is None else [*negative, rest]
        elif negative is None:
            prompt.append(line)
        else:
            negative.append(line)
    return "\n".join(prompt), "\n".join(negative or [])
