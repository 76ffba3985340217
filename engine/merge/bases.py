"""Models as merging sees them: which modules they have, and their weights one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters.modules import COMPONENTS, ModuleKey, Targets, targets_of
from engine.errors import MergeError, ModelFileError
from engine.families.families import Family
from engine.library.entries import ModelEntry
from engine.library.hashing import auto_v3_of
from engine.loading.components import outline
from engine.loading.layouts import candidates, read_state
from engine.loading.loader import part_config, weights_file
from engine.loading.weights import Weights, open_weights


@cache
def targets_of_family(family: Family) -> Targets:
    """The modules of a family's usual shapes, from the shipped configs; no weight is looked at."""
    parts = [part for part in COMPONENTS if part in family.parts]
    built = {part: outline(part, family.config(part), family.title) for part in parts}
    return targets_of(built, family=family.id)


def targets_of_model(entry: ModelEntry) -> Targets:
    """The modules of one model.

    Raises:
        ModelFileError: the model cannot be used.
    """
    parts = [part for part in COMPONENTS if part in entry.family.parts]
    built = {part: outline(part, part_config(entry, part), entry.view.title) for part in parts}
    return targets_of(built, family=entry.family.id)


class OpenModel:
    """A model whose files are mapped."""

    def __init__(self, entry: ModelEntry, targets: Targets, weights: Mapping[str, Weights]) -> None:
        self.entry = entry
        self.targets = targets
        self._weights = weights
        single = not entry.path.is_dir()
        self._look = {
            part: candidates(part, targets.unet_config if part == "unet" else {}, single_file=single)
            for part in weights
        }

    def weight(self, key: ModuleKey) -> Tensor:
        """A module's weight in the file's dtype, in the module's shape; not to be written to.

        Raises:
            ModelFileError: `model_parts_missing`.
        """
        component, path = key
        tensor = self._get(component, f"{path}.weight", self.targets.modules[key].shape)
        if tensor is None:
            raise ModelFileError(
                "model_parts_missing",
                f"{self.entry.view.title} lacks the weights of “{path}”.",
                "The file is not complete: fetch it again, or choose another model.",
            )
        return tensor

    def bias(self, key: ModuleKey) -> Tensor | None:
        """A module's bias; None where it has none."""
        component, path = key
        if not self.targets.modules[key].bias:
            return None
        return self._get(component, f"{path}.bias", self.targets.modules[key].shape[:1])

    def _get(self, component: str, name: str, shape: tuple[int, ...]) -> Tensor | None:
        if component not in self._weights:
            return None
        wanted = {name: torch.empty(shape, device="meta")}
        tensor = read_state(self._weights[component], wanted, self._look[component]).get(name)
        if tensor is not None and tuple(tensor.shape) != shape:
            raise MergeError(
                "merge_models_differ",
                f"“{name}” of {self.entry.view.title} has another shape than its settings say.",
                "Choose another model.",
            )
        return tensor


@contextmanager
def opened_model(entry: ModelEntry, targets: Targets | None = None) -> Iterator[OpenModel]:
    """Map a model's files.

    Raises:
        ModelFileError: as `open_weights`.
    """
    found = targets if targets is not None else targets_of_model(entry)
    with ExitStack() as stack:
        weights: dict[str, Weights] = {}
        if entry.path.is_dir():
            for part in COMPONENTS:
                if part in entry.family.parts:
                    weights[part] = stack.enter_context(open_weights(part_file(entry, part)))
        else:
            whole = stack.enter_context(open_weights(entry.path))
            weights = {part: whole for part in COMPONENTS if part in entry.family.parts}
        yield OpenModel(entry, found, weights)


def model_hash(entry: ModelEntry) -> str:
    """AutoV3 (hex) of a single safetensors file; of others the hash that the library knows, or ""."""
    return auto_v3_of(entry.path) if entry.path.suffix == ".safetensors" else entry.view.hash


def part_file(entry: ModelEntry, part: str) -> Path:
    """The weights of one part of a diffusers folder: a file, or an index of shards."""
    return weights_file(entry.path / part, torch.float32)
