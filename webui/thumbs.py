"""Small WebP versions of pictures, made once and kept in Easel's own folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

from engine.errors import NotFoundError, StorageError

WIDTHS = (128, 192, 256, 384, 512, 768, 1024)
MAX_KEPT = 20_000
_TRIM_EVERY = 500


class Thumbs:
    """A folder of thumbnails, named by the picture's name, its size in bytes, and the width.

    Args:
        folder: made when first needed.
        at_once: pictures decoded at the same time; each may take 200 MB while it lasts.
    """

    def __init__(self, folder: Path, at_once: int = 2) -> None:
        self._folder = folder
        self._turns = asyncio.Semaphore(at_once)
        self._made = 0

    async def get(self, picture: Path, name: str, width: int) -> Path:
        """The file of the thumbnail, made now if need be.

        Raises:
            NotFoundError: `image_unknown` where the picture cannot be decoded.
            StorageError: `disk_error` where the thumbnail cannot be written.
        """
        wide = next((allowed for allowed in WIDTHS if allowed >= width), WIDTHS[-1])
        digest = hashlib.sha256(f"{name}\0{picture.stat().st_size}".encode()).hexdigest()[:32]
        target = self._folder / f"{digest}_{wide}.webp"
        if not target.is_file():
            async with self._turns:
                if not target.is_file():
                    await asyncio.to_thread(make_thumbnail, picture, target, wide)
                    self._made += 1
            if self._made % _TRIM_EVERY == 1:
                await asyncio.to_thread(self.trim)
        return target

    def trim(self, keep: int = MAX_KEPT) -> None:
        """Delete the oldest beyond `keep`."""
        files = sorted(self._folder.glob("*.webp"), key=lambda file: file.stat().st_mtime)
        for file in files[: max(0, len(files) - keep)]:
            file.unlink(missing_ok=True)


def make_thumbnail(picture: Path, target: Path, width: int) -> None:
    """Write `picture` as WebP at most `width` wide, atomically."""
    from PIL import Image, UnidentifiedImageError

    temporary = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        with Image.open(picture) as image:
            image.draft("RGB", (width * 2, width * 2))
            small = image.convert("RGBA" if "A" in image.getbands() else "RGB")
        height = max(1, round(small.height * min(1.0, width / small.width)))
        small = small.resize((min(width, small.width), height), Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise NotFoundError("image_unknown", f"{picture.name} cannot be read as a picture.", "") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        small.save(temporary, "WEBP", quality=82, method=3)
        os.replace(temporary, target)
    except OSError as error:
        hint = "Is the disk full or read-only?"
        raise StorageError("disk_error", "A thumbnail could not be written.", hint) from error
    finally:
        temporary.unlink(missing_ok=True)
