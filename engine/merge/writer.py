"""A safetensors file written tensor by tensor: it appears under its name when it is whole, or not at all.

The header comes first in the file, but shapes (ranks) and the hash of the data are known last. So room for the largest
header is left, the tensors follow, and at the end the header is written into its room, filled up with spaces, which the
format allows (https://github.com/huggingface/safetensors#format). The data are hashed as they go by: no second reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from engine.errors import ConflictError, MergeError, StorageError
from engine.images.disk import storage_error, unfinished
from engine.library.headers import Header, read_header

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
FILE_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_SUMMED = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})
# Bytes that may wait to be written and hashed.
_BEHIND = 64 << 20
_ENTRY = 160
_ROOM = 4096


class WriteBehind:
    """Data on their way into a file and into its SHA-256, beside the caller (both let go of the interpreter)."""

    def __init__(self, write: Callable[[memoryview], object]) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, "easel-write")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._behind = 0

    def add(self, data: memoryview, check: Callable[[], None]) -> None:
        """More data, which must not change any more. Waits where too much would be kept in memory.

        Args:
            check: called before they are written; what it raises is raised here or later.

        Raises:
            OSError: the disk refused this or something before it.
        """
        self._waiting.append((len(data), self._pool.submit(self._take, data, check)))
        self._behind += len(data)
        while self._waiting and (self._behind > _BEHIND or self._waiting[0][1].done()):
            self._settle()

    def settle(self) -> str:
        """Everything is in the file; the SHA-256 (hex) of all of it. Raises OSError as `add` does."""
        while self._waiting:
            self._settle()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Nothing more comes; nothing is written any more when this returns."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, data: memoryview, check: Callable[[], None]) -> None:
        check()
        self._write(data)
        self._digest.update(data)

    def _settle(self) -> None:
        size, future = self._waiting.popleft()
        future.result()
        self._behind -= size


class StreamWriter:
    """The file while it grows. Made by `streamed`."""

    def __init__(self, file: BinaryIO, room: int, what: str) -> None:
        self._file = file
        self._room = room
        self._what = what
        self._behind = WriteBehind(file.write)
        self._place = 0
        self._entries: dict[str, dict[str, Any]] = {}
        self.metadata: dict[str, str] = {}
        self.parameters = 0
        file.write(b"\0" * (8 + room))

    @property
    def auto_v3(self) -> str:
        """SHA-256 (hex) of the data so far."""
        return self._settled()

    @property
    def size(self) -> int:
        """Bytes of data so far."""
        return self._place

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def add(self, name: str, tensor: Tensor) -> None:
        """Append a tensor, which must not change any more.

        Raises:
            MergeError: `merge_not_finite`, of this one or of one before it. StorageError: the disk refuses.
        """
        data = bytes_of(tensor)
        size = tensor.numel() * tensor.element_size()
        width = tensor.element_size()
        assert self._place % width == 0, "tensors of wider types come first"
        try:
            self._behind.add(data, lambda: self._require_finite(name, tensor))
        except OSError as error:
            raise storage_error(error, self._what) from error
        self._entries[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [self._place, self._place + size],
        }
        self._place += size
        self.parameters += tensor.numel()

    def finish(self) -> None:
        """Write the header into its room; the hash is known now."""
        self._settled()
        table = {"__metadata__": self.metadata, **self._entries} if self.metadata else self._entries
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > self._room:
            self._move_data(len(text))
        self._file.seek(0)
        self._write(memoryview(self._room.to_bytes(8, "little") + text.ljust(self._room)))

    def close(self) -> None:
        """Nothing more is written."""
        self._behind.close()

    def _require_finite(self, name: str, tensor: Tensor) -> None:
        if not is_finite(tensor):
            raise MergeError(
                "merge_not_finite",
                f"{self._what} would hold values in “{name}” that are no numbers, or that its precision cannot hold.",
                "Lower the weights, or write bfloat16 or float32.",
            )

    def _settled(self) -> str:
        try:
            return self._behind.settle()
        except OSError as error:
            raise storage_error(error, self._what) from error

    def _move_data(self, needed: int) -> None:
        """Metadata grew past the room, which is rare: shift the data, from the end."""
        room = -(-needed // 8) * 8
        shift, chunk = room - self._room, 16 << 20
        place = 8 + self._room + self._place
        while place > 8 + self._room:
            start = max(8 + self._room, place - chunk)
            self._file.seek(start)
            data = self._file.read(place - start)
            self._file.seek(start + shift)
            self._write(memoryview(data))
            place = start
        self._room = room

    def _write(self, data: memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise storage_error(error, self._what) from error


def bytes_of(tensor: Tensor) -> memoryview:
    """The tensor's bytes as a file has them, little-endian; no copy where it is contiguous."""
    if not tensor.numel():
        return memoryview(b"")
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are numbers."""
    if not tensor.dtype.is_floating_point or not tensor.numel():
        return True
    if tensor.dtype not in _SUMMED:
        tensor = tensor.float()
    # What is no number makes the sum none. A sum may also pass the largest number, rarely: then each is looked at.
    return isfinite(tensor.sum()) or bool(torch.isfinite(tensor).all())


@contextmanager
def streamed(
    target: Path,
    *,
    tensors: int,
    metadata: Mapping[str, str],
    expected_bytes: int = 0,
    replace: bool = False,
    check: Callable[[Header], None] | None = None,
) -> Iterator[StreamWriter]:
    """Open a file for writing; it takes its name when the block ends well, otherwise nothing is left of it.

    Args:
        tensors: how many there will be at most. metadata: about what there will be (the writer's `metadata` counts).
        expected_bytes: of the data, to refuse at once where the disk has less.
        check: looks at the header of the whole file before it takes its name; what it raises leaves nothing behind.

    Raises:
        ConflictError: `merge_name_taken`, also where the name was taken meanwhile. StorageError: the disk refuses.
    """
    what = f"The file {target.name}"
    refuse_taken(target, replace=replace)
    said = sum(len(name.encode()) + len(value.encode()) * 2 + 16 for name, value in metadata.items())
    room = -(-(tensors * _ENTRY + said + _ROOM) // 8) * 8
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target.parent, expected_bytes + room, what)
        with unfinished(target) as temporary:
            with temporary.open("r+b") as file:
                writer = StreamWriter(file, room, what)
                with closing(writer):
                    yield writer
                    writer.finish()
                file.flush()
                os.fsync(file.fileno())
            found = require_whole(temporary, writer, target.name)
            if check is not None:
                check(found)
            refuse_taken(target, replace=replace)
            os.replace(temporary, target)
    except OSError as error:
        raise storage_error(error, what) from error


def refuse_taken(target: Path, *, replace: bool) -> None:
    """Never overwrite unless that was asked for.

    Raises:
        ConflictError: `merge_name_taken`.
    """
    if not replace and target.exists():
        raise ConflictError(
            "merge_name_taken", f"{target.name} exists already.", "Choose another name, or say that it may be replaced."
        )


def require_whole(path: Path, writer: StreamWriter, name: str) -> Header:
    """The header read back as any reader does: every tensor at its place, and the file as long as they say.

    The data are not read again: right after the writing they would come out of memory, not from the disk.

    Raises:
        MergeError: `merge_check_failed`.
    """
    found = read_header(path)
    if set(found.tensors) != set(writer.names) or found.size - found.data_start != writer.size:
        raise MergeError(
            "merge_check_failed", f"{name} did not read back as it was written.", "Check the disk, then try again."
        )
    return found


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse before the work rather than after it.

    Raises:
        StorageError: `disk_full`.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            "disk_full",
            f"{what} needs about {needed / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB left.",
            "Free some space, or write fewer ranks.",
        )
