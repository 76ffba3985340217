"""EXIF UserComment, where A1111 keeps its infotext in JPEG and WebP.

Built by hand because Pillow writes the tag as BYTE, which piexif (and so A1111) cannot read; the standard says
UNDEFINED.
"""

from __future__ import annotations

import struct

EXIF_LIMIT = 65_533 - 6
"""Most bytes of TIFF data that one JPEG segment can hold beside the six of `Exif\\0\\0`."""
_SOFTWARE, _EXIF_IFD, USER_COMMENT = 0x0131, 0x8769, 0x9286
_ASCII, _LONG, _UNDEFINED = 2, 4, 7
_UNICODE = b"UNICODE\0"
_ASCII_CODE = b"ASCII\0\0\0"
_SOFTWARE_TEXT = b"Easel\0"


def build_exif(comment: str) -> bytes:
    """EXIF data (with the leading `Exif\\0\\0`) that holds `comment` as UTF-16 big-endian UserComment."""
    payload = _UNICODE + comment.encode("utf-16-be", "replace")
    first_at = 8
    software_at = first_at + 2 + 2 * 12 + 4
    second_at = software_at + len(_SOFTWARE_TEXT)
    payload_at = second_at + 2 + 12 + 4
    entry = struct.Struct(">HHII").pack
    return b"".join(
        (
            b"Exif\0\0",
            b"MM\0*" + struct.pack(">I", first_at),
            struct.pack(">H", 2),
            entry(_SOFTWARE, _ASCII, len(_SOFTWARE_TEXT), software_at),
            entry(_EXIF_IFD, _LONG, 1, second_at),
            struct.pack(">I", 0),
            _SOFTWARE_TEXT,
            struct.pack(">H", 1),
            entry(USER_COMMENT, _UNDEFINED, len(payload), payload_at),
            struct.pack(">I", 0),
            payload,
        )
    )


def decode_comment(value: object) -> str:
    """The text of a UserComment as any tool wrote it: UTF-16 of either byte order, ASCII, or bare UTF-8; "" if none."""
    if isinstance(value, str):
        return value.removeprefix("ASCII\0\0\0").strip("\0")
    if not isinstance(value, bytes):
        return ""
    if value.startswith(_UNICODE):
        return _decode_utf16(value[len(_UNICODE) :])
    return value.removeprefix(_ASCII_CODE).decode("utf-8", "replace").strip("\0")


def _decode_utf16(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").rstrip("\0")
    # The byte order is not recorded. Infotext always holds ASCII, whose zero bytes come first in big-endian.
    big, little = data[0::2].count(0), data[1::2].count(0)
    return data.decode("utf-16-le" if little > big else "utf-16-be", "replace").rstrip("\0")
