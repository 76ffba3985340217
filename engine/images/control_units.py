"""ControlNet units in infotext: A1111's `ControlNet N` pairs, and one pair with all that those cannot say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from engine.conditioning.adapter_tags import plain_number
from engine.images.control_text import parse_control_unit, write_control_unit
from engine.protocol.specs import ControlMode, ControlUnit, ResizeMode, UnitKind

Name = TypeVar("Name", bound=str)
# Our own pair: whole units, because A1111's text has no picture, no ramp and no rule for percentages.
OWN_KEY = "Easel controls"
MOST_UNITS = 30
_KEY = re.compile(r"ControlNet (\d{1,2})")
_HASH = re.compile(r"\s*\[([0-9a-fA-F]{8,64})\]$")
_RESIZE: dict[ResizeMode, str] = {
    "stretch": "Just Resize",
    "crop": "Crop and Resize",
    "fill": "Resize and Fill",
}
_MODES: dict[ControlMode, str] = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
    "guess": "Balanced",
}
# What A1111's extension calls the preprocessors of units that make no hint.
_MODULES: dict[UnitKind, str] = {"ip_adapter": "ip-adapter-auto", "reference": "reference_only"}
_THRESHOLDS = ("Threshold A", "Threshold B")


@dataclass(frozen=True)
class FoundUnit:
    """A unit that was read. `label` names it to a person; `model_hash` is "" where none is told.

    `thresholds` are A1111's two numbers in their order; whose they are depends on the preprocessor.
    """

    label: str
    unit: ControlUnit
    model_hash: str = ""
    thresholds: tuple[float, ...] = ()


def control_pairs(units: Sequence[ControlUnit], hashes: Mapping[str, str]) -> list[tuple[str, str]]:
    """The pairs of a spec's units that are not muted.

    Args:
        hashes: SHA-256 by model id, "" while unknown.
    """
    used = [unit for unit in units if not unit.muted]
    pairs = [(f"ControlNet {number}", _text(unit, hashes)) for number, unit in enumerate(used)]
    if used:
        whole = [{"model": unit.model, **unit.model_dump(mode="json", exclude_defaults=True)} for unit in used]
        pairs.append((OWN_KEY, json.dumps(whole, separators=(",", ":"), ensure_ascii=False)))
    return pairs


def control_keys(fields: Mapping[str, str]) -> set[str]:
    """The keys of an infotext that units are read from."""
    return {name for name in fields if name == OWN_KEY or _KEY.fullmatch(name)}


def read_controls(fields: Mapping[str, str]) -> list[FoundUnit]:
    """The units of parsed infotext: from our own pair where it can be read, else from A1111's."""
    own = _own(fields.get(OWN_KEY, ""))
    if own is not None:
        return [
            FoundUnit(_label(number, _MODULES.get(unit.kind, unit.preprocessor), unit.model), unit)
            for number, unit in enumerate(own)
        ]
    return list(_foreign(fields))


def _own(text: str) -> list[ControlUnit] | None:
    try:
        listed = json.loads(text) if text else None
        return [ControlUnit.model_validate(each) for each in listed[:MOST_UNITS]] if isinstance(listed, list) else None
    except (ValueError, ValidationError, RecursionError):
        return None


def _foreign(fields: Mapping[str, str]) -> Iterator[FoundUnit]:
    numbers = sorted(int(match[1]) for name in fields if (match := _KEY.fullmatch(name)))
    for number in numbers[:MOST_UNITS]:
        told = parse_control_unit(fields.get(f"ControlNet {number}", ""))
        text = told.get("Model", "").strip()
        module = told.get("Module", "none").strip() or "none"
        kind = _kind(module)
        if kind == "reference":
            text = ""
        elif not text or text.lower() == "none":
            continue
        found = _HASH.search(text)
        model = text[: found.start()] if found else text
        exact = told.get("Pixel Perfect", "").strip().lower() == "true"
        size = _number(told.get("Processor Res", ""), -1.0)
        thresholds = tuple(_number(told[name], -1.0) for name in _THRESHOLDS if name in told)
        unit = ControlUnit(
            kind=kind,
            model=model[:300],
            image="",
            preprocessor=module[:100] if kind == "controlnet" else "none",
            fidelity=_fidelity(kind, thresholds),
            weight=_number(told.get("Weight", ""), 1.0),
            start=_number(told.get("Guidance Start", ""), 0.0),
            end=_number(told.get("Guidance End", ""), 1.0),
            resize=_named(_RESIZE, told.get("Resize Mode", ""), "crop"),
            mode=_named(_MODES, told.get("Control Mode", ""), "balanced"),
            resolution=None if exact or not 0 < size < 1e6 else round(size),
        )
        yield FoundUnit(_label(number, module, model), unit, found[1] if found else "", thresholds)


def _text(unit: ControlUnit, hashes: Mapping[str, str]) -> str:
    digest = hashes.get(unit.model, "").lower()
    numbers = [unit.fidelity] if unit.kind == "reference" else list(unit.parameters.values())
    fields = {
        "Module": _MODULES.get(unit.kind, unit.preprocessor),
        "Model": "None" if unit.kind == "reference" else f"{unit.model} [{digest[:8]}]" if digest else unit.model,
        "Weight": plain_number(unit.weight),
        "Resize Mode": _RESIZE[unit.resize],
        "Processor Res": str(unit.resolution or -1),
        **{name: plain_number(value) for name, value in zip(_THRESHOLDS, numbers, strict=False)},
        "Guidance Start": plain_number(unit.start),
        "Guidance End": plain_number(unit.end),
        "Pixel Perfect": str(unit.resolution is None),
        "Control Mode": _MODES[unit.mode],
    }
    return write_control_unit(fields)


def _kind(module: str) -> UnitKind:
    """The kind of unit that a preprocessor's name in A1111 tells."""
    word = module.casefold()
    if word.startswith("reference"):
        return "reference"
    return "ip_adapter" if word.startswith("ip-adapter") else "controlnet"


def _fidelity(kind: UnitKind, thresholds: tuple[float, ...]) -> float:
    told = thresholds[0] if kind == "reference" and thresholds else 0.5
    return told if 0 <= told <= 1 else 0.5


def _label(number: int, module: str, model: str) -> str:
    return f"ControlNet {number} ({module[:80]}, {model[:120]})"


def _number(text: str, default: float) -> float:
    try:
        value = float(text[:40])
    except ValueError:
        return default
    return value if abs(value) < 1e9 else default


def _named(names: Mapping[Name, str], text: str, default: Name) -> Name:
    wanted = text.strip().lower()
    return next((name for name, title in names.items() if title.lower() == wanted), default)
