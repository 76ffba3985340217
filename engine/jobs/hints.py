"""HintShop: hints for units and previews: found, or made, with the weights of preprocessors lent by the pool."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.control.annotators import AnnotatorFiles
from engine.control.detectors import detector_bytes, load_detector
from engine.control.fit import Size
from engine.control.hints import HintFolder, HintRequest
from engine.control.preprocessors.base import Pixels, Preprocessor
from engine.control.preprocessors.table import preprocessor
from engine.library.stamps import stamp_of
from engine.loading.torchvision_guard import guard_torchvision
from engine.memory.pool import Lease, ModelPool
from engine.protocol.commands import AssetRef
from engine.protocol.controls import HintView
from engine.protocol.specs import ControlUnit, ResizeMode


@dataclass(frozen=True)
class DetectorKey:
    """What the loaded weights of a preprocessor are, for the pool."""

    source: str
    files: tuple[str, ...]
    part: str = "preprocessor"


class HintShop:
    """Everything but `hint` and `make` may be called from any thread; those two use the pool and torch where
    `needs_weights` says so, and then belong on the worker's thread."""

    def __init__(self, pool: ModelPool, folder: HintFolder, annotators: AnnotatorFiles, device: str) -> None:
        self._pool = pool
        self._folder = folder
        self._annotators = annotators
        self._device = device

    def request(
        self,
        image: str,
        name: str,
        parameters: Mapping[str, float],
        resolution: int | None,
        result: Size | None,
        resize: ResizeMode,
    ) -> HintRequest:
        """What identifies a hint.

        Raises:
            ControlError: `preprocessor_unknown`, `preprocessor_unavailable`, `annotator_missing`.
            NotFoundError: `asset_unknown`.
        """
        what = preprocessor(name)
        weights = tuple(_stamped(path) for path in self._annotators.paths(what))
        return self._folder.request(image, what, parameters, resolution, result=result, resize=resize, weights=weights)

    def find(self, request: HintRequest) -> HintView | None:
        """The hint, if it is there already."""
        found = self._folder.find(request)
        return None if found is None else _view(request, found, cached=True)

    @staticmethod
    def needs_weights(request: HintRequest) -> bool:
        """Whether making it takes a network."""
        return preprocessor(request.preprocessor).load is not None

    def make(self, request: HintRequest) -> HintView:
        """Make a hint, or find it.

        Raises:
            ControlError: `preprocessor_failed`, `annotator_unusable`, `control_image_unusable`.
            OutOfMemoryError: the pool has no room for the preprocessor's weights.
        """
        found = self.find(request)
        if found is not None:
            return found
        began = time.perf_counter()
        what = preprocessor(request.preprocessor)
        if what.load is None:
            made = self._folder.make(request)
        else:
            with self._lease(what) as detector:
                made = self._folder.make(request, detector)
        return _view(request, made, seconds=time.perf_counter() - began)

    def hint(self, unit: ControlUnit, size: Size) -> HintView:
        """The hint of a unit whose result is `size` px."""
        request = self.request(unit.image, unit.preprocessor, unit.parameters, unit.resolution, size, unit.resize)
        return self.make(request)

    def pixels(self, ref: str, name: str) -> Pixels:
        """A kept hint."""
        return self._folder.pixels(ref, preprocessor(name).id)

    def picture(self, ref: str) -> Pixels:
        """A kept picture as it is, uint8 RGB, its transparent parts on white."""
        return self._folder.picture(ref)

    def _lease(self, what: Preprocessor) -> Lease[Any]:
        guard_torchvision()
        paths = self._annotators.paths(what)
        key = DetectorKey(paths[0].name, tuple(_stamped(path) for path in paths))
        return self._pool.lease(key, partial(load_detector, what, paths, self._device), detector_bytes)


def _stamped(path: Path) -> str:
    return f"{path.name}:{stamp_of(path)}"


def _view(request: HintRequest, ref: AssetRef, *, cached: bool = False, seconds: float = 0.0) -> HintView:
    return HintView(
        ref=ref.ref,
        width=ref.width,
        height=ref.height,
        cached=cached,
        seconds=seconds,
        preprocessor=request.preprocessor,
        resolution=request.resolution,
    )
