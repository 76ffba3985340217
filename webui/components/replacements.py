"""What stands in the form and is there no longer: what takes its place, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.protocol.commands import ModelList
from webui.components.form import OWN_VAE
from webui.components.form_widgets import find_model


def replacements(
    form: Mapping[str, Any], models: ModelList, choices: Mapping[str, list[tuple[str, str]]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """New values for the pickers whose choice is not offered any more, and what to tell the person.

    Everything else of the form stays as the person left it. A form without a model takes the default one, or the first
    that can be used, and nothing is told of that.
    """
    offered = {name: [value for _, value in choices[name]] for name in ("model", "vae", "styles")}
    instead: dict[str, Any] = {}
    words: list[str] = []
    model, vae = form.get("model"), form.get("vae")
    if model not in offered["model"]:
        start = models.default if models.default in offered["model"] else next(iter(offered["model"]), None)
        instead["model"] = start
        view = find_model(models, start)
        if model:
            words.append(f"The model {model} is no longer here. " + (f"{view.title} is chosen now." if view else ""))
    if vae and vae not in offered["vae"]:
        instead["vae"] = OWN_VAE
        words.append(f"The VAE {vae} is no longer here. The model's own is chosen now.")
    styles = form.get("styles")
    if isinstance(styles, list) and (gone := [style for style in styles if style not in offered["styles"]]):
        instead["styles"] = [style for style in styles if style in offered["styles"]]
        words.append(f"These styles are no longer here: {', '.join(map(str, gone))}.")
    return instead, tuple(word.strip() for word in words)
