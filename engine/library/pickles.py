"""Pickled checkpoints (`.ckpt`, `.pt`, `.bin`) looked through without running them. No torch.

A pickle is a little program. `pickletools.genops` reads its instructions as text, so the names of the weights and the
functions that it would call can be told without calling any. What calls more than torch's own rebuilding of tensors is
refused here, before torch's `weights_only` loader (which would refuse it too) sees it.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ModelFileError
from engine.library.headers import not_a_model, truncated

PICKLE_LIMIT = 200_000_000
_SAFE = frozenset(
    {
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_parameter",
        "torch FloatStorage",
        "torch HalfStorage",
        "torch BFloat16Storage",
        "torch DoubleStorage",
        "torch LongStorage",
        "torch IntStorage",
        "torch ShortStorage",
        "torch CharStorage",
        "torch ByteStorage",
        "torch BoolStorage",
        "torch.storage UntypedStorage",
        "torch Size",
        "torch.nn.modules.container ParameterDict",
        "torch device",
        "torch float16",
        "torch float32",
        "torch bfloat16",
        "collections OrderedDict",
        "collections defaultdict",
        "numpy dtype",
        "numpy ndarray",
        "numpy.core.multiarray scalar",
        "numpy.core.multiarray _reconstruct",
        "numpy._core.multiarray scalar",
        "numpy._core.multiarray _reconstruct",
        "_codecs encode",
        "__builtin__ set",
        "builtins set",
    }
)


def read_pickle_names(path: Path) -> frozenset[str]:
    """Every word in a pickled checkpoint that can be the name of a weight.

    Raises:
        ModelFileError: `model_file_unsafe` (it would call something else), `model_file_truncated`,
            `model_file_not_a_model`, `model_file_missing`.
    """
    try:
        names, calls = _look_through(_program(path))
    except FileNotFoundError as error:
        raise ModelFileError(
            "model_file_missing",
            f"The model file {path.name} is not there any more.",
            "Put it back, or refresh the models.",
        ) from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise truncated(path) from error
    except OSError as error:
        raise ModelFileError(
            "model_file_missing", f"{path.name} cannot be opened: {error.strerror}.", "Check the file's permissions."
        ) from error
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise not_a_model(path, "it is neither a pickle nor a safetensors file") from error
    strange = sorted(calls - _SAFE)
    if strange:
        raise ModelFileError(
            "model_file_unsafe",
            f"{path.name} holds program code ({strange[0].replace(' ', '.')[:80]}) beside its weights, "
            "so Easel does not open it.",
            "Use the .safetensors version of this model.",
        )
    return frozenset(names)


def _program(path: Path) -> bytes:
    """The instructions: `data.pkl` inside a zip, or the file's own beginning in torch's old format."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            inner = next((info for info in archive.infolist() if info.filename.endswith("data.pkl")), None)
            if inner is None:
                raise ValueError("no data.pkl")
            if inner.file_size > PICKLE_LIMIT:
                raise ValueError("too large")
            return archive.read(inner)
    if not start:
        raise EOFError
    if start[:1] != b"\x80":
        raise ValueError("no pickle")
    with path.open("rb") as file:
        return file.read(PICKLE_LIMIT)


def _look_through(program: bytes) -> tuple[set[str], set[str]]:
    """Strings and calls ("module name") of one or, in torch's old format, the first few pickles after another."""
    names: set[str] = set()
    calls: set[str] = set()
    place = 0
    for _ in range(5):
        end = place
        recent: list[str] = []
        memo: dict[int, str] = {}
        for opcode, argument, position in _operations(program[place:]):
            if opcode == "STOP":
                end = place + position + 1
                break
            if opcode in {"GLOBAL", "INST"}:
                calls.add(str(argument))
            elif opcode == "STACK_GLOBAL":
                calls.add(" ".join(recent[-2:]))
            elif opcode == "MEMOIZE":
                memo[len(memo)] = recent[-1] if recent else ""
            elif opcode in {"BINPUT", "LONG_BINPUT", "PUT"} and isinstance(argument, int):
                memo[argument] = recent[-1] if recent else ""
            elif opcode in {"BINGET", "LONG_BINGET", "GET"} and isinstance(argument, int):
                recent.append(memo.get(argument, ""))
            elif isinstance(argument, str):
                names.add(argument)
                recent.append(argument)
        if end == place:
            raise EOFError
        place = end
        if program[place : place + 1] != b"\x80":
            break
    return names, calls


def _operations(program: bytes) -> Iterator[tuple[str, object, int]]:
    for opcode, argument, position in pickletools.genops(program):
        yield opcode.name, argument, position or 0
