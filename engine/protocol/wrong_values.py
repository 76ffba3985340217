"""Why a value cannot be used, in our own words instead of pydantic's: for settings, REST bodies and manifests alike."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_WORDS = {
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "int_parsing_size": "that number is far too large",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "finite_number": "it must be a finite number",
    "string_type": "it must be text",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "missing": "it is required",
}
_LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def why(problem: ErrorDetails) -> str:
    """Half a sentence that fits behind "… is not usable: "; at most 200 characters."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in _LIMITS and _LIMITS[kind][0] in context:
        key, words = _LIMITS[kind]
        limit = context[key]
        return f"it must be {words} {limit:g}" if isinstance(limit, float) else f"it must be {words} {limit}"
    if kind == "literal_error" and "expected" in context:
        return f"it must be {context['expected']}"[:200]
    if kind == "string_too_long" and "max_length" in context:
        return f"it must have at most {context['max_length']} characters"
    return _WORDS.get(kind, problem["msg"])[:200]
