"""The kinds of ControlNets, as data: what each is for, the weights that suit it, its preprocessors. No torch."""

from __future__ import annotations

import re

from engine.protocol.controls import ControlType

# `low` and `high` are the advised weights; a unit starts in the middle between them. `words` are how file names say it.
CONTROL_TYPES: tuple[ControlType, ...] = (
    ControlType(id="canny", title="Canny", use="Precise outlines, logos", low=0.5, high=1.0, words=("canny",)),
    ControlType(
        id="depth", title="Depth", use="Spatial structure, scenes", low=0.3, high=0.8,
        words=("depth", "midas", "zoe", "leres"),
    ),
    ControlType(
        id="openpose", title="OpenPose", use="Poses of people", low=0.5, high=1.0,
        words=("openpose", "pose", "dwpose"),
    ),
    ControlType(
        id="scribble", title="Scribble", use="Rough sketches, quick ideas", low=0.3, high=0.7,
        words=("scribble", "sketch"),
    ),
    ControlType(id="tile", title="Tile", use="Detail while enlarging", low=0.5, high=1.0, words=("tile",)),
    ControlType(
        id="lineart", title="Line art", use="Line drawings, illustrations", low=0.4, high=0.8,
        words=("lineart", "line"),
    ),
    ControlType(
        id="softedge", title="Soft edge", use="Outlines with freedom in the detail", low=0.4, high=0.9,
        words=("softedge", "hed", "pidinet"),
    ),
    ControlType(
        id="mlsd", title="Straight lines", use="Rooms and buildings", low=0.4, high=0.9,
        words=("mlsd", "straight"),
    ),
    ControlType(
        id="normal", title="Normals", use="The shape of surfaces", low=0.3, high=0.8,
        words=("normal", "normalbae", "bae"),
    ),
    ControlType(
        id="shuffle", title="Shuffle", use="Colours and mood of a picture", low=0.3, high=0.8, words=("shuffle",)
    ),
    ControlType(
        id="inpaint", title="Inpaint", use="Drawing parts anew", low=0.7, high=1.0, words=("inpaint", "inpainting")
    ),
    ControlType(
        id="seg", title="Segments", use="A layout of regions", low=0.4, high=0.9,
        words=("seg", "segmentation"),
    ),
    ControlType(id="ip2p", title="Edit", use="Changes by instruction", low=0.5, high=1.0, words=("ip2p",)),
    ControlType(
        id="ip_adapter", title="IP-Adapter", use="A picture as a prompt: its style and content", low=0.3, high=0.7
    ),
    ControlType(id="reference", title="Reference", use="Looks at a picture while drawing", low=0.4, high=0.8),
)  # fmt: skip
OTHER = ControlType(id="", title="Other", use="A kind that its name does not tell", low=0.5, high=1.0, words=())

# The order of the types in union ControlNets; the first six, or (ProMax) all eight.
UNION_TYPES: tuple[tuple[str, ...], ...] = (
    ("openpose",), ("depth",), ("softedge", "scribble"), ("canny", "lineart", "mlsd"), ("normal",), ("seg",),
    ("tile",), ("inpaint",),
)  # fmt: skip


def union_place(type_id: str, count: int) -> int | None:
    """The number of a type in a union ControlNet of `count` types; None where it does not read such hints."""
    return next((place for place, types in enumerate(UNION_TYPES[:count]) if type_id in types), None)


def union_types(count: int) -> tuple[str, ...]:
    """The types that a union ControlNet of `count` types reads."""
    return tuple(each for types in UNION_TYPES[:count] for each in types)


def control_type(type_id: str) -> ControlType:
    """The type of that id; `OTHER` where there is none."""
    return next((each for each in CONTROL_TYPES if each.id == type_id), OTHER)


def type_of_name(*names: str) -> str:
    """The type that a file's, then a folder's name tells; "" where none does."""
    for name in names:
        words = re.findall(r"[a-z]+\d?[a-z]*", name.casefold())
        for each in CONTROL_TYPES:
            if any(_says(word, each.words) for word in words):
                return each.id
    return ""


def _says(word: str, known: tuple[str, ...]) -> bool:
    """Short words must stand alone: "pose" is in many others."""
    return word in known or any(each in word for each in known if len(each) > 4)
