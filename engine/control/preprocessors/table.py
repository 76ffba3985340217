"""Every preprocessor, by id and by the names that other programs have for it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from engine.control.preprocessors import (
    canny,
    hed,
    inpaint,
    lineart,
    lineart_anime,
    lineart_standard,
    midas,
    mlsd,
    normalbae,
    openpose,
    pidinet,
    plain,
    scribble_edges,
    shuffle,
    tile,
    zoe,
)
from engine.control.preprocessors.base import Preprocessor
from engine.errors import ControlError, SpecError

PREPROCESSORS: tuple[Preprocessor, ...] = (
    plain.NONE,
    plain.INVERT,
    canny.CANNY,
    lineart_standard.LINEART_STANDARD,
    lineart.LINEART_REALISTIC,
    lineart.LINEART_COARSE,
    lineart_anime.LINEART_ANIME,
    scribble_edges.SCRIBBLE_EDGES,
    hed.SCRIBBLE_HED,
    pidinet.SCRIBBLE_PIDINET,
    hed.SOFTEDGE_HED,
    hed.SOFTEDGE_HEDSAFE,
    pidinet.SOFTEDGE_PIDINET,
    pidinet.SOFTEDGE_PIDISAFE,
    midas.DEPTH_MIDAS,
    zoe.DEPTH_ZOE,
    normalbae.NORMAL_BAE,
    openpose.OPENPOSE,
    openpose.OPENPOSE_HAND,
    openpose.OPENPOSE_FACE,
    openpose.OPENPOSE_FULL,
    openpose.DWPOSE,
    mlsd.MLSD,
    tile.TILE,
    shuffle.SHUFFLE,
    inpaint.INPAINT,
)

# Those of extensions; written once, before the first job (`set_added_preprocessors`).
_added: list[Preprocessor] = []


def preprocessors() -> tuple[Preprocessor, ...]:
    """Easel's own, then those of extensions."""
    return (*PREPROCESSORS, *_added)


def set_added_preprocessors(rows: Sequence[Preprocessor]) -> None:
    """The preprocessors of all extensions, in place of those before.

    Raises:
        SpecError: `extension_unusable`, a name is taken; nothing has changed then.
    """
    taken = {name for each in PREPROCESSORS for name in (each.id, *each.names)}
    for row in rows:
        if row.id in taken:
            raise SpecError(
                "extension_unusable",
                f"There is a preprocessor of the name “{row.id}” already.",
                "Its author has to choose another name.",
            )
        taken.add(row.id)
    _added[:] = rows


def preprocessor(name: str) -> Preprocessor:
    """The preprocessor of that id, or of a name that A1111 writes.

    Raises:
        ControlError: `preprocessor_unknown`, with the nearest names.
    """
    wanted = name.strip().casefold()
    for each in preprocessors():
        if wanted in (each.id, *each.names):
            return each
    near = difflib.get_close_matches(wanted, [each.id for each in preprocessors()], n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else "See /api/v1/controlnets for all of them."
    raise ControlError("preprocessor_unknown", f"There is no preprocessor “{name[:100]}”.", hint)
