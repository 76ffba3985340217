"""Specs, notices and lists as JSON text in rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

log = logging.getLogger(__name__)


def spec_text(spec: GenerationSpec) -> str:
    """A spec as JSON."""
    return spec.model_dump_json(by_alias=True)


def read_spec(text: str) -> GenerationSpec:
    """A spec out of a row, also of one that another version of Easel wrote: what it does not know is left out.

    One old row must not make a whole page of the history unreadable; the picture's file keeps the spec as it was.
    """
    try:
        return GenerationSpec.model_validate_json(text)
    except ValidationError:
        values: dict[str, Any] = json.loads(text)
    while True:
        try:
            return GenerationSpec.model_validate(values)
        except ValidationError as error:
            unknown = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
            log.warning("a stored spec has fields that this version cannot read: %s", ", ".join(sorted(unknown)))
            left = {name: value for name, value in values.items() if name not in unknown}
            if len(left) == len(values):
                raise
            values = left


def notices_text(notices: Sequence[Notice]) -> str:
    """Notices as a JSON list."""
    return json.dumps([notice.model_dump(mode="json") for notice in notices], ensure_ascii=False)


def read_notices(text: str) -> tuple[Notice, ...]:
    """Notices out of a row; one with a code that this version does not know is left out."""
    notices: list[Notice] = []
    for value in json.loads(text):
        try:
            notices.append(Notice.model_validate(value))
        except ValidationError:
            log.warning("a stored notice has an unknown shape: %s", value)
    return tuple(notices)


def list_text(values: Sequence[str]) -> str:
    """A list of strings as JSON; readable, since tags are searched as text."""
    return json.dumps(list(values), ensure_ascii=False)


def read_list(text: str) -> tuple[str, ...]:
    """A list of strings out of a row."""
    return tuple(json.loads(text))
