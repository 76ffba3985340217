"""Reading finished pictures back, so that the history can be rebuilt from the files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.errors import SpecError
from engine.images.carrier import Carrier, read_carrier
from engine.images.draft import INFOTEXT_LIMIT, Lookups, as_number, as_text, clean_text
from engine.images.embedded import EmbeddedRecord, read_embedded
from engine.images.formats import PICTURE_SUFFIXES
from engine.images.recipe import core_readers, recipe_of
from engine.images.writer import EASEL_KEY, INFOTEXT_KEY
from engine.protocol.jobs import ImageView
from engine.protocol.specs import GenerationSpec, ImageFormat, OutputOptions

_FORMATS: dict[str, ImageFormat] = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}


def read_image_file(path: Path, *, name: str | None = None, lookups: Lookups | None = None) -> ImageView | None:
    """The view of a picture file, from its own record or else from another tool's settings; None where it has neither.

    Pixels are not decoded. `name` is the file's name below the outputs folder, its own name unless given. Pictures of
    other tools get an id made from that name, so reading twice gives the same row, and the file's time as theirs.
    """
    try:
        with path.open("rb") as stream:
            modified = os.fstat(stream.fileno()).st_mtime
            carrier = read_carrier(stream)
        known = name or path.name
        if EASEL_KEY in carrier.texts:
            try:
                return _own(read_embedded(carrier.texts[EASEL_KEY]), carrier, known, modified)
            except SpecError:
                # Its infotext may still be whole.
                return _foreign(carrier, known, modified, lookups or Lookups())
        return _foreign(carrier, known, modified, lookups or Lookups())
    except (OSError, SpecError):
        # No picture, or one that cannot be read: it has no place in the history, and the file is left alone.
        return None


def scan_folder(folder: Path, *, lookups: Lookups | None = None) -> Iterator[ImageView]:
    """Views of all pictures in `folder` and below, in the order of their names; not of hidden ones (`.easel`)."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(names):
            if file.startswith(".") or not file.lower().endswith(PICTURE_SUFFIXES):
                continue
            path = Path(here, file)
            view = read_image_file(path, name=path.relative_to(folder).as_posix(), lookups=lookups)
            if view is not None:
                yield view


def _own(record: EmbeddedRecord, carrier: Carrier, name: str, modified: float) -> ImageView:
    facts = record.facts
    return _view(
        carrier,
        name,
        record.spec,
        image_id=as_text(facts.get("id"))[:100] or _id_of(name),
        job_id=as_text(facts.get("job_id"))[:100],
        job_index=_count(facts.get("job_index")),
        created_at=_or(as_number(facts.get("created_at")), modified),
        seconds=as_number(facts.get("seconds")),
    )


def _foreign(carrier: Carrier, name: str, modified: float, lookups: Lookups) -> ImageView | None:
    recipe = recipe_of(carrier, lookups, core_readers())
    if recipe.spec is None:
        return None
    output = OutputOptions(format=_FORMATS.get(carrier.format, "png"))
    spec = recipe.spec.model_copy(update={"output": output})
    return _view(carrier, name, spec, image_id=_id_of(name), created_at=modified)


def _view(carrier: Carrier, name: str, spec: GenerationSpec, **facts: Any) -> ImageView:
    infotext = clean_text(carrier.texts.get(INFOTEXT_KEY, "")[:INFOTEXT_LIMIT])
    return ImageView(
        id=facts.pop("image_id"),
        job_id=facts.pop("job_id", ""),
        job_index=facts.pop("job_index", 0),
        name=clean_text(name),
        url=f"/outputs/{quote(clean_text(name))}",
        seed=spec.seed or 0,
        width=carrier.width,
        height=carrier.height,
        spec=spec,
        infotext=infotext,
        **facts,
    )


def _id_of(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _count(value: Any) -> int:
    number = as_number(value)
    return 0 if number is None else max(0, min(int(number), 10**6))


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
