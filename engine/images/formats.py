"""The picture formats that Easel writes: suffix, MIME type, Pillow's name."""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.protocol.specs import ImageFormat


class FormatInfo(NamedTuple):
    """`suffix` with its dot; `pillow` is the name that Pillow's `save` takes."""

    suffix: str
    media_type: str
    pillow: str


FORMATS: Final[dict[ImageFormat, FormatInfo]] = {
    "png": FormatInfo(".png", "image/png", "PNG"),
    "webp": FormatInfo(".webp", "image/webp", "WEBP"),
    "jpeg": FormatInfo(".jpg", "image/jpeg", "JPEG"),
}
_BY_SUFFIX: Final[dict[str, str]] = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
PICTURE_SUFFIXES: Final[tuple[str, ...]] = tuple(_BY_SUFFIX)


def media_type(file_name: str) -> str:
    """The MIME type of a picture by its suffix; "application/octet-stream" where Easel does not write such files."""
    dot = file_name.rfind(".")
    return _BY_SUFFIX.get(file_name[dot:].lower() if dot >= 0 else "", "application/octet-stream")
