"""HED: soft outlines. Xie and Tu, "Holistically-Nested Edge Detection", 2015; weights for controlnet-aux's detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.control.preprocessors.base import AnnotatorFile
from engine.control.preprocessors.soft_edges import soft_edges


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.hed import HEDdetector

    return HEDdetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


SOFTEDGE_HED, SOFTEDGE_HEDSAFE, SCRIBBLE_HED = soft_edges(
    "hed", "hedsafe", "HED", AnnotatorFile("ControlNetHED.pth"), load
)
