"""What a safetensors file says of itself, changed in place; its data are the same afterwards, proven by their hash."""

from __future__ import annotations

import json
import os
from pathlib import Path

from engine.errors import MergeError
from engine.images.disk import storage_error, unfinished
from engine.library.hashing import CHUNK, data_hash
from engine.library.headers import read_header
from engine.merge.details import require_details
from engine.merge.provenance import said
from engine.merge.writer import require_space
from engine.protocol.merge import FileMetadata


def edit_metadata(path: Path, metadata: FileMetadata) -> str:
    """Change title, trigger words, picture, licence; an empty text takes the value away. Returns the AutoV3 hash (hex).

    The file is written beside itself and takes its name when it is whole.

    Raises:
        ModelFileError: it is no safetensors file. StorageError: the disk refuses.
        MergeError: `merge_details_invalid`; `merge_check_failed`, the data would not be the same; the file stays as it
            was.
    """
    require_details(metadata)
    header = read_header(path)
    told = {**header.metadata, **said(metadata)}
    told = {key: value for key, value in told.items() if value}
    entries = {
        name: {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.start, info.end]}
        for name, info in header.tensors.items()
    }
    text = json.dumps({"__metadata__": told, **entries}, ensure_ascii=False, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    before = data_hash(path)
    what = f"The file {path.name}"
    try:
        require_space(path.parent, header.size + len(text), what)
        with unfinished(path) as temporary:
            with path.open("rb") as source, temporary.open("wb") as target:
                target.write(len(text).to_bytes(8, "little") + text)
                source.seek(header.data_start)
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            if data_hash(temporary) != before:
                raise MergeError(
                    "merge_check_failed", f"{path.name} changed while it was written.", "Try again; it is as it was."
                )
            os.replace(temporary, path)
    except OSError as error:
        raise storage_error(error, what) from error
    return before
