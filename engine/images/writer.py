"""Writing a finished picture with its recipe inside.

PNG: `parameters` (tEXt, or iTXt where Latin-1 is not enough) and `easel` (iTXt). JPEG and WebP: EXIF UserComment, as
A1111 writes it, and `easel:easel` in XMP.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.images import xmp
from engine.images.disk import write_whole
from engine.images.exif import EXIF_LIMIT, build_exif
from engine.images.formats import FORMATS
from engine.protocol.specs import OutputOptions

EASEL_KEY = "easel"
INFOTEXT_KEY = "parameters"
# Measured at 512 × 512: 50 ms, as Pillow's 6 with its own zlib (slower with others); level 1 takes 30 ms, 13 % larger.
_PNG_LEVEL = 4


def write_image(image: Image.Image, target: Path, *, infotext: str, spec_json: str, options: OutputOptions) -> None:
    """Write `image` to `target` whole or not at all, in the format of `options` (whatever the suffix says).

    Args:
        infotext: A1111's text (`engine.images.infotext.write_infotext`).
        spec_json: Easel's own record (`engine.images.embedded.embed`).

    Raises:
        StorageError: `disk_full`, `disk_read_only`, `disk_error`; nothing is left behind.
    """
    write_whole(target, encode_image(image, infotext=infotext, spec_json=spec_json, options=options), "The picture")


def encode_image(image: Image.Image, *, infotext: str, spec_json: str, options: OutputOptions) -> bytes:
    """The bytes of the file that `write_image` writes."""
    buffer = io.BytesIO()
    name = FORMATS[options.format].pillow
    if options.format == "png":
        image.save(buffer, name, pnginfo=_png_texts(infotext, spec_json), compress_level=_PNG_LEVEL)
        return buffer.getvalue()
    # JPEG has no alpha, and other modes have no agreed colours.
    plain = image if image.mode == "RGB" else image.convert("RGB")
    exif = build_exif(infotext)
    texts = {EASEL_KEY: _for_xml(spec_json)}
    if options.format == "webp":
        plain.save(buffer, name, quality=options.quality, exif=exif, xmp=xmp.build_packet(texts))
        return buffer.getvalue()
    if len(exif) > EXIF_LIMIT:
        # An infotext of more than 32 000 characters does not fit EXIF in a JPEG; it goes beside the spec.
        exif, texts = b"", {**texts, INFOTEXT_KEY: infotext}
    subsampling = "4:4:4" if options.quality >= 90 else "4:2:0"
    plain.save(buffer, name, quality=options.quality, subsampling=subsampling, exif=exif)
    return xmp.insert_segments(buffer.getvalue(), xmp.jpeg_segments(texts))


def _png_texts(infotext: str, spec_json: str) -> PngInfo:
    info = PngInfo()
    info.add_text(INFOTEXT_KEY, infotext.encode("utf-8", "replace").decode("utf-8"))
    info.add_itxt(EASEL_KEY, spec_json)
    return info


def _for_xml(json_text: str) -> str:
    """JSON whose strings hold no character that XML lacks; JSON itself escapes the control characters."""
    return json_text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
