"""PidiNet: soft outlines. Su et al., "Pixel Difference Networks for Efficient Edge Detection", 2021."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.control.preprocessors.base import AnnotatorFile
from engine.control.preprocessors.soft_edges import soft_edges


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.pidi import PidiNetDetector

    return PidiNetDetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


SOFTEDGE_PIDINET, SOFTEDGE_PIDISAFE, SCRIBBLE_PIDINET = soft_edges(
    "pidinet", "pidisafe", "PidiNet", AnnotatorFile("table5_pidinet.pth"), load
)
