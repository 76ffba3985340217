"""OpenPose: skeletons of people. Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation", 2019."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (
    AnnotatorFile("body_pose_model.pth"),
    AnnotatorFile("hand_pose_model.pth"),
    AnnotatorFile("facenet.pth"),
)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.open_pose import OpenposeDetector

    body, hand, face = (str(path) for path in paths)
    folder = str(paths[0].parent)
    return OpenposeDetector.from_pretrained(folder, filename=body, hand_filename=hand, face_filename=face)


def _drawing(*, hand: bool, face: bool) -> Callable[[Pixels, Values, Any], Pixels]:
    def run(pixels: Pixels, values: Values, detector: Any) -> Pixels:
        size = aux_size(pixels)
        made = detector(
            pixels,
            detect_resolution=size,
            image_resolution=size,
            include_hand=hand,
            include_face=face,
            output_type="np",
        )
        return np.asarray(made, dtype=np.uint8)

    return run


def _never(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    raise AssertionError("refused at admission")


OPENPOSE = Preprocessor(
    "openpose", "Pose", ("openpose",), _drawing(hand=False, face=False), (), FILES, load, coarse=True
)
OPENPOSE_HAND = Preprocessor(
    "openpose_hand", "Pose with hands", ("openpose",), _drawing(hand=True, face=False), (), FILES, load, coarse=True
)
OPENPOSE_FACE = Preprocessor(
    "openpose_face", "Pose with face", ("openpose",), _drawing(hand=False, face=True), (), FILES, load, coarse=True
)
OPENPOSE_FULL = Preprocessor(
    "openpose_full",
    "Pose with hands and face",
    ("openpose",),
    _drawing(hand=True, face=True),
    (),
    FILES,
    load,
    coarse=True,
)
DWPOSE = Preprocessor(
    "dw_openpose_full",
    "Pose (DWpose)",
    ("openpose",),
    _never,
    unavailable="DWpose needs the mmpose packages, which do not install beside this version of torch.",
)
