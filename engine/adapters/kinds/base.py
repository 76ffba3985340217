"""What all kinds share: bytes, no bias change, no thin matrices, no side path, unless they say otherwise."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor, nn

from engine.adapters.patch import LowRank


class Holder:
    """Something that holds tensors, perhaps in other holders."""

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor | Holder))


class Patch(Holder, abc.ABC):
    """The base of the kinds; `engine.adapters.patch.ModulePatch` says what each method means."""

    kind: str
    needs_base: ClassVar[bool] = False

    @abc.abstractmethod
    def delta(self, weight: Tensor, scale: float) -> Tensor: ...

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        return None

    def low_rank(self) -> LowRank | None:
        return None

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        return None
