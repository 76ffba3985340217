"""What is wrong with a value that a person or a program sent, in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import SpecError
from engine.protocol.wrong_values import why


def explain(error: ValidationError, model: type[BaseModel]) -> SpecError:
    """The first problem as a sentence; a misspelt field before the one that is missing because of it."""
    problems = error.errors(include_url=False, include_input=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    where = list(first["loc"])
    if first["type"] == "json_invalid":
        return SpecError("bad_request", "The body is not valid JSON.", f"{first['msg'][:200]}.")
    name = ".".join(str(part)[:80] for part in where) or "the body"
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, where[:-1])
        near = difflib.get_close_matches(str(where[-1])[:80], known, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(f'“{item}”' for item in near)}?" if near else f"Known: {', '.join(known)}."
        return SpecError("bad_request", f"There is no field “{name}”.", hint)
    return SpecError(
        "bad_request", f"“{name}” is not usable: {why(first)}.", "See /docs for the fields and their types."
    )


def _fields_at(model: Any, where: Sequence[object]) -> list[str]:
    """The names of the fields of the object at `where` inside `model`."""
    for part in where:
        if isinstance(part, int):
            continue
        field = next(
            (f for n, f in getattr(model, "model_fields", {}).items() if part in (n, f.alias)),
            None,
        )
        if field is None:
            break
        model = _inner_model(field.annotation) or model
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _inner_model(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
