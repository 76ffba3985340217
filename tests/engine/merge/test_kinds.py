"""Every kind that files hold merges: exactly within its kind, or against a base, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapters.modules import targets_of
from engine.errors import MergeError
from engine.merge.bases import opened_model
from engine.merge.files import RecipeFiles
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe
from tests.engine.adapters.test_lycoris_files import CASES, network_on, save
from tests.engine.merge.conftest import finish, stacked, worst

pytestmark = pytest.mark.usefixtures("same_numbers")

NEEDS_BASE = ("GLoRA", "(IA)³", "OFT", "BOFT", "DoRA")
WITHIN = ("GLoRA", "(IA)³")


def two_files(case: str, load_parts, folder: Path) -> list[Path]:
    return [
        save(network_on(load_parts("sd1")["unet"], case), folder / f"{name}.safetensors")
        for name in ("first", "second")
    ]


def recipe(paths: list[Path], **more) -> MergeRecipe:
    inputs = tuple(MergeInput(name=path.stem, weight=weight) for path, weight in zip(paths, (0.7, -0.4), strict=True))
    return MergeRecipe(inputs=inputs, **more)


@pytest.mark.parametrize("case", list(CASES))
def test_two_files_of_the_lycoris_library_merge_into_what_stacking_them_does(case, load_parts, base, tmp_path) -> None:
    paths = two_files(case, load_parts, tmp_path)
    files = RecipeFiles({path.stem: path for path in paths}, {"tiny": base})
    out = tmp_path / "out.safetensors"
    report = finish(recipe(paths, base="tiny", target=AdapterTarget(kind="lora", dtype="float32")), files, out)
    targets = targets_of(load_parts("sd1"), family="sd1")
    with opened_model(base) as model:

        def own(key):
            return model.weight(key).float()

        wanted, found = stacked(paths, [0.7, -0.4], targets, own), stacked([out], [1.0], targets, own)
    # Changes are small beside the weights that some kinds are read against: float32 leaves them about four digits.
    assert worst(found, wanted) < (2e-4 if case.startswith(NEEDS_BASE) else 1e-5)
    assert report.parity < 1e-5
    kinds = {each.kind for each in report.modules}
    assert (kinds <= {"GLoRA", "(IA)³"}) == case.startswith(WITHIN)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(NEEDS_BASE)])
def test_without_a_base_a_kind_merges_within_itself_or_is_refused(case, load_parts, tmp_path, monkeypatch) -> None:
    paths = two_files(case, load_parts, tmp_path)
    files = RecipeFiles({path.stem: path for path in paths})
    out = tmp_path / "out.safetensors"
    # The tiny model's shapes are no family's, so its own modules stand in for them.
    monkeypatch.setattr("engine.merge.prepared.targets_for", lambda *_: targets_of(load_parts("sd1"), family="sd1"))
    if case.startswith(WITHIN):
        assert finish(recipe(paths, target=AdapterTarget(dtype="float32")), files, out).parity < 1e-6
        return
    with pytest.raises(MergeError) as caught:
        finish(recipe(paths), files, out)
    assert caught.value.code == "merge_base_needed"
    assert sorted(tmp_path.iterdir()) == sorted(paths)
