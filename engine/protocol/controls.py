"""What is told about ControlNets: files, types, preprocessors, hints."""

from __future__ import annotations

from engine.protocol.frozen import Frozen
from engine.protocol.specs import UnitKind


class ControlType(Frozen):
    """A kind of unit. `low` to `high` are the weights that suit it; `words` are how file names say it."""

    id: str
    title: str
    use: str = ""
    low: float = 0.5
    high: float = 1.0
    words: tuple[str, ...] = ()

    @property
    def weight(self) -> float:
        """What a new unit starts with."""
        return round((self.low + self.high) / 2, 2)


class ControlNetView(Frozen):
    """A ControlNet or IP-Adapter that can be chosen, or a sentence why it cannot (`problem`).

    Attributes:
        kind: of the units that it is for.
        id: unique and stable. family: "sd1", "sd2", "sdxl"; "" where the file does not tell.
        type: the id of its `ControlType`, "" where its name does not tell.
        hint_types: the types of hints that a union ControlNet reads; () for those that read one.
        weight, low, high: what a unit starts with, and the range that suits it: the side file's, else its type's.
        preprocessor: the id of the preprocessor to start with.
        fits: whether it fits the model that was asked about; None where none was.
        misfit: why not, in a sentence.
        remark: what is odd about its side file, in a sentence; it works all the same.
    """

    id: str
    title: str
    kind: UnitKind = "controlnet"
    file: str = ""
    family: str = ""
    type: str = ""
    hint_types: tuple[str, ...] = ()
    weight: float = 1.0
    low: float = 0.5
    high: float = 1.0
    preprocessor: str = "none"
    size_bytes: int = 0
    hash: str = ""
    problem: str = ""
    fits: bool | None = None
    misfit: str = ""
    remark: str = ""


class ParameterView(Frozen):
    """A number of a preprocessor; `step` is that of its slider."""

    name: str
    title: str
    low: float
    high: float
    default: float
    step: float = 1.0


class PreprocessorView(Frozen):
    """A preprocessor. `problem` says which file it misses, from where, and where to put it; "" where it can run."""

    id: str
    title: str
    types: tuple[str, ...] = ()
    parameters: tuple[ParameterView, ...] = ()
    files: tuple[str, ...] = ()
    problem: str = ""


class ControlCatalogue(Frozen):
    """All there is for a unit."""

    controlnets: tuple[ControlNetView, ...] = ()
    types: tuple[ControlType, ...] = ()
    preprocessors: tuple[PreprocessorView, ...] = ()


class HintView(Frozen):
    """A hint as an asset. `cached`: it was there already. `seconds`: what making it took, 0.0 where it was there."""

    ref: str
    width: int
    height: int
    cached: bool = False
    seconds: float = 0.0
    preprocessor: str = "none"
    resolution: int = 0
