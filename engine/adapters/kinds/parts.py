"""The tensors of one module as the file has them, under the names that LyCORIS gives them, and how they can fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch


class Misfit(ValueError):
    """The tensors are sound, but belong to a module of another shape. The text is the reason, without a full stop."""


class Damaged(ValueError):
    """The tensors contradict each other, so the file is broken. The text is the reason, without a full stop."""


class Incomplete(ValueError):
    """A tensor that the others need is not in the file. The text is the reason, without a full stop."""


@dataclass(frozen=True)
class Parts:
    """What a file has for one module.

    Attributes:
        tensors: by suffix ("lora_up.weight", "hada_w1_a", …), in the dtype of the file; on the meta device while only
            the header is known.
        alpha: as the file says; None where it says nothing (or only the header is known).
        cayley_terms: peft's OFT sums that many terms of a series instead of inverting; 0: it inverts.
        on_input: peft's (IA)³ scales what goes in ("feedforward"); None: nobody says.
    """

    tensors: Mapping[str, Tensor]
    alpha: float | None = None
    cayley_terms: int = 5
    on_input: bool | None = None

    def get(self, name: str) -> Tensor:
        """The tensor of that name.

        Raises:
            Incomplete: there is none.
        """
        if (tensor := self.tensors.get(name)) is None:
            raise Incomplete(f"{name} is missing")
        return tensor

    def scale(self, rank: int) -> float:
        """alpha / rank; an alpha that is missing or 0 stands for the rank, so 1."""
        return self.alpha / rank if self.alpha else 1.0


Read = Callable[[Parts, TargetModule], ModulePatch]


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Attributes:
        title: for people.
        detect: whether a module with these suffixes (and numbers of dimensions) is of this kind.
        read: the module's patch. It looks at shapes only, so it may be called with meta tensors.
        names: every suffix that `read` uses.
    """

    title: str
    detect: Callable[[Mapping[str, int]], bool]
    read: Read
    names: frozenset[str] = field(default_factory=frozenset)


def times(shape: Collection[int]) -> str:
    """A shape for a sentence: "320×768"."""
    return "×".join(str(side) for side in shape) or "a number"


def flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """(out, in·kernel) of a weight's shape."""
    return shape[0], math.prod(shape[1:])


def matrix(tensor: Tensor) -> Tensor:
    """float32 as a matrix (first dimension, all others)."""
    return tensor.float().reshape(tensor.shape[0], -1)


def expect(found: tuple[int, ...], target: TargetModule) -> None:
    """Refuse a change of another shape than the weight's.

    Raises:
        Misfit: rows or the number of columns differ.
    """
    if flat(found) != flat(target.shape):
        raise Misfit(f"made for {times(found)}, the model has {times(target.shape)}")


def agree(condition: bool, what: str) -> None:
    """Refuse tensors that contradict each other.

    Raises:
        Damaged: the condition does not hold.
    """
    if not condition:
        raise Damaged(what)
