"""Easel's own texts in an XMP packet, for JPEG and WebP.

A JPEG segment holds 64 KB; a longer packet goes into Extended XMP segments as Adobe's XMP specification, part 3,
section 1.1.3.1 describes them, so that no prompt is too long. No XML parser is used: the texts are found by their tags,
so a hostile packet cannot expand.
"""

from __future__ import annotations

import hashlib
import html
import struct
from collections.abc import Iterable, Mapping

NAMESPACE = "urn:easel:1"
_MAIN_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
_MAIN_LIMIT = 65_502
_PART = 65_000
_MAX_TOTAL = 16 * 2**20
_ESCAPES: dict[int, str] = {
    # XML 1.0 has no control characters and no non-characters.
    **{code: "\ufffd" for code in (*range(32), 0xFFFE, 0xFFFF) if code not in (9, 10)},
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
}


def build_packet(texts: Mapping[str, str], *, extension: str = "") -> bytes:
    """An XMP packet with one `easel:<key>` element for each text. Keys are plain words.

    Characters that XML does not have become U+FFFD; a caller who cannot lose any escapes them first, as JSON does.
    `extension` is the digest of an Extended XMP packet that belongs to it.
    """
    note = f' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{extension}"' if extension else ""
    elements = "".join(f"<easel:{key}>{text.translate(_ESCAPES)}</easel:{key}>" for key, text in texts.items())
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:easel="{NAMESPACE}"{note}>{elements}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
    return packet.encode("utf-8", "replace")


def jpeg_segments(texts: Mapping[str, str]) -> bytes:
    """APP1 segments that carry the packet of `texts` in a JPEG: one, or a stub and its extension."""
    packet = build_packet(texts)
    if len(packet) <= _MAIN_LIMIT:
        return _segment(_MAIN_HEADER + packet)
    digest = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    segments = [_segment(_MAIN_HEADER + build_packet({}, extension=digest))]
    for start in range(0, len(packet), _PART):
        place = struct.pack(">II", len(packet), start)
        segments.append(_segment(_EXTENSION_HEADER + digest.encode() + place + packet[start : start + _PART]))
    return b"".join(segments)


def insert_segments(jpeg: bytes, segments: bytes) -> bytes:
    """`jpeg` with `segments` after its leading APP0 and APP1 segments (JFIF and EXIF stay in front)."""
    at = 2
    while jpeg[at : at + 2] in (b"\xff\xe0", b"\xff\xe1"):
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return jpeg[:at] + segments + jpeg[at:]


def join_extension(segments: Iterable[tuple[str, bytes]]) -> bytes:
    """The Extended XMP packet among a JPEG's (marker, data) segments, b"" where none is there whole."""
    parts: dict[bytes, dict[int, bytes]] = {}
    lengths: dict[bytes, int] = {}
    for marker, data in segments:
        if marker != "APP1" or not data.startswith(_EXTENSION_HEADER) or len(data) < len(_EXTENSION_HEADER) + 40:
            continue
        rest = data[len(_EXTENSION_HEADER) :]
        digest = rest[:32]
        total, offset = struct.unpack(">II", rest[32:40])
        lengths[digest] = total
        parts.setdefault(digest, {})[offset] = rest[40:]
    for digest, pieces in parts.items():
        if lengths[digest] > _MAX_TOTAL:
            continue
        packet = b"".join(pieces[offset] for offset in sorted(pieces))
        # The digest is the packet's own, so it also proves order and completeness.
        if hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode() == digest.upper():
            return packet
    return b""


def read_text(packet: bytes, key: str) -> str | None:
    """The text of `easel:<key>` in an XMP packet, None where there is none."""
    text = packet.decode("utf-8", "replace")
    opening, closing = f"<easel:{key}>", f"</easel:{key}>"
    start = text.find(opening)
    end = text.find(closing, start)
    if start < 0 or end < 0:
        return None
    return html.unescape(text[start + len(opening) : end])


def _segment(data: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
