"""Tiny models, and adapters of every kind that are merged for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.adapters.file import read_adapter
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.plan import Change
from engine.adapters.work_in import work_in
from engine.families.families import family, read_config
from engine.library.entries import ModelEntry
from engine.loading.torchvision_guard import guard_torchvision
from engine.merge.files import RecipeFiles
from engine.merge.run import run
from engine.protocol.library import ModelView
from engine.protocol.merge import AnyRecipe
from engine.protocol.merge_reports import MergeReport
from tests.engine.adapters.conftest import folders, load_parts, same_numbers, targets  # noqa: F401

guard_torchvision()
Places = Callable[[ModuleKey], bool]


def entry_of(folder: Path, family_id: str) -> ModelEntry:
    """A model folder as the library would list it."""
    view = ModelView(id="tiny", title="Tiny", family=family_id, format="diffusers")
    parts = [part for part in ("unet", "vae", "text_encoder", "text_encoder_2") if (folder / part).is_dir()]
    config = {part: read_config(folder, part) for part in (*parts, "scheduler", "model_index")}
    return ModelEntry(view=view, path=folder, family=family(family_id), config=config, config_dir=folder)


@pytest.fixture
def base(folders: dict[str, Path]) -> ModelEntry:  # noqa: F811
    """The tiny SD 1.x model."""
    return entry_of(folders["sd1"], "sd1")


def finish(recipe: AnyRecipe, files: RecipeFiles, out: Path, *, replace: bool = False) -> MergeReport:
    """Run to the end; the report."""
    last = None
    for last in run(recipe, files, out, replace=replace):
        assert last.report is None or last.fraction == 1.0
    assert last is not None
    assert last.report is not None
    return last.report


def stacked(
    paths: Sequence[Path],
    weights: Sequence[float],
    model: Targets,
    weight_of: Callable[[ModuleKey], Tensor],
) -> dict[ModuleKey, Tensor]:
    """What the stack itself changes in each weight, float64: the room `adapters`, which merging is compared with."""
    adapters = [read_adapter(path, model, title=path.stem) for path in paths]
    result: dict[ModuleKey, Tensor] = {}
    for key in dict.fromkeys(key for adapter in adapters for key in adapter.patches):
        changes = [
            Change(adapter.patches[key], weight, "")
            for adapter, weight in zip(adapters, weights, strict=True)
            if key in adapter.patches
        ]
        own = weight_of(key)
        moved = torch.empty(own.shape)
        work_in(own, changes, moved)
        result[key] = moved.double() - own.double()
    return result


def worst(found: dict[ModuleKey, Tensor], wanted: dict[ModuleKey, Tensor]) -> float:
    """The largest relative error of a module; both must change the same ones."""
    assert set(found) == set(wanted)
    return max(float((found[key] - wanted[key]).norm() / wanted[key].norm()) for key in wanted)


def nothing(targets: Targets) -> Callable[[ModuleKey], Tensor]:  # noqa: F811
    """A base of zeros, for kinds that do not look at it: its sum with a change loses no digit."""
    return lambda key: torch.zeros(targets.modules[key].shape)
