"""The text chunks of a PNG, wherever in the file they stand, without decoding a pixel.

Pillow finds texts behind the pixels (where exiftool writes them) only by decoding the picture. This walk skips the
pixels by seeking, inflates with a limit, and stops at a broken chunk with what it has.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK = 16 * 2**20
MAX_TOTAL = 32 * 2**20
MAX_CHUNKS = 100_000
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")


def read_png_texts(stream: BinaryIO) -> dict[str, str]:
    """Texts by keyword; of a repeated keyword the first. `stream` stands at the file's start and can seek.

    Returns what could be read: broken, oversized and bomb-like chunks are left out.
    """
    texts: dict[str, str] = {}
    if stream.read(8) != SIGNATURE:
        return texts
    budget = MAX_TOTAL
    for _ in range(MAX_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind not in _TEXT_KINDS or length > MAX_CHUNK:
            stream.seek(length + 4, 1)
            continue
        data = stream.read(length)
        stream.seek(4, 1)
        entry = _text_of(kind, data, budget) if len(data) == length else None
        if entry is not None:
            budget -= len(entry[1])
            texts.setdefault(*entry)
    return texts


def _text_of(kind: bytes, data: bytes, budget: int) -> tuple[str, str] | None:
    keyword, separator, rest = data.partition(b"\0")
    if not separator:
        return None
    key = keyword.decode("latin-1")
    if kind == b"tEXt":
        return (key, rest.decode("latin-1")) if len(rest) <= budget else None
    if kind == b"zTXt":
        raw = _inflate(rest[1:], budget) if rest[:1] == b"\0" else None
        return None if raw is None else (key, raw.decode("latin-1"))
    if len(rest) < 2:
        return None
    compressed, rest = rest[0], rest[2:]
    # The language tag and the translated keyword come first; both end with NUL.
    value = rest.split(b"\0", 2)
    if len(value) < 3:
        return None
    raw = _inflate(value[2], budget) if compressed else value[2]
    return None if raw is None or len(raw) > budget else (key, raw.decode("utf-8", "replace"))


def _inflate(data: bytes, budget: int) -> bytes | None:
    """`data` inflated, None where it is broken or larger than `budget` bytes."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, max(1, budget))
    except zlib.error:
        return None
    return raw if inflater.eof else None
