"""What a scheduler remembers between steps, as tensors and JSON: no pickle.

Diffusers' schedulers keep tensors, numbers, and lists of both; a snapshot stores them all and puts them back into a
scheduler that was prepared in the same way. Objects (DPM++ SDE's noise sampler) are not stored: they are made again
from the seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Json = Any
_TENSOR, _LIST, _ARRAY, _SCALAR = "tensor", "list", "array", "scalar"


def scheduler_state(scheduler: Any) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
    """The scheduler's attributes: tensors by name, and a JSON tree that refers to them."""
    tensors: dict[str, torch.Tensor] = {}
    tree: dict[str, Json] = {}
    for name, value in vars(scheduler).items():
        if name.startswith("_internal") or name == "_use_default_values":
            continue
        packed = _pack(value, f"scheduler.{name}", tensors)
        if packed is not None:
            tree[name] = packed
    return tensors, tree


def restore_scheduler(scheduler: Any, tensors: dict[str, torch.Tensor], tree: dict[str, Json]) -> None:
    """Put a stored state back, also what the scheduler first makes in a step. KeyError for a name that is no state."""
    for name, packed in tree.items():
        if hasattr(type(scheduler), name):
            raise KeyError(name)
        setattr(scheduler, name, _unpack(packed, tensors))


def _pack(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Json | None:
    """`[kind, content]`, or None for what is not stored."""
    if value is None or isinstance(value, bool | int | float | str):
        return [_SCALAR, value]
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return [_TENSOR, name, str(value.device)]
    if isinstance(value, np.generic):
        return [_SCALAR, value.item()]
    if isinstance(value, np.ndarray):
        tensors[name] = torch.from_numpy(np.ascontiguousarray(value).copy())
        return [_ARRAY, name]
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
        return None if any(item is None for item in items) else [_LIST, items]
    return None


def _unpack(packed: Json, tensors: dict[str, torch.Tensor]) -> Any:
    kind, content = packed[0], packed[1]
    if kind == _SCALAR:
        return content
    if kind == _TENSOR:
        return tensors[content].clone().to(packed[2])
    if kind == _ARRAY:
        return tensors[content].numpy().copy()
    return [_unpack(item, tensors) for item in content]
