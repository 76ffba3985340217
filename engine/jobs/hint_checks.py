"""The numbers that a hint is made with: a unit of a job and a preview are checked alike."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.control.preprocessors.base import Preprocessor
from engine.control.preprocessors.table import preprocessor
from engine.errors import ControlError, SpecError
from engine.jobs.picture_size import checked_side
from engine.protocol.commands import PreviewHint
from engine.protocol.specs import HINT_RESOLUTION_RANGE


def check_preview(command: PreviewHint) -> None:
    """What is asked for, without its picture.

    Raises:
        ControlError: `preprocessor_unknown`, `control_value_out_of_range`.
        SpecError: `size_out_of_range`, `size_not_multiple`, `bad_request`.
    """
    checked_values(preprocessor(command.preprocessor), command.parameters)
    check_resolution(command.resolution)
    for name, value in (("width", command.width), ("height", command.height)):
        if value is not None:
            checked_side(name, value)
    if (command.width is None) != (command.height is None):
        given, absent = ("width", "height") if command.height is None else ("height", "width")
        raise SpecError("bad_request", f"There is a {given} without a {absent}.", "Send both, or neither.")


def checked_values(what: Preprocessor, given: Mapping[str, float]) -> dict[str, float]:
    """Every parameter of a preprocessor with its value. Raises ControlError `control_value_out_of_range`."""
    known = {each.name: each for each in what.parameters}
    for name, value in given.items():
        parameter = known.get(name)
        if parameter is None:
            names = ", ".join(known) or "no parameters"
            raise ControlError(
                "control_value_out_of_range",
                f"{what.title} has no parameter “{name[:60]}”.",
                f"It has {names}.",
            )
        if not (math.isfinite(value) and parameter.low <= value <= parameter.high):
            raise ControlError(
                "control_value_out_of_range",
                f"{name} of {what.title} must be from {parameter.low:g} to {parameter.high:g}, not {value:g}.",
                f"{parameter.default:g} is usual.",
            )
    return what.values(given)


def check_resolution(resolution: int | None) -> None:
    """The shorter side in px that a preprocessor sees; None fits it to the picture.

    Raises:
        ControlError: `control_value_out_of_range`.
    """
    smallest, largest = HINT_RESOLUTION_RANGE
    if resolution is not None and not smallest <= resolution <= largest:
        raise ControlError(
            "control_value_out_of_range",
            f"The preprocessor's resolution must be from {smallest} to {largest} px, not {resolution}.",
            "Leave it out to fit it to the picture.",
        )
