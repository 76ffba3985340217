"""Where a weight's own values stay while changes are worked in, so that they come back bit for bit."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class BaseWeights(Protocol):
    """Keeps what a parameter held. `name` is the parameter's dotted name in its component."""

    @property
    def nbytes(self) -> int:
        """Bytes that keeping costs now, on whatever device."""
        ...

    def begin(self, name: str, parameter: nn.Parameter) -> None:
        """The parameter is about to be changed: afterwards its data may be written to, in place."""
        ...

    def get(self, name: str, parameter: nn.Parameter) -> Tensor:
        """The parameter's own values, on its device; not to be written to."""
        ...

    def end(self, name: str, parameter: nn.Parameter) -> None:
        """Put the own values back and forget them."""
        ...


class KeptBase:
    """The tensor itself is set aside and the parameter gets another: coming back costs nothing.

    On a CPU the set-aside tensor usually is a memory-mapped file, which the system may drop and read again; so the cost
    is the changed layers, once.
    """

    def __init__(self) -> None:
        self._own: dict[str, Tensor] = {}

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._own.values())

    def begin(self, name: str, parameter: nn.Parameter) -> None:
        self._own[name] = parameter.data
        parameter.data = torch.empty_like(parameter.data)

    def get(self, name: str, parameter: nn.Parameter) -> Tensor:
        return self._own[name]

    def end(self, name: str, parameter: nn.Parameter) -> None:
        parameter.data = self._own.pop(name)


class RamBase:
    """Copies in main memory, for weights on a GPU whose memory is dearer."""

    def __init__(self) -> None:
        self._own: dict[str, Tensor] = {}

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._own.values())

    def begin(self, name: str, parameter: nn.Parameter) -> None:
        self._own[name] = parameter.data.to("cpu", copy=True)

    def get(self, name: str, parameter: nn.Parameter) -> Tensor:
        return self._own[name].to(parameter.device, non_blocking=True)

    def end(self, name: str, parameter: nn.Parameter) -> None:
        parameter.data.copy_(self._own.pop(name))
