"""Adapter files opened for merging: matched by their headers, their tensors read one module at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.adapters.file import Stamp, stamp_of
from engine.adapters.kinds.parts import Damaged, Incomplete, Misfit, Parts
from engine.adapters.match import Matching, match_names, report_of, require_usable
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.patch import ModulePatch
from engine.adapters.peft_settings import PeftSettings, peft_settings
from engine.adapters.reading import read_patch
from engine.errors import AdapterError, ModelFileError
from engine.library.hashing import data_hash
from engine.library.headers import Header, read_header
from engine.merge.writer import is_finite
from engine.protocol.adapters import AdapterReport

_NOT_FINITE_HINT = "Get the file again, or leave the adapter out."


@dataclass(frozen=True)
class AdapterSource:
    """An adapter's header laid over a model, without a weight.

    Attributes:
        title: its name for sentences. matching: which of its keys goes where. family: what it says it was made for.
    """

    path: Path
    title: str
    header: Header
    matching: Matching
    report: AdapterReport
    settings: PeftSettings
    stamp: Stamp

    @property
    def family(self) -> str:
        return self.matching.file_family


class OpenAdapter:
    """A source whose file is mapped; its tensors are views of the file, good for as long as it is open."""

    def __init__(self, source: AdapterSource, targets: Targets, file: Any) -> None:
        self.source = source
        self._targets = targets
        self._file = file

    @property
    def modules(self) -> Mapping[ModuleKey, Mapping[str, str]]:
        """Module → suffix → the file's key, for all that fits."""
        return self.source.matching.modules

    def tensors(self, key: ModuleKey) -> dict[str, Tensor]:
        """The module's tensors by suffix, in the file's dtype.

        Raises:
            AdapterError: `adapter_not_finite`. ModelFileError: `model_file_changed`.
        """
        return {suffix: self._tensor(name) for suffix, name in self.modules[key].items()}

    def patch(self, key: ModuleKey) -> ModulePatch:
        """What it does to a module.

        Raises:
            AdapterError: `adapter_damaged`, `adapter_not_finite`. ModelFileError: `model_file_changed`.
        """
        tensors = self.tensors(key)
        alpha = tensors.pop("alpha", None)
        said = float(alpha.float().reshape(-1)[0]) if alpha is not None and alpha.numel() else None
        settings = self.source.settings
        parts = Parts(
            tensors,
            settings.alpha(key) if alpha is None else said,
            cayley_terms=settings.cayley_terms(key),
            on_input=settings.on_input(key),
        )
        try:
            return read_patch(parts, self._targets.modules[key])
        except (Misfit, Damaged, Incomplete) as error:
            raise AdapterError(
                "adapter_damaged", f"{self.source.title} is damaged: {error}.", "Get the file again."
            ) from error

    def alpha(self, key: ModuleKey) -> float | None:
        """The alpha that holds for a module: the file's, or that of its settings."""
        name = self.modules[key].get("alpha")
        if name is None:
            return self.source.settings.alpha(key)
        tensor = self._tensor(name)
        return float(tensor.float().reshape(-1)[0]) if tensor.numel() else None

    def _tensor(self, name: str) -> Tensor:
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise _changed(self.source.path) from error
        if not is_finite(tensor):
            raise AdapterError(
                "adapter_not_finite",
                f"{self.source.title} holds values that are no numbers (in “{name}”).",
                _NOT_FINITE_HINT,
            )
        return tensor


def adapter_source(path: Path, targets: Targets, title: str, header: Header | None = None) -> AdapterSource:
    """Match an adapter by its header, which is read unless it is given.

    Raises:
        ModelFileError: missing, truncated, not safetensors.
        AdapterError: it fits nothing, is damaged, of another family.
    """
    if path.suffix.lower() != ".safetensors":
        raise ModelFileError(
            "model_file_unsafe",
            f"{path.name} is not a safetensors file, and other formats can run code when they are opened.",
            "Get its .safetensors version.",
        )
    stamp = stamp_of(path)
    header = read_header(path) if header is None else header
    matching = match_names(header, targets)
    report = report_of(matching, targets, title=title)
    require_usable(report, matching, targets)
    return AdapterSource(path, title, header, matching, report, peft_settings(path, header.metadata), stamp)


class DataHashes:
    """AutoV3 of files, worked out beside whoever made this: large files take seconds."""

    def __init__(self, sources: Sequence[AdapterSource]) -> None:
        self._pool = ThreadPoolExecutor(1, "easel-hash")
        self._found = [self._pool.submit(data_hash, source.path, source.header.data_start) for source in sources]

    def all(self) -> list[str]:
        """Each file's hash (hex), in order; waits for the last.

        Raises:
            OSError: a file cannot be read any more.
        """
        return [each.result() for each in self._found]

    def close(self) -> None:
        """Begin no other file."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def opened(source: AdapterSource, targets: Targets) -> Iterator[OpenAdapter]:
    """Map the file, and look again at the end whether it is still the same.

    Raises:
        ModelFileError: `model_file_changed`, `model_file_not_a_model`.
    """
    try:
        file = safe_open(source.path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            "model_file_not_a_model", f"{source.path.name} cannot be read: {error}.", "Get the file again."
        ) from error
    with file:
        yield OpenAdapter(source, targets, file)
    if stamp_of(source.path) != source.stamp:
        raise _changed(source.path)


def _changed(path: Path) -> ModelFileError:
    return ModelFileError(
        "model_file_changed", f"{path.name} changed while it was read.", "Try again when the copying is done."
    )
