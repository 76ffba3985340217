"""Small files beside a model: Easel's own `easel.toml`, A1111's user metadata, Civitai-Helper's info."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.protocol.frozen import Frozen
from engine.protocol.library import ModelDefaults

SIDECAR_LIMIT = 1_000_000


class Sidecar(Frozen):
    """What side files tell of a model; everything may be empty.

    `vae` is a file name or "" (A1111's "Automatic" and "None" are ""); `weight` is A1111's preferred weight.
    """

    name: str = ""
    family: str = ""
    description: str = ""
    defaults: ModelDefaults = ModelDefaults()
    examples: tuple[str, ...] = ()
    negative: str = ""
    vae: str = ""
    trigger_words: tuple[str, ...] = ()
    weight: float | None = None
    problem: str = ""


def read_sidecar(path: Path) -> Sidecar:
    """The side files of a model file `X.…` or of a model folder; a damaged one only leaves a sentence in `problem`."""
    toml = path / "easel.toml" if path.is_dir() else path.with_suffix(".easel.toml")
    if toml.is_file():
        return _read_toml(toml)
    if path.is_dir():
        return Sidecar()
    return _merge(_read_a1111(path.with_suffix(".json")), _read_civitai(path.with_suffix(".civitai.info")))


def _read_toml(file: Path) -> Sidecar:
    try:
        if file.stat().st_size > SIDECAR_LIMIT:
            raise ValueError("it is too large")
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        defaults = dict(raw.get("defaults", {}))
        if "scheduler" in defaults:
            # The starter's recipe calls the noise schedule by this name.
            defaults["schedule"] = defaults.pop("scheduler")
        return Sidecar(
            name=raw.get("name", ""),
            family=raw.get("family", ""),
            description=raw.get("description", ""),
            defaults=ModelDefaults.model_validate(defaults),
            examples=tuple(raw.get("examples", {}).get("prompts", ())),
            negative=defaults.get("negative_prompt", ""),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Sidecar(problem=f"{file.name}: {where} is not usable: {first['msg']}.")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return Sidecar(problem=f"{file.name} cannot be read: {error}.")


def _read_a1111(file: Path) -> Sidecar:
    raw = _json(file)
    vae = str(raw.get("vae") or "")
    weight = raw.get("preferred weight")
    words = str(raw.get("activation text") or "").strip()
    return Sidecar(
        description=str(raw.get("description") or ""),
        negative=str(raw.get("negative text") or ""),
        vae="" if vae.lower() in {"automatic", "none"} else vae,
        trigger_words=(words,) if words else (),
        weight=float(weight) if isinstance(weight, int | float) and 0 < abs(weight) <= 10 else None,
    )


def _read_civitai(file: Path) -> Sidecar:
    raw = _json(file)
    words = raw.get("trainedWords")
    model = raw.get("model")
    return Sidecar(
        name=str(model.get("name") or "") if isinstance(model, dict) else "",
        trigger_words=tuple(str(word) for word in words) if isinstance(words, list) else (),
    )


def _merge(first: Sidecar, second: Sidecar) -> Sidecar:
    return first.model_copy(
        update={"name": first.name or second.name, "trigger_words": first.trigger_words or second.trigger_words}
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file() or file.stat().st_size > SIDECAR_LIMIT:
            return {}
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
