"""Previewer: small pictures of what is in progress, not more often than is useful."""

from __future__ import annotations

import base64
import io
import logging
import math
import time
from collections.abc import Callable

from engine.jobs.running import RunningPicture
from engine.pipeline.model import ModelBundle
from engine.pipeline.preview import preview
from engine.protocol.events import Event, PreviewMade

log = logging.getLogger("easel.worker")

JPEG_QUALITY = 80


class Previewer:
    """Publishes `PreviewMade` for a picture at most every `interval` seconds; 0 switches previews off."""

    def __init__(self, interval: float, publish: Callable[[Event], None], forget: Callable[[str, int], None]) -> None:
        self._interval = interval
        self._publish = publish
        self._forget = forget

    def show(self, picture: RunningPicture, bundle: ModelBundle) -> None:
        """Publish a preview if it is time for one."""
        now = time.monotonic()
        if not self._interval or now - picture.last_preview < self._interval:
            return
        picture.last_preview = now
        buffer = io.BytesIO()
        try:
            preview(bundle, picture.context).save(buffer, "JPEG", quality=JPEG_QUALITY)
        except (MemoryError, RuntimeError):
            # A picture without a preview is no fault of the job; what ran out is looked at when it is needed.
            log.warning("a preview could not be made", exc_info=True)
            picture.last_preview = math.inf
            return
        self._publish(
            PreviewMade(
                owner=picture.owner,
                job_id=picture.job_id,
                job_index=picture.index,
                step=picture.context.step,
                jpeg=base64.b64encode(buffer.getvalue()).decode("ascii"),
            )
        )

    def forget(self, picture: RunningPicture) -> None:
        """The picture is finished or dropped."""
        self._forget(picture.job_id, picture.index)
