"""Small files beside a model: Easel's own `easel.toml`, A1111's user metadata, and what model managers write.

Of `X.safetensors`: `X.easel.toml`, `X.json` and `X.txt` (A1111), `X.civitai.info` (Civitai-Helper), `X.metadata.json`
(ComfyUI-Lora-Manager), `X.swarm.json` (SwarmUI), `X.cm-info.json` (StabilityMatrix).
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.protocol.frozen import Frozen
from engine.protocol.library import ModelDefaults

SIDECAR_LIMIT = 1_000_000


class Sidecar(Frozen):
    """What side files tell of a model; everything may be empty.

    `vae` is a file name or "" (A1111's "Automatic" and "None" are ""); `weight` is the advised one, `weight_low` to
    `weight_high` are those that suit a ControlNet (Easel's own file alone has them). The first `certain_words` of the
    trigger words are meant for every prompt; the rest are to choose from (outfits, poses).
    """

    name: str = ""
    family: str = ""
    description: str = ""
    defaults: ModelDefaults = ModelDefaults()
    examples: tuple[str, ...] = ()
    negative: str = ""
    vae: str = ""
    trigger_words: tuple[str, ...] = ()
    certain_words: int = 0
    weight: float | None = None
    weight_low: float | None = None
    weight_high: float | None = None
    problem: str = ""


def read_sidecar(path: Path) -> Sidecar:
    """The side files of a model file `X.…` or of a model folder; a damaged one only leaves a sentence in `problem`."""
    toml = path / "easel.toml" if path.is_dir() else path.with_suffix(".easel.toml")
    if toml.is_file():
        return _read_toml(toml)
    if path.is_dir():
        return Sidecar()
    merged = Sidecar()
    for ending, read in _READERS.items():
        merged = _merge(merged, read(path.with_suffix(ending)))
    return merged


def _read_toml(file: Path) -> Sidecar:
    try:
        if file.stat().st_size > SIDECAR_LIMIT:
            raise ValueError("it is too large")
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        defaults = dict(raw.get("defaults", {}))
        if "upscale" in raw:
            defaults.setdefault("upscale", raw["upscale"])
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
            trigger_words=_words(raw.get("trigger_words")),
            certain_words=len(_words(raw.get("trigger_words"))),
            weight=_weight(raw.get("weight")),
            weight_low=_number(raw.get("weight_low")),
            weight_high=_number(raw.get("weight_high")),
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
    words = str(raw.get("activation text") or "").strip()
    return Sidecar(
        description=str(raw.get("description") or ""),
        negative=str(raw.get("negative text") or ""),
        vae="" if vae.lower() in {"automatic", "none"} else vae,
        trigger_words=(words,) if words else (),
        certain_words=1 if words else 0,
        weight=_weight(raw.get("preferred weight")),
    )


def _read_civitai(file: Path) -> Sidecar:
    raw = _json(file)
    model = raw.get("model")
    return _listed(raw.get("trainedWords"), str(model.get("name") or "") if isinstance(model, dict) else "")


def _read_lora_manager(file: Path) -> Sidecar:
    raw = _json(file)
    civitai = raw.get("civitai")
    try:
        tips = json.loads(str(raw.get("usage_tips") or "{}"))
    except (ValueError, RecursionError):
        tips = {}
    weight = _weight(tips.get("strength")) if isinstance(tips, dict) else None
    told = _listed(civitai.get("trainedWords") if isinstance(civitai, dict) else None, str(raw.get("model_name") or ""))
    return told.model_copy(update={"description": str(raw.get("notes") or ""), "weight": weight})


def _read_swarm(file: Path) -> Sidecar:
    raw = _json(file)
    phrase = str(raw.get("modelspec.trigger_phrase") or raw.get("trigger_phrase") or "").strip()
    return Sidecar(
        name=str(raw.get("modelspec.title") or raw.get("title") or ""),
        description=str(raw.get("modelspec.description") or raw.get("description") or ""),
        trigger_words=(phrase,) if phrase else (),
        certain_words=1 if phrase else 0,
    )


def _read_matrix(file: Path) -> Sidecar:
    raw = _json(file)
    return _listed(raw.get("TrainedWords"), str(raw.get("ModelName") or ""))


def _read_text(file: Path) -> Sidecar:
    try:
        if not file.is_file() or file.stat().st_size > SIDECAR_LIMIT:
            return Sidecar()
        return Sidecar(description=file.read_text(encoding="utf-8", errors="replace").strip()[:4000])
    except OSError:
        return Sidecar()


_READERS: dict[str, Callable[[Path], Sidecar]] = {
    ".json": _read_a1111,
    ".civitai.info": _read_civitai,
    ".metadata.json": _read_lora_manager,
    ".swarm.json": _read_swarm,
    ".cm-info.json": _read_matrix,
    ".description.txt": _read_text,
    ".txt": _read_text,
}
ENDINGS = (".easel.toml", *_READERS)


def _listed(words: object, name: str) -> Sidecar:
    """Words as model sites list them: alternatives, of which the first is the main one."""
    found = _words(words)
    return Sidecar(name=name, trigger_words=found, certain_words=min(len(found), 1))


def _words(value: object) -> tuple[str, ...]:
    return tuple(str(word).strip() for word in value if str(word).strip()) if isinstance(value, list) else ()


def _weight(value: object) -> float | None:
    """A usable weight; None where it is none (A1111 writes 0 for "not set")."""
    number = _number(value)
    return number if number is not None and 0 < abs(number) <= 10 else None


def _number(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain and isinstance(value, int | float) else None


def _merge(first: Sidecar, second: Sidecar) -> Sidecar:
    """What the first does not tell, from the second."""
    worded = first if first.trigger_words else second
    return first.model_copy(
        update={
            "name": first.name or second.name,
            "description": first.description or second.description,
            "negative": first.negative or second.negative,
            "vae": first.vae or second.vae,
            "trigger_words": worded.trigger_words,
            "certain_words": worded.certain_words,
            "weight": first.weight if first.weight is not None else second.weight,
        }
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file() or file.stat().st_size > SIDECAR_LIMIT:
            return {}
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
