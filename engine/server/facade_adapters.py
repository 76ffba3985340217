"""The adapters of a pipeline: those on its stack with their weights, and those that it merged itself."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from engine.errors import SpecError
from engine.images.disk import appearing
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.merge.files import RecipeFiles
from engine.merge.recipe_checks import require_name
from engine.merge.run import run as run_recipe
from engine.merge.writer import refuse_taken
from engine.protocol.merge import MergeInput, MergeRecipe
from engine.protocol.specs import AdapterRef


class PipelineAdapters:
    """Names are ids of the library; titles and file names are understood too.

    Args:
        scratch: a folder that the library looks through; what is merged and not saved lies there.
        saved: the folder for what is to be kept.
    """

    def __init__(self, library: Library, scratch: Path, saved: Path) -> None:
        self._library, self._scratch, self._saved = library, scratch, saved
        self._merged: list[str] = []
        self.scales: dict[str, float] = {}

    @property
    def stack(self) -> tuple[AdapterRef, ...]:
        """The stack as a spec has it."""
        return tuple(AdapterRef(name=name, unet_weight=scale) for name, scale in self.scales.items())

    def load(self, name: str) -> str:
        """The id of an adapter of the library. Raises SpecError `adapter_unknown`, ModelFileError, AdapterError."""
        return self._library.adapters.find(name).view.id

    def add(self, name: str, scale: float) -> str:
        """Put one on the stack; returns its id. Raises as `load`."""
        found = self.load(name)
        self.scales[found] = float(scale)
        return found

    def set_scale(self, name: str, scale: float) -> None:
        """Another weight. Raises SpecError `adapter_unknown` for one that is not on the stack."""
        self.scales[self._on_stack(name)] = float(scale)

    def remove(self, name: str) -> None:
        """Take one off the stack. Raises SpecError `adapter_unknown`."""
        del self.scales[self._on_stack(name)]

    def merge(self, names: Sequence[str], weights: Sequence[float], normalize: bool, base: ModelEntry) -> str:
        """One adapter that does what several do together, Σ wᵢ·UᵢDᵢ, for the model `base`; returns its id.

        Raises:
            SpecError: it takes one weight for each, and two adapters at least. MergeError, AdapterError.
        """
        if len(names) != len(weights) or len(names) < 2:
            raise SpecError(
                "bad_request",
                f"{len(names)} adapters and {len(weights)} weights do not make a merge.",
                "Give two adapters or more, and a weight for each.",
            )
        inputs = tuple(
            MergeInput(name=self.load(name), weight=float(weight)) for name, weight in zip(names, weights, strict=True)
        )
        made = f"merged-{uuid.uuid4().hex[:8]}"
        paths = {each.name: self._library.path_of("adapter", each.name) for each in inputs}
        files = RecipeFiles(paths, {base.view.id: base})
        recipe = MergeRecipe(inputs=inputs, method="concat", normalise=normalize, base=base.view.id)
        for _ in run_recipe(recipe, files, self._scratch / f"{made}.safetensors"):
            # Nobody else waits for this thread.
            pass
        self._library.refresh()
        self._merged.append(self.load(made))
        return self._merged[-1]

    def save_merged(self, name: str, *, replace: bool) -> Path:
        """Keep what was merged last as `name`; later sessions find it in the library.

        Raises:
            SpecError: nothing was merged. MergeError: `merge_name_invalid`. ConflictError: `merge_name_taken`.
            StorageError: the disk refuses.
        """
        if not self._merged:
            raise SpecError("bad_request", "Nothing was merged yet.", "Call merge_loras first.")
        out = self._saved / f"{require_name(name)}.safetensors"
        refuse_taken(out, replace=replace)
        with appearing(out, f"The file {out.name}") as temporary:
            shutil.copyfile(self._library.path_of("adapter", self._merged[-1]), temporary)
        self._library.refresh()
        return out

    def _on_stack(self, name: str) -> str:
        if name in self.scales:
            return name
        found = self.load(name)
        if found not in self.scales:
            raise SpecError("adapter_unknown", f"The adapter “{name[:60]}” is not on the stack.", "Add it first.")
        return found
