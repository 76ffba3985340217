"""The weights that suit a ControlNet: what its side file says, before what its type says."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol.controls import ControlType
from engine.protocol.library import AdvisedWeights
from engine.protocol.specs import CONTROL_WEIGHT_RANGE


@dataclass(frozen=True)
class SuitedWeights:
    """What a unit starts with, and from where to where its weight suits.

    `remark`: what of the side file was not taken, in a sentence; "" where nothing is odd.
    """

    weight: float
    low: float
    high: float
    remark: str = ""


def suited_weights(kind: ControlType, said: AdvisedWeights) -> SuitedWeights:
    """The weights of one ControlNet.

    Each of the three numbers of the side file counts alone. A weight without a range widens the type's so far that it
    lies inside; a range without a weight starts in its middle. Numbers that no unit may have are left out.
    """
    least, most = CONTROL_WEIGHT_RANGE
    told = {"weight": said.weight, "weight_low": said.low, "weight_high": said.high}
    usable = {name: value for name, value in told.items() if value is not None and least <= value <= most}
    remarks = [
        f"Its side file says {name} = {value:g}, which is left out: {least:g} to {most:g} is possible."
        for name, value in told.items()
        if value is not None and name not in usable
    ]
    weight, low, high = usable.get("weight"), usable.get("weight_low"), usable.get("weight_high")
    if low is not None and high is not None and low > high:
        remarks.append(f"Its side file has weight_low = {low:g} above weight_high = {high:g}: both are left out.")
        low = high = None
    # What is said counts, even beyond the other end of the type's range.
    said_ends = [end for end in (low, high) if end is not None]
    low = low if low is not None else min([kind.low, *said_ends])
    high = high if high is not None else max([kind.high, *said_ends])
    if weight is None:
        weight = round((low + high) / 2, 2)
    return SuitedWeights(weight, min(low, weight), max(high, weight), " ".join(remarks))
