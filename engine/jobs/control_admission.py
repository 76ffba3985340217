"""Admission of ControlNet units: pictures, models, preprocessors and numbers checked, defaults filled in, advice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from engine.control.annotators import AnnotatorFiles
from engine.control.preprocessors.base import Preprocessor
from engine.control.preprocessors.table import preprocessor
from engine.errors import ControlError, SpecError
from engine.images.assets import AssetStore
from engine.jobs.hint_checks import check_resolution, checked_values
from engine.library.control_types import control_type, union_types
from engine.library.controlnets import ControlEntry, ControlShelf, misfit, unread_type
from engine.library.entries import ModelEntry
from engine.protocol.notices import Notice
from engine.protocol.specs import CONTROL_WEIGHT_RANGE, ControlUnit, GenerationSpec

SMALLEST_SIDE = 8
LONGEST_TO_SHORTEST = 20
MOST_UNITS = 30
ADVISED_UNITS = 3
STRONG_TOGETHER = 1.5
# A unit, what to call it, and its type.
_Advised = tuple[ControlUnit, str, str]


class ControlAdmission:
    """Checks units against the library and the table of preprocessors; nothing is loaded.

    Args:
        asset: from an asset reference to its file; raises NotFoundError.
        reference: the picture of an IP-Adapter unit that has none (`[engine] reference_image`); "" where there is none.
    """

    def __init__(
        self,
        shelf: ControlShelf,
        annotators: AnnotatorFiles,
        asset: Callable[[str], Path],
        reference: Callable[[], str] = str,
    ) -> None:
        self._shelf = shelf
        self._annotators = annotators
        self._asset = asset
        self._reference = reference

    def admit(
        self, spec: GenerationSpec, model: ModelEntry, steps: int, notices: list[Notice]
    ) -> tuple[ControlUnit, ...]:
        """The spec's units by their ids, with all parameters; muted ones stay as they are.

        Raises:
            ControlError, SpecError, ModelFileError, NotFoundError: with the code of the first thing that is wrong.
        """
        if len(spec.controls) > MOST_UNITS:
            raise SpecError(
                "bad_request", f"There are {len(spec.controls)} ControlNet units.", f"Use at most {MOST_UNITS}."
            )
        done: list[ControlUnit] = []
        entries: list[_Advised] = []
        for number, unit in enumerate(spec.controls, start=1):
            if unit.muted:
                done.append(unit)
                continue
            _check_numbers(number, unit)
            if unit.kind != "controlnet":
                unit, named = self._by_picture(number, unit, model, notices)
                done.append(unit)
                entries.append((unit, *named))
                continue
            self._check_picture(number, unit)
            if not unit.model.strip():
                raise ControlError(
                    "control_unknown", f"Unit {number} has no ControlNet.", "Choose one, or mute the unit."
                )
            entry = self._shelf.find(unit.model, unit.kind)
            wrong = misfit(entry.view, entry.facts, model)
            if wrong:
                raise ControlError("control_mismatch", wrong, "Choose a ControlNet that was made for this model.")
            what = preprocessor(unit.preprocessor)
            self._annotators.paths(what)
            values = checked_values(what, unit.parameters)
            unit = unit.model_copy(
                update={
                    "model": entry.view.id,
                    "preprocessor": what.id,
                    "parameters": values,
                    "hint_type": _hint_type(entry, unit, what),
                }
            )
            done.append(unit)
            entries.append((unit, entry.view.title, entry.type or unit.hint_type))
        notices.extend(_advice(entries, steps))
        return tuple(done)

    def _by_picture(
        self, number: int, unit: ControlUnit, model: ModelEntry, notices: list[Notice]
    ) -> tuple[ControlUnit, tuple[str, str]]:
        """An IP-Adapter or reference unit, with a title and its type."""
        unit = unit.model_copy(update={"preprocessor": "none", "parameters": {}, "mode": "balanced"})
        if unit.kind == "ip_adapter" and not unit.image.strip():
            unit = unit.model_copy(update={"image": self._reference()})
        self._check_picture(number, unit)
        if unit.kind == "ip_adapter" and not unit.model.strip():
            fitting = self._shelf.ip_adapters(model)
            if not fitting:
                notices.append(
                    Notice(
                        code="control_advice",
                        message=f"There is no IP-Adapter for {model.view.title}: the picture is used as a reference.",
                        level="warning",
                    )
                )
                return self._by_picture(number, unit.model_copy(update={"kind": "reference"}), model, notices)
            unit = unit.model_copy(update={"model": fitting[0].id})
        if unit.kind == "reference":
            return unit.model_copy(update={"model": ""}), ("Reference", "reference")
        entry = self._shelf.find(unit.model, unit.kind)
        wrong = misfit(entry.view, entry.facts, model)
        if wrong:
            raise ControlError("control_mismatch", wrong, "Choose an IP-Adapter that was made for this model.")
        self._shelf.encoder(entry)
        return unit.model_copy(update={"model": entry.view.id}), (entry.view.title, entry.type)

    def _check_picture(self, number: int, unit: ControlUnit) -> None:
        if not unit.image.strip():
            raise ControlError(
                "control_image_missing", f"ControlNet unit {number} has no picture.", "Choose one, or mute the unit."
            )
        with Image.open(self._asset(unit.image)) as opened:
            width, height = opened.size
        if min(width, height) < SMALLEST_SIDE or max(width, height) > LONGEST_TO_SHORTEST * min(width, height):
            raise ControlError(
                "control_image_unusable",
                f"The picture of ControlNet unit {number} has {width} × {height} pixels.",
                f"Take one with at least {SMALLEST_SIDE} px a side, at most {LONGEST_TO_SHORTEST} times as long as "
                "wide.",
            )


def kept_reference(assets: AssetStore, file: str) -> str:
    """The picture of `[engine] reference_image` as an asset; "" where none is set.

    Raises:
        ControlError: `control_image_missing`, it cannot be read. SpecError: it is no picture.
    """
    if not file.strip():
        return ""
    try:
        return assets.put(Path(file).expanduser().read_bytes()).ref
    except OSError as error:
        raise ControlError(
            "control_image_missing",
            "The picture of [engine] reference_image cannot be read.",
            "Correct the path in config.toml, or send reference_image.",
        ) from error


def _check_numbers(number: int, unit: ControlUnit) -> None:
    low, high = CONTROL_WEIGHT_RANGE
    if not low <= unit.weight <= high:
        raise ControlError(
            "control_weight_out_of_range",
            f"The weight of ControlNet unit {number} must be from {low:g} to {high:g}, not {unit.weight:g}.",
            "0.3 to 1.0 suit most types.",
        )
    for name, value in (("start", unit.start), ("end", unit.end), ("fidelity", unit.fidelity)):
        if not 0.0 <= value <= 1.0:
            meant = f"Did you mean {value / 100:g}?" if 1.0 < value <= 100.0 else "Choose a fraction in that range."
            raise SpecError(
                "fraction_out_of_range",
                f"The {name} of ControlNet unit {number} must be from 0.0 to 1.0, not {value:g}.",
                meant,
            )
    if unit.start >= unit.end:
        raise ControlError(
            "control_window_empty",
            f"ControlNet unit {number} starts at {unit.start:g} and ends at {unit.end:g}.",
            "The start must lie before the end.",
        )
    check_resolution(unit.resolution)


def _hint_type(entry: ControlEntry, unit: ControlUnit, what: Preprocessor) -> str:
    """What a union ControlNet is told of the hint: what the unit says, or what its preprocessor makes; else ""."""
    if not entry.facts.union:
        return ""
    asked = unit.hint_type.strip().casefold()
    known = union_types(entry.facts.union)
    found = asked or next((each for each in what.types if each in known), "")
    if found not in known:
        raise unread_type(entry, found)
    return found


def _advice(entries: Sequence[_Advised], steps: int) -> list[Notice]:
    """What a person should know of the composition; nothing is changed."""
    said: list[str] = []
    if len(entries) > ADVISED_UNITS:
        said.append(f"{len(entries)} ControlNets work together; two or three are usually enough.")
    counts = Counter(kind for _, _, kind in entries if kind)
    for kind, count in counts.items():
        if count > 1:
            title = control_type(kind).title
            said.append(f"{count} units are of the type {title}: different types complement each other better.")
    # The most is reached where one begins.
    together = max(
        (sum(other.weight for other, *_ in entries if other.start <= unit.start < other.end) for unit, *_ in entries),
        default=0.0,
    )
    if len(entries) > 1 and together > STRONG_TOGETHER:
        said.append(f"The weights add up to {together:g}: lower ones leave the prompt more freedom.")
    for unit, title, _ in entries:
        if unit.percent_rule == "step" and not any(
            place / steps >= unit.start and (place + 1) / steps <= unit.end for place in range(steps)
        ):
            said.append(
                f"{title} works from {unit.start:.0%} to {unit.end:.0%}, which holds none of the {steps} "
                "steps: it does nothing."
            )
    return [Notice(code="control_advice", message=message) for message in said]
