"""What an adapter takes when it is loaded, told from its header: as its file has it, in 16 bits, or in 8 with scales.

The rule of what 8 bits can hold is here, and not beside what packs (`engine.adapters.stored`), because the forecast
asks it too, and has no torch.
"""

from __future__ import annotations

import math
from typing import Literal

from engine.library.headers import Header, TensorInfo

StorageFormat = Literal["float16", "bfloat16", "int8"]
# As `[memory] adapter_storage` says it.
AdapterStorage = Literal["auto", "file", "float16", "bfloat16", "int8"]
# Smaller ones are not worth their scales.
_SMALLEST = 256
# A rotation is the identity and a little: its little is what counts, and would be lost beside the 1.
_WHOLE_ROTATIONS = ("oft_diag",)
_FLOATS = ("F64", "F32", "F16", "BF16")
_SCALE = 4


def storage_format(asked: AdapterStorage, *, short: bool) -> StorageFormat | None:
    """How adapters are kept; None: as their files have them. `short`: memory is, or the model's weights rest in 8 bits
    too, which decides where nobody else did."""
    if asked == "auto":
        return "int8" if short else None
    return None if asked == "file" else asked


def fits_8_bits(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of that name is kept as whole numbers with one scale for each index of its shorter side."""
    return len(shape) > 1 and math.prod(shape) >= _SMALLEST and not name.endswith(_WHOLE_ROTATIONS)


def kept_nbytes(header: Header, wanted: StorageFormat | None) -> int:
    """Bytes of an adapter's tensors in a format; None: as the file has them. Of one that fits a model in part it is
    the most that it can take."""
    return sum(_kept(name, tensor, wanted) for name, tensor in header.tensors.items() if not name.endswith(".alpha"))


def _kept(name: str, tensor: TensorInfo, wanted: StorageFormat | None) -> int:
    whole = tensor.end - tensor.start
    if wanted is None or tensor.dtype not in _FLOATS:
        return whole
    count = math.prod(tensor.shape)
    if wanted == "int8" and fits_8_bits(name, tensor.shape):
        rows = tensor.shape[0]
        return min(whole, count + _SCALE * min(rows, count // rows))
    return min(whole, count * 2)
