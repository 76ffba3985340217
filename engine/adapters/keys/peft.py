"""Names of peft: "base_model.model." before a module's path, the component sometimes before or after it."""

from __future__ import annotations

from engine.adapters.keys.spelling import Spelling, component_first, split_dotted

_ROOT = "base_model.model."


def parse(name: str) -> Spelling | None:
    """What the key says; None: it is not spelt like this."""
    components, rest = component_first(name)
    if not rest.startswith(_ROOT):
        return None
    rest = rest.removeprefix(_ROOT)
    if len(components) > 1:
        components, rest = component_first(rest)
    if (split := split_dotted(rest)) is None:
        return None
    module, suffix = split
    return Spelling(components, module.replace(".", "_"), suffix, module)
