"""FileStorage: weights rest as their file has them, and are widened while their layer works.

Most model files hold 16-bit numbers, and a CPU computes in 32: widening everything at once doubles the weights for
nothing. What rests as it was stored stays memory-mapped, and a layer's pages go when it has worked (the system keeps
them as long as it has room); nothing is rounded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.technique import DENOISERS, TEXT_PARTS, Applied, Machine, Modules, those
from engine.platform import MappedFiles

_HOOKS = "_easel_widening"


class FileStorage:
    """Works on modules that lie in their file, or rest in fewer bits than they compute in (`Machine.compute`)."""

    name = "file_storage"

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """See `Technique`."""
        hooked, files = 0, MappedFiles()
        for module in those(modules, (*DENOISERS, *TEXT_PARTS)):
            for layer in module.modules():
                if machine.compute is None or hasattr(layer, _HOOKS):
                    continue
                if _narrow(layer, machine.compute) or any(_lies_in(files, weight) for _, weight in _weights(layer)):
                    setattr(layer, _HOOKS, _Widening(layer, machine.compute, files))
                    hooked += 1
        return Applied(self.name, hooked > 0, "" if hooked else "no file holds the weights")

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """See `Technique`: the weights are wide afterwards, and exactly what they were."""
        for module in those(modules, (*DENOISERS, *TEXT_PARTS)):
            for layer in module.modules():
                hooks: _Widening | None = getattr(layer, _HOOKS, None)
                if hooks is not None:
                    hooks.end(layer)
                    delattr(layer, _HOOKS)
        return Applied(self.name, True)

    def saving(self) -> str:
        """See `Technique`."""
        return "all weights but those of the layer that works; slower by reading and widening them"


class _Widening:
    """The hooks of one layer. Weights that were exchanged meanwhile (adapters do so) are taken as they are."""

    def __init__(self, layer: nn.Module, compute: torch.dtype, files: MappedFiles) -> None:
        self._compute, self._files = compute, files
        self._resting: dict[str, Tensor] = {}
        # Only what lies in the file now: a tensor that comes later may have been written to.
        self._mapped = {weight.data_ptr() for _, weight in _weights(layer) if _lies_in(files, weight)}
        self._handles = (
            layer.register_forward_pre_hook(self._widen),
            layer.register_forward_hook(self._rest, always_call=True),
        )

    def end(self, layer: nn.Module) -> None:
        """Take the hooks off and leave the weights wide."""
        for handle in self._handles:
            handle.remove()
        self._widen(layer)
        self._resting.clear()

    def _widen(self, layer: nn.Module, *_: Any) -> None:
        with torch.inference_mode(False), torch.no_grad():
            for name, weight in _weights(layer):
                if weight.dtype != self._compute:
                    self._resting[name] = weight.data
                    weight.data = weight.data.to(self._compute)

    def _rest(self, layer: nn.Module, *_: Any) -> None:
        with torch.inference_mode(False), torch.no_grad():
            for name, weight in _weights(layer):
                if name in self._resting:
                    weight.data = self._resting[name]
                if weight.data_ptr() in self._mapped:
                    self._files.forget(weight.data_ptr(), weight.nbytes)
        self._resting.clear()


def _weights(layer: nn.Module) -> list[tuple[str, nn.Parameter]]:
    own = layer.named_parameters(recurse=False)
    return [(name, weight) for name, weight in own if weight.is_floating_point()]


def _lies_in(files: MappedFiles, weight: Tensor) -> bool:
    return weight.is_contiguous() and files.holds(weight.data_ptr(), weight.nbytes)


def _narrow(layer: nn.Module, compute: torch.dtype) -> bool:
    return any(1 < weight.dtype.itemsize < compute.itemsize for _, weight in _weights(layer))
