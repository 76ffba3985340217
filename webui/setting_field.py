"""SettingField: one value that an extension's users set, with what it may be, and the sentence where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine.errors import SpecError

LONGEST_TEXT = 2000

Setting = bool | int | float | str


@dataclass(frozen=True)
class SettingField:
    """One value of an extension. The kind follows from the default: bool, int, float, str; `choices` make a list.

    Attributes:
        low, high: the smallest and the largest number that the extension can work with, both included; None: no limit.
    """

    name: str
    label: str
    default: Setting
    info: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def checked(self, value: Any) -> Setting:
        """`value` in the default's kind; 3.0 is 3 where whole numbers are wanted.

        Raises:
            SpecError: `setting_unusable`, a sentence that names the field, and what is possible.
        """
        if self.choices:
            if value in self.choices:
                return str(value)
            raise self._wrong(f"has no choice {_shown(value)}", f"There are: {', '.join(self.choices)}.")
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
            raise self._wrong("is neither on nor off", "Switch it on or off.")
        if isinstance(self.default, (int, float)):
            return self._number(value, whole=isinstance(self.default, int))
        if not isinstance(value, str):
            raise self._wrong(f"is a text, not {_shown(value)}", "Write a text.")
        if len(value) > LONGEST_TEXT:
            raise self._wrong(f"has {len(value)} characters", f"Use at most {LONGEST_TEXT}.")
        return value

    def _number(self, value: Any, whole: bool) -> int | float:
        wanted = f"Give a {'whole number' if whole else 'number'}{self._range()}."
        if value is None or value == "":
            raise self._wrong("is empty", wanted)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(f"cannot be {_shown(value)}", wanted)
        if whole and value != int(value):
            raise self._wrong(f"cannot be {_shown(value)}", wanted)
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise self._wrong(f"cannot be {_shown(value)}", wanted)
        return int(value) if whole else float(value)

    def _range(self) -> str:
        if self.low is not None and self.high is not None:
            return f" from {self.low:g} to {self.high:g}"
        if self.low is not None:
            return f", {self.low:g} or more"
        return "" if self.high is None else f", {self.high:g} or less"

    def _wrong(self, what: str, hint: str) -> SpecError:
        return SpecError("setting_unusable", f"“{self.label}” {what}.", hint)


def _shown(value: Any) -> str:
    """A wrong value, short enough for a sentence."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.15g}"
    text = str(value)
    return f"“{text[:40]}…”" if len(text) > 40 else f"“{text}”"
