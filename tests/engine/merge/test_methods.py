"""Methods beside peft's own functions on whole changes, and their refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft.utils import merge_utils

from engine.errors import MergeError
from engine.merge.files import RecipeFiles
from engine.merge.methods.table import own_methods
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe, MethodOptions, Reduction
from tests.engine.adapters.making import full, lora, write_adapter
from tests.engine.merge.conftest import finish, nothing, stacked, worst

FULL = AdapterTarget(kind="full", dtype="float32")
TOO_MUCH = AdapterTarget(reduction=Reduction(rule="energy", keep=1.5))
WEIGHTS = (0.8, 0.5, -0.3)


def here(key) -> bool:
    return "attentions.0" in key[1] or "conv1" in key[1]


@pytest.fixture
def paths(targets, tmp_path) -> list[Path]:
    return [
        write_adapter(tmp_path / f"{seed}.safetensors", targets["sd1"], make, seed=seed, choose=here)
        for seed, make in enumerate((lora, lora, full))
    ]


def run(paths, base, out, method, **more):
    inputs = tuple(MergeInput(name=path.stem, weight=weight) for path, weight in zip(paths, WEIGHTS, strict=False))
    files = RecipeFiles({path.stem: path for path in paths}, {"tiny": base})
    return finish(MergeRecipe(inputs=inputs, base="tiny", method=method, **{"target": FULL, **more}), files, out)


@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("ties", lambda values, weights: merge_utils.ties(values, weights, 0.4, "frequency")),
        ("magnitude_prune", lambda values, weights: merge_utils.magnitude_prune(values, weights, 0.4)),
    ],
)
def test_what_peft_computes_on_whole_changes_is_in_the_file(method, reference, paths, targets, base, tmp_path) -> None:
    out = tmp_path / "out.safetensors"
    options = MethodOptions(density=0.4, majority="frequency")
    report = run(paths, base, out, method, options=options)
    alone = [stacked([path], [1.0], targets["sd1"], nothing(targets["sd1"])) for path in paths]
    wanted = {
        key: reference([each[key].float().flatten(1) for each in alone], torch.tensor(WEIGHTS)).double()
        for key in alone[0]
    }
    found = {
        key: value.flatten(1) for key, value in stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"])).items()
    }
    assert worst(found, wanted) < 1e-5
    assert report.error < 1e-6
    assert report.parity > 0.1


@pytest.mark.parametrize("method", ["dare", "dare_ties"])
def test_dare_drops_by_its_seed_and_keeps_the_mean(method, paths, targets, base, tmp_path) -> None:
    def changes(name: str, seed: int):
        run(paths[:2], base, tmp_path / name, method, options=MethodOptions(density=0.5, seed=seed))
        return stacked([tmp_path / name], [1.0], targets["sd1"], nothing(targets["sd1"]))

    before = torch.random.get_rng_state()
    first, again, other = changes("a.safetensors", 1), changes("b.safetensors", 1), changes("c.safetensors", 2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    if method == "dare":
        whole = stacked(paths[:2], WEIGHTS[:2], targets["sd1"], nothing(targets["sd1"]))
        kept = sum(float((first[key] * whole[key]).sum()) for key in whole)
        assert kept / sum(float(whole[key].square().sum()) for key in whole) == pytest.approx(1.0, abs=0.05)


def test_add_difference_is_first_plus_weight_times_the_rest(paths, targets, base, tmp_path) -> None:
    out = tmp_path / "out.safetensors"
    named = zip(paths, (1.0, 0.4, 1.0), strict=True)
    inputs = tuple(MergeInput(name=path.stem, weight=weight) for path, weight in named)
    files = RecipeFiles({path.stem: path for path in paths}, {"tiny": base})
    finish(MergeRecipe(inputs=inputs, base="tiny", method="add_difference", target=FULL), files, out)
    wanted = stacked(paths, [1.0, 0.4, -0.4], targets["sd1"], nothing(targets["sd1"]))
    assert worst(stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"])), wanted) < 1e-5


def test_only_what_is_new_is_kept(paths, targets, base, tmp_path) -> None:
    out = tmp_path / "out.safetensors"
    inputs = (MergeInput(name="0"), MergeInput(name="1"))
    files = RecipeFiles({"0": paths[0], "1": paths[1]}, {"tiny": base})
    finish(MergeRecipe(inputs=inputs, base="tiny", method="orthogonal", target=FULL), files, out)
    first, second = (stacked([path], [1.0], targets["sd1"], nothing(targets["sd1"])) for path in paths[:2])
    for key, found in stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"])).items():
        new = found - first[key]
        assert abs(float((new * first[key]).sum())) < 1e-5 * float(new.norm() * first[key].norm())
        share = float((second[key] * first[key]).sum() / first[key].square().sum())
        assert torch.allclose(new, second[key] - share * first[key], atol=1e-6)


@pytest.mark.parametrize("method", list(own_methods()))
def test_every_method_has_a_file_and_says_what_it_does(method) -> None:
    view = own_methods()[method].view
    assert view.id == method
    assert view.title
    assert view.summary.endswith(".")


@pytest.mark.parametrize(
    ("method", "more", "code"),
    [
        ("ties", {"options": MethodOptions(density=0.0)}, "merge_option_out_of_range"),
        ("svd", {}, "merge_rank_out_of_range"),
        ("svd", {"target": AdapterTarget(reduction=Reduction(rank=0))}, "merge_rank_out_of_range"),
        ("svd", {"target": AdapterTarget(reduction=Reduction(rank=500))}, "merge_rank_out_of_range"),
        ("dynamic", {"target": AdapterTarget(reduction=Reduction(rule="energy"))}, "merge_rank_out_of_range"),
        ("dynamic", {"target": TOO_MUCH}, "merge_option_out_of_range"),
        ("concat", {"target": AdapterTarget(reduction=Reduction(rank=4))}, "merge_rank_out_of_range"),
        ("weighed_sum", {}, "merge_method_unknown"),
        ("weighted_sum", {"target": AdapterTarget(layout="diffusers")}, "merge_layout_cannot"),
    ],
)
def test_what_a_method_cannot_do_is_one_sentence(method, more, code, paths, base, tmp_path) -> None:
    with pytest.raises(MergeError) as caught:
        run(paths, base, tmp_path / "out.safetensors", method, **more)
    assert caught.value.code == code
    assert sorted(tmp_path.iterdir()) == sorted(paths)
