"""safetensors headers: names, shapes and types of a file's tensors, without reading a weight. No torch.

Format: https://github.com/huggingface/safetensors#format: 8 bytes of length (little endian), that many bytes of JSON,
then the data. Model files come from strangers: lengths, offsets and types are checked before anything is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from engine.errors import ModelFileError

HEADER_LIMIT = 100_000_000
# Bits a number, by safetensors' name of the format.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


class TensorInfo(NamedTuple):
    """One tensor: `dtype` as safetensors spells it ("F16"), `start` and `end` in bytes of the data section."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `data_start` is where the data begins, `size` the whole file, in bytes."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int = 0
    size: int = 0


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file.

    Raises:
        ModelFileError: `model_file_missing`, `model_file_truncated` or `model_file_not_a_model`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            _check_length(path, start, length, size)
            text = file.read(length)
    except FileNotFoundError as error:
        raise ModelFileError(
            "model_file_missing",
            f"The model file {path.name} is not there any more.",
            "Put it back, or refresh the models.",
        ) from error
    except OSError as error:
        raise ModelFileError(
            "model_file_missing", f"{path.name} cannot be opened: {error.strerror}.", "Check the file's permissions."
        ) from error
    return _parse(path, text, 8 + length, size)


def _check_length(path: Path, start: bytes, length: int, size: int) -> None:
    if size == 0:
        raise ModelFileError("model_file_truncated", f"{path.name} is empty.", "Fetch the file again.")
    # Looked at only where the length cannot be one: lengths may well begin with the byte that pickles begin with.
    impossible = length > HEADER_LIMIT or len(start) < 8
    if impossible and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"):
        raise not_a_model(path, "it is a pickle with the ending .safetensors")
    if len(start) < 8:
        raise not_a_model(path, "it is too short to be one")
    if length > HEADER_LIMIT:
        what = "it is a text file" if _is_text(start) else "its header would be larger than any model's"
        raise not_a_model(path, what)
    if 8 + length > size:
        raise truncated(path)


def _parse(path: Path, text: bytes, data_start: int, size: int) -> Header:
    try:
        # Three times as fast as the standard library's, and as strict; headers are most of what a scan reads.
        raw = from_json(text)
    except ValueError as error:
        raise not_a_model(path, "its header is not readable") from error
    if not isinstance(raw, dict):
        raise not_a_model(path, "its header is not a table")
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise not_a_model(path, "its metadata is not a table")
    tensors: dict[str, TensorInfo] = {}
    for name, value in raw.items():
        tensors[name] = _tensor(path, name, value)
    _check_offsets(path, tensors, size - data_start)
    return Header(tensors, {str(key): str(value) for key, value in metadata.items()}, data_start, size)


def _tensor(path: Path, name: str, value: Any) -> TensorInfo:
    try:
        shape, (start, end), dtype = value["shape"], value["data_offsets"], value["dtype"]
        sound = type(shape) is list and type(dtype) is str and _is_size(start) and _is_size(end)
    except (KeyError, TypeError, ValueError) as error:
        raise not_a_model(path, f"its entry {name[:80]!r} is damaged") from error
    count = 1
    for side in shape if sound else ():
        if not _is_size(side):
            sound = False
            break
        count *= side
    if not sound:
        raise not_a_model(path, f"its entry {name[:80]!r} is damaged")
    bits = BITS.get(dtype)
    if bits is not None and end - start != (count * bits + 7) // 8:
        raise not_a_model(path, f"the size of {name[:80]!r} does not fit its shape")
    return TensorInfo(dtype, tuple(shape), start, end)


def _is_size(number: Any) -> bool:
    return type(number) is int and number >= 0


def _check_offsets(path: Path, tensors: Mapping[str, TensorInfo], data_size: int) -> None:
    """The tensors must fill the data section without holes or overlaps."""
    place = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != place or tensor.end < tensor.start:
            raise not_a_model(path, "its tensors overlap or leave gaps")
        place = tensor.end
    if place > data_size:
        raise truncated(path)
    if place < data_size:
        raise not_a_model(path, "it has more data than its header tells")


def _is_text(start: bytes) -> bool:
    return all(byte in b"\t\n\r" or byte >= 0x20 for byte in start)


def truncated(path: Path) -> ModelFileError:
    """The refusal of a file that ends before its data does: an interrupted download, mostly."""
    return ModelFileError(
        "model_file_truncated", f"{path.name} ends too early: it was not fetched completely.", "Fetch the file again."
    )


def not_a_model(path: Path, why: str) -> ModelFileError:
    """The refusal of a file that is something else."""
    return ModelFileError(
        "model_file_not_a_model", f"{path.name} is not a model file: {why}.", "Fetch it again, or take it away."
    )
