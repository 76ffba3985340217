"""What a network's activations take, found by running it on the meta device: no numbers, only sizes and lifetimes.

Every tensor that an operation makes is counted until nothing holds it any more; the largest sum is the peak. Attention
counts as an efficient kernel does: its output, no score matrix.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class _EfficientAttention(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query = args[0] if args else kwargs["query"]
            return torch.empty_like(query)
        return func(*args, **(kwargs or {}))


class _Live(TorchDispatchMode):
    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set(known)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def activation_peak(module: torch.nn.Module, run: Callable[[], Any]) -> int:
    """Most bytes that `run` holds at once beside the module's own weights and the inputs made before."""
    known = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    live = _Live(known)
    with torch.inference_mode(), _EfficientAttention(), live:
        result = run()
    del result
    return live.peak
