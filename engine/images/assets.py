"""Pictures that specs refer to (control pictures, masks, references), kept by content hash beside the outputs.

What is kept is not the file that came in: it is decoded and written again as PNG, so that nothing but pixels survives
(no EXIF, no texts, no bytes that only pretend to be a picture).
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

from PIL import Image, ImageOps

from engine.errors import NotFoundError, SpecError
from engine.images.carrier import pillow_guard
from engine.images.disk import write_whole
from engine.protocol.commands import AssetRef

MAX_BYTES = 25 * 2**20
MAX_PIXELS = 64_000_000
PREFIX = "asset:"
ACCEPTED = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")
_REF = re.compile(r"asset:([0-9a-f]{64})")


class AssetStore:
    """Keeps pictures under `<state_dir>/assets`; a reference is `asset:<sha256 of the kept PNG>`."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "assets"

    def put(self, data: bytes) -> AssetRef:
        """Keep a picture; the same pixels again give the same reference.

        Raises:
            SpecError: `upload_too_large` above 25 MB or 64 megapixels; `image_unreadable` for what is no picture.
            StorageError: as the disk refuses.
        """
        if len(data) > MAX_BYTES:
            raise SpecError("upload_too_large", "The picture is larger than 25 MB.", "Make it smaller and try again.")
        image = _pixels_of(data)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=4)
        png = buffer.getvalue()
        digest = hashlib.sha256(png).hexdigest()
        target = self._path(digest)
        if not target.is_file():
            write_whole(target, png, "The picture")
        return AssetRef(ref=PREFIX + digest, media_type="image/png", width=image.width, height=image.height)

    def path(self, ref: str) -> Path:
        """The PNG file of a reference.

        Raises:
            NotFoundError: `asset_unknown`, also for text that is no reference.
        """
        match = _REF.fullmatch(ref)
        target = self._path(match.group(1)) if match else None
        if target is None or not target.is_file():
            raise NotFoundError("asset_unknown", "This picture is not kept here any more.", "Choose it again.")
        return target

    def _path(self, digest: str) -> Path:
        # Two letters of folder, as a folder with a hundred thousand files is slow on some systems.
        return self._folder / digest[:2] / f"{digest}.png"


def _pixels_of(data: bytes) -> Image.Image:
    """The upright first frame as L, RGB or RGBA, with no metadata attached."""
    with pillow_guard():
        image = Image.open(io.BytesIO(data), formats=ACCEPTED)
        if image.width * image.height > MAX_PIXELS:
            raise SpecError(
                "upload_too_large",
                f"The picture has {image.width} × {image.height} pixels, more than 64 megapixels.",
                "Make it smaller and try again.",
            )
        image.load()
        upright = ImageOps.exif_transpose(image)
        plain = _plain_mode(upright)
        return Image.frombytes(plain.mode, plain.size, plain.tobytes())


def _plain_mode(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB", "RGBA"):
        return image.convert("RGBA") if "transparency" in image.info else image
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey, as depth maps are; Pillow's own conversion would clip instead of scale.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")
