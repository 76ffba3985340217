"""Pictures made two or four times as large, with an upscaler lent by the pool: as they are finished, or later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from engine.errors import NotFoundError
from engine.jobs.errands import ErrandStep
from engine.jobs.finishing import Finisher
from engine.jobs.running import Running
from engine.library.stamps import stamp_of
from engine.loading.loader import nbytes
from engine.memory.pool import ModelPool
from engine.upscale.network import UpscaleNet, load_upscaler
from engine.upscale.upscale import upscale

Find = Callable[[str], Path]


@dataclass(frozen=True)
class UpscalerKey:
    """What a loaded upscaler is, for the pool. `source` and `part` say it to a person."""

    source: str
    stamp: str
    part: str = "upscaler"


class Enlarger:
    """Finds, lends and runs upscalers.

    Args:
        find: from an upscaler's id to its file. device: where it computes.
    """

    def __init__(self, pool: ModelPool, find: Find, device: str) -> None:
        self._pool = pool
        self._find = find
        self._device = device

    def enlarge(
        self, image: Image.Image, factor: int, upscaler: str, on_progress: Callable[[float], None] | None = None
    ) -> Image.Image:
        """The picture `factor` (2 or 4) times as large.

        Args:
            on_progress: hears 0.0–1.0 before each tile; an exception out of it ends the work.

        Raises:
            SpecError: there is no such upscaler, or the result would be too large. ModelFileError: it cannot be used.
        """
        path = self._find(upscaler)

        def load() -> UpscaleNet:
            return load_upscaler(path).to(self._device)

        key = UpscalerKey(str(path), stamp_of(path))
        with self._pool.lease(key, load, nbytes) as net:
            return upscale(image, factor, net, on_progress=on_progress)


class EnlargeErrand:
    """A picture of the history, enlarged: another picture with the same settings."""

    kind = "upscale"

    def __init__(self, enlarger: Enlarger, finisher: Finisher, locate: Callable[[str, str], Path]) -> None:
        self._enlarger = enlarger
        self._finisher = finisher
        self._locate = locate

    def run(self, running: Running) -> Iterator[ErrandStep]:
        """See `Errand`. The payload has `image_id`, `factor` and `upscaler`."""
        payload = running.claim.job.payload or {}
        path = self._locate(str(payload["image_id"]), running.owner)
        yield ErrandStep("upscaling", 0.0)
        try:
            with Image.open(path) as image:
                image.load()
        except OSError as error:
            raise NotFoundError(
                "image_unknown", f"The picture {path.name} cannot be read any more.", "Choose another picture."
            ) from error
        large = self._enlarger.enlarge(image, int(str(payload["factor"])), str(payload["upscaler"]))
        yield ErrandStep("saving", 0.95)
        self._finisher.save(running, large)
