"""Pictures that show what an adapter does: beside its file, or inside its metadata."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.errors import ModelFileError, NotFoundError, StorageError
from engine.library.headers import read_header

# In the order in which A1111 and its like look for them.
ENDINGS = tuple(f"{middle}.{kind}" for middle in ("", ".preview") for kind in ("png", "jpg", "jpeg", "webp", "gif"))
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
COVER_LIMIT = 30_000_000
COVER_SIDE = 768


def preview_beside(stem: str, names: Iterable[str]) -> str:
    """The name among `names` (files of the same folder) that is the preview of `stem`; "" where none is."""
    folded = {name.lower(): name for name in names}
    return next((folded[f"{stem}{ending}".lower()] for ending in ENDINGS if f"{stem}{ending}".lower() in folded), "")


def media_type_of(path: Path) -> str:
    """The media type of a preview file."""
    return MEDIA_TYPES.get(path.suffix.lower().lstrip("."), "application/octet-stream")


class CoverFolder:
    """Pictures taken out of metadata, each written once as WebP of at most 768 pixels a side.

    Metadata comes from strangers: nothing of it is kept but pixels that Pillow could decode.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, path: Path, stamp: str) -> Path:
        """The cover of the adapter at `path`, whose file has this `stamp`.

        Raises:
            NotFoundError: `preview_unknown` where there is none that can be read. StorageError: the disk refuses.
        """
        digest = hashlib.sha256(f"{path}\0{stamp}".encode("utf-8", "backslashreplace")).hexdigest()[:32]
        target = self._folder / f"{digest}.webp"
        if not target.is_file():
            self._write(_decoded(path), path, target)
        return target

    def _write(self, data: bytes, path: Path, target: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
                image.draft("RGB", (COVER_SIDE * 2, COVER_SIDE * 2))
                picture = image.convert("RGB")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise unknown_preview(path.stem) from error
        picture.thumbnail((COVER_SIDE, COVER_SIDE))
        part = target.with_suffix(f".{threading.get_ident()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(part, "WEBP", quality=85)
            os.replace(part, target)
        except OSError as error:
            raise StorageError(
                "disk_error", f"A preview could not be written: {error.strerror}.", "Is the disk full or read-only?"
            ) from error
        finally:
            part.unlink(missing_ok=True)


def unknown_preview(name: str) -> NotFoundError:
    """The refusal where an adapter has no picture."""
    return NotFoundError("preview_unknown", f"“{name}” has no preview picture.", f"Put a {name}.png beside it.")


def _decoded(path: Path) -> bytes:
    try:
        metadata = read_header(path).metadata
    except ModelFileError as error:
        raise unknown_preview(path.stem) from error
    for text in _texts(metadata):
        payload = text.partition("base64,")[2] if text.startswith("data:") else text
        try:
            if payload and len(payload) <= COVER_LIMIT:
                return base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            continue
    raise unknown_preview(path.stem)


def _texts(metadata: Mapping[str, str]) -> list[str]:
    """The base64 texts of `modelspec.thumbnail` and `ssmd_cover_images` (a JSON list of them)."""
    found = [metadata.get("modelspec.thumbnail", "")]
    try:
        covers = json.loads(metadata.get("ssmd_cover_images", "[]"))
    except (ValueError, RecursionError):
        covers = []
    found += covers[:1] if isinstance(covers, list) else []
    return [text for text in found if isinstance(text, str) and text]
