"""Hints: what a preprocessor makes of a picture, kept as assets and found again by what went in."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.control.fit import BLACK, WHITE, Size, at_resolution, pixel_perfect, pixels_of, resized
from engine.control.preprocessors.base import Pixels, Preprocessor
from engine.control.preprocessors.table import preprocessor
from engine.errors import ControlError, NotFoundError
from engine.images.assets import AssetStore
from engine.images.disk import write_whole
from engine.protocol.commands import AssetRef
from engine.protocol.specs import HINT_RESOLUTION_RANGE, ResizeMode

SIGNATURE_VERSION = 1
# What libraries of preprocessors are known to raise for pictures that they cannot work on. `cv2.error` is an Exception
# of its own; OpenCV is imported by those who use it.
FAULTS = (ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, OSError)


@dataclass(frozen=True)
class HintRequest:
    """What a hint depends on.

    Attributes:
        image: an asset reference.
        values: every parameter of the preprocessor.
        resolution: shorter side in px at which it works.
        weights: the states of its weight files.
    """

    image: str
    preprocessor: str
    values: Mapping[str, float]
    resolution: int
    weights: tuple[str, ...] = ()

    @property
    def signature(self) -> str:
        """Equal for requests with equal hints."""
        version = preprocessor(self.preprocessor).version
        parts = [
            SIGNATURE_VERSION, version, self.image, self.preprocessor, sorted(self.values.items()), self.resolution,
            self.weights,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class HintFolder:
    """Which hint belongs to which request: `<state_dir>/hints/<signature>.json`, the hint itself is an asset."""

    def __init__(self, folder: Path, assets: AssetStore) -> None:
        self._folder = folder
        self._assets = assets

    def request(
        self,
        image: str,
        what: Preprocessor,
        given: Mapping[str, float],
        resolution: int | None,
        *,
        result: Size | None,
        resize: ResizeMode = "crop",
        weights: tuple[str, ...] = (),
    ) -> HintRequest:
        """The request of a unit.

        Args:
            resolution: None fits it to `result`, or is 512 px where there is none.

        Raises:
            NotFoundError: `asset_unknown`.
        """
        if resolution is None:
            with Image.open(self._assets.path(image)) as opened:
                resolution = pixel_perfect(opened.size, result, resize) if result is not None else 512
        low, high = HINT_RESOLUTION_RANGE
        resolution = min(max(resolution, low), high)
        if what.id == "none":
            return HintRequest(image, "none", {}, 0)
        if what.coarse:
            resolution = max(64, round(resolution / 64) * 64)
        return HintRequest(image, what.id, what.values(given), resolution, weights)

    def find(self, request: HintRequest) -> AssetRef | None:
        """The hint, if it was made before and is still kept."""
        if request.preprocessor == "none":
            with Image.open(self._assets.path(request.image)) as opened:
                return AssetRef(ref=request.image, media_type="image/png", width=opened.width, height=opened.height)
        try:
            ref = AssetRef.model_validate_json(self._file(request).read_bytes())
            self._assets.path(ref.ref)
        except (OSError, ValueError, NotFoundError):
            return None
        return ref

    def make(self, request: HintRequest, detector: Any = None) -> AssetRef:
        """Make the hint and keep it.

        Args:
            detector: what the preprocessor's `load` returned, where it has one.

        Raises:
            NotFoundError: `asset_unknown`.
            ControlError: `control_image_unusable`, `preprocessor_failed`.
            StorageError: the disk refuses.
        """
        what = preprocessor(request.preprocessor)
        with Image.open(self._assets.path(request.image)) as opened:
            pixels = pixels_of(opened, ground=None if what.id == "inpaint" else WHITE)
        hint = run(what, at_resolution(pixels, request.resolution), request.values, detector)
        buffer = io.BytesIO()
        Image.fromarray(hint).save(buffer, "PNG", compress_level=1)
        ref = self._assets.put(buffer.getvalue())
        write_whole(self._file(request), ref.model_dump_json().encode(), "The hint")
        return ref

    def pixels(self, ref: str, preprocessor_id: str) -> Pixels:
        """A kept hint as pixels. A picture that is a hint already lies on black where it is transparent, since hints
        are light on dark."""
        with Image.open(self._assets.path(ref)) as opened:
            return pixels_of(opened, ground=None if preprocessor_id == "inpaint" else BLACK)

    def picture(self, ref: str) -> Pixels:
        """A kept picture that is no hint, uint8 (h, w, 3), its transparent parts on white."""
        with Image.open(self._assets.path(ref)) as opened:
            return pixels_of(opened, ground=WHITE)

    def _file(self, request: HintRequest) -> Path:
        return self._folder / f"{request.signature}.json"


def run(what: Preprocessor, pixels: Pixels, values: Mapping[str, float], detector: Any) -> Pixels:
    """The hint in the size of `pixels`.

    Raises:
        ControlError: `preprocessor_failed`.
    """
    import cv2

    try:
        with torch.inference_mode():
            hint = what.run(pixels, values, detector)
        if hint.dtype != np.uint8 or hint.ndim != 3 or hint.shape[2] not in (3, 4):
            raise ValueError(f"it gave {hint.dtype} of shape {hint.shape}")
        return resized(hint, (pixels.shape[1], pixels.shape[0]))
    except (*FAULTS, cv2.error) as error:
        said = re.sub(r"\s+", " ", str(error)).strip()[:160].rstrip(".") or type(error).__name__
        raise ControlError(
            "preprocessor_failed",
            f"{what.title} could not work on this picture: {said}.",
            "Take another picture, another resolution, or another preprocessor.",
        ) from error
