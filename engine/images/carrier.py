"""What a picture file carries besides its pixels, in one shape for all formats.

Readers of dialects look at `Carrier.texts` only, so none of them knows where PNG, JPEG or WebP keep a text.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from engine.errors import SpecError
from engine.images import png_text, xmp
from engine.images.exif import USER_COMMENT, decode_comment

READABLE = ("PNG", "JPEG", "WEBP", "AVIF")
PILLOW_FAULTS: tuple[type[Exception], ...] = (
    # What Pillow raises on broken files, found by fuzzing; it has no root of its own.
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_EXIF_IFD, _MAKE, _MODEL, _DESCRIPTION = 0x8769, 0x010F, 0x0110, 0x010E


@dataclass(frozen=True)
class Carrier:
    """A picture's size in pixels, its format ("PNG", "JPEG", …) and its texts.

    Keys of `texts`: a PNG's own keywords. For JPEG, WebP and AVIF: `parameters` (EXIF UserComment), `easel` (XMP),
    `prompt` and `workflow` (ComfyUI's EXIF Make and Model), `Description` (EXIF ImageDescription).
    """

    format: str
    width: int
    height: int
    texts: Mapping[str, str]


def read_carrier(stream: BinaryIO) -> Carrier:
    """Read size and texts from a picture, without decoding its pixels where the format allows that.

    Raises:
        SpecError: `image_unreadable` when it is no PNG, JPEG, WebP or AVIF, is broken, or claims more than 178 MP.
    """
    with pillow_guard():
        image = Image.open(stream, formats=READABLE)
        found = image.format or ""
        texts: dict[str, str] = {}
        if found == "PNG":
            stream.seek(0)
            texts = png_text.read_png_texts(stream)
        if "parameters" not in texts:
            texts = {**_exif_texts(image), **texts}
        if found != "PNG":
            texts |= _xmp_texts(image)
        return Carrier(format="JPEG" if found == "MPO" else found, width=image.width, height=image.height, texts=texts)


@contextmanager
def pillow_guard() -> Iterator[None]:
    """Whatever Pillow raises inside becomes `SpecError` `image_unreadable`."""
    try:
        yield
    except SpecError:
        raise
    except PILLOW_FAULTS as error:
        raise SpecError(
            "image_unreadable",
            "This file is not a picture that Easel can read, or it is damaged.",
            "Use a PNG, JPEG, WebP or AVIF file.",
        ) from error


def _exif_texts(image: Image.Image) -> dict[str, str]:
    exif = image.getexif()
    texts: dict[str, str] = {}
    comment = decode_comment(exif.get_ifd(_EXIF_IFD).get(USER_COMMENT))
    if comment:
        texts["parameters"] = comment
    description = exif.get(_DESCRIPTION)
    if isinstance(description, str) and description:
        texts["Description"] = description
    for tag in (_MAKE, _MODEL):
        value = exif.get(tag)
        if isinstance(value, str):
            key, separator, rest = value.partition(":")
            if separator and key.lower() in ("prompt", "workflow"):
                texts[key.lower()] = rest.rstrip("\0")
    return texts


def _xmp_texts(image: Image.Image) -> dict[str, str]:
    packets = [image.info.get("xmp"), xmp.join_extension(getattr(image, "applist", ()))]
    texts: dict[str, str] = {}
    for packet in packets:
        if not isinstance(packet, bytes):
            continue
        for key in ("easel", "parameters"):
            value = xmp.read_text(packet, key)
            if value is not None:
                texts[key] = value
    return texts
