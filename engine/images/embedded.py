"""Easel's own record inside a picture: which picture it is, and the whole spec that makes it again.

JSON of the `ImageView` without what may change after writing. Older and newer files are read leniently: fields that
this version does not know are left out and told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.images.safe_json import load_object, unreadable
from engine.protocol.jobs import ImageView
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

_CHANGEABLE = {"infotext", "favourite", "tags", "name", "url"}


@dataclass(frozen=True)
class EmbeddedRecord:
    """What a file says about itself. `facts` are the other fields of the view, unchecked; {} for a bare spec."""

    spec: GenerationSpec
    facts: dict[str, Any]
    notices: tuple[Notice, ...] = ()


def embed(view: ImageView) -> str:
    """The JSON text to write into the file of `view`."""
    return view.model_dump_json(by_alias=True, exclude=_CHANGEABLE)


def read_embedded(text: str) -> EmbeddedRecord:
    """Read `embed`'s text, or the JSON of a `GenerationSpec` alone.

    Raises:
        SpecError: `image_unreadable` when it is not such a text.
    """
    record = load_object(text, "Easel's record")
    inner = record.get("spec")
    raw = inner if isinstance(inner, dict) else record
    spec, dropped = _lenient_spec(raw)
    facts = {key: value for key, value in record.items() if key != "spec"} if raw is inner else {}
    notices: tuple[Notice, ...] = ()
    if dropped:
        message = f"Written by another version of Easel; left out: {', '.join(dropped[:20])}."
        notices = (Notice(code="setting_unsupported", message=message, level="warning"),)
    return EmbeddedRecord(spec=spec, facts=facts, notices=notices)


def _lenient_spec(raw: dict[str, Any]) -> tuple[GenerationSpec, list[str]]:
    """The spec, and the names of the fields that were dropped: this version knows not them, or not their value."""
    if not raw.keys() & {"prompt", "schema", "seed", "steps"}:
        raise unreadable("Easel's record is damaged.")
    try:
        return GenerationSpec.model_validate(raw), []
    except (ValidationError, RecursionError) as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors()} if isinstance(error, ValidationError) else set()
    kept = {key: value for key, value in raw.items() if key not in wrong}
    if not wrong or "prompt" not in kept:
        raise unreadable("Easel's record is damaged.")
    try:
        return GenerationSpec.model_validate(kept), sorted(name[:60] for name in wrong)
    except (ValidationError, RecursionError) as error:
        raise unreadable("Easel's record is damaged.") from error
