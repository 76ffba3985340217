"""Baking, extracting and merging checkpoints: single files and folders, beside the stack and plain arithmetic."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapters.modules import ModuleKey, targets_of
from engine.errors import ConflictError, MergeError
from engine.library.entries import ModelEntry
from engine.library.headers import read_header
from engine.library.layouts import FoundFolder
from engine.library.models import FamilyConfigs, Naming, build_entry
from engine.library.scan import look_at
from engine.loading.loader import load_component
from engine.merge.bases import opened_model
from engine.merge.files import RecipeFiles
from engine.merge.methods.table import own_methods
from engine.merge.ready import require_ready
from engine.merge.run import run
from engine.protocol.merge import BakeRecipe, CheckpointRecipe, ExtractRecipe, MergeInput, Reduction
from tests.engine.adapters.making import dora, full, lora, write_adapter
from tests.engine.merge.conftest import finish, stacked, worst
from tests.support.tiny_models import copy_configs, write_single_file, write_tiny_sd1

FAMILIES = ("sd1", "sd2", "sdxl")


def listed(path: Path) -> ModelEntry:
    """The model as the library would list it."""
    entry = build_entry(
        look_at(path, FoundFolder("checkpoint", path.parent, "Easel")), Naming(id=path.stem), FamilyConfigs()
    )
    assert not entry.view.problem, entry.view.problem
    return entry


def single(folder: Path, target: Path, **more) -> Path:
    write_single_file(folder, target, **more)
    copy_configs(folder, target.with_suffix(".config"))
    return target


def weights_of(entry: ModelEntry) -> dict[ModuleKey, torch.Tensor]:
    with opened_model(entry) as model:
        return {
            key: model.weight(key).double().clone()
            for key, target in model.targets.modules.items()
            if target.kind in ("linear", "conv")
        }


@pytest.mark.parametrize("layout", ["folder", "single file"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_baked_model_has_the_weights_of_the_stack(family, layout, folders, load_parts, tmp_path) -> None:
    source = folders[family] if layout == "folder" else single(folders[family], tmp_path / "model.safetensors")
    entry = listed(source)
    targets = targets_of(load_parts(family), family=family)
    parts = tuple(dict.fromkeys(key[0] for key in targets.modules))
    adapters = [
        write_adapter(tmp_path / "one.safetensors", targets, lora, seed=1, components=parts),
        write_adapter(tmp_path / "two.safetensors", targets, full, seed=2, components=parts),
    ]
    out = tmp_path / ("baked" if layout == "folder" else "baked.safetensors")
    recipe = BakeRecipe(model="m", inputs=(MergeInput(name="one", weight=0.5), MergeInput(name="two", weight=-0.3)))
    files = RecipeFiles({"one": adapters[0], "two": adapters[1]}, {"m": entry})
    report = finish(recipe, files, out)
    assert report.notices == ()
    if layout == "single file":
        copy_configs(folders[family], out.with_suffix(".config"))
    before, after = weights_of(entry), weights_of(listed(out))
    wanted = stacked(adapters, [0.5, -0.3], targets, lambda key: before[key].float())
    found = {key: after[key] - before[key] for key in wanted}
    assert worst(found, wanted) < 1e-4
    assert all(torch.equal(after[key], before[key]) for key in before if key not in wanted)
    for part in ("unet", "vae", "text_encoder"):
        load_component(listed(out), part)


def test_a_baked_file_keeps_dtypes_and_everything_else(folders, load_parts, tmp_path) -> None:
    extra = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77).unsqueeze(0)}
    source = single(folders["sd1"], tmp_path / "model.safetensors", dtype=torch.float16, extra=extra)
    targets = targets_of(load_parts("sd1"), family="sd1")
    adapter = write_adapter(tmp_path / "one.safetensors", targets, lora)
    out = tmp_path / "baked.safetensors"
    recipe = BakeRecipe(model="m", inputs=(MergeInput(name="one"),))
    finish(recipe, RecipeFiles({"one": adapter}, {"m": listed(source)}), out)
    before, after = load_file(source), load_file(out)
    assert {name: (value.dtype, value.shape) for name, value in before.items()} == {
        name: (value.dtype, value.shape) for name, value in after.items()
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("model.diffusion_model.") for name in changed)
    told = read_header(out).metadata
    assert told["modelspec.merged_from"] == "model, one"
    assert '"task":"bake"' in told["easel.recipe"]
    assert str(tmp_path) not in told["easel.recipe"]


def tuned_folder(folder: Path, target: Path, strength: float = 0.02) -> Path:
    """Another training of the same shapes: every weight moved, the UNet's by a low-rank matrix and noise."""
    import shutil

    shutil.copytree(folder, target)
    generator = torch.Generator().manual_seed(5)
    for file in target.glob("*/*.safetensors"):
        if file.parent.name == "vae":
            continue
        tensors = load_file(file)
        for value in tensors.values():
            if value.is_floating_point():
                value += torch.randn(value.shape, generator=generator) * strength
        save_file(tensors, file, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_an_extracted_lora_is_the_best_of_its_rank(layout, folders, load_parts, tmp_path) -> None:
    tuned, base = listed(tuned_folder(folders["sd1"], tmp_path / "tuned")), listed(folders["sd1"])
    out = tmp_path / "out.safetensors"
    recipe = ExtractRecipe(tuned="t", base="b", reduction=Reduction(rank=4), layout=layout, dtype="float32")
    report = finish(recipe, RecipeFiles(models={"t": tuned, "b": base}), out)
    targets = targets_of(load_parts("sd1"), family="sd1")
    found = stacked([out], [1.0], targets, lambda key: torch.zeros(targets.modules[key].shape))
    after, before = weights_of(tuned), weights_of(base)
    for key, delta in found.items():
        if targets.modules[key].kind == "norm":
            continue
        wanted = (after[key] - before[key]).flatten(1)
        tail = float(torch.linalg.svdvals(wanted)[4:].square().sum().sqrt())
        assert float((delta.flatten(1) - wanted).norm()) == pytest.approx(tail, rel=1e-3, abs=1e-5)
    assert len(found) == len(report.modules) >= len(before)
    assert 0 < report.energy < 1


def test_an_extracted_adapter_of_full_rank_makes_the_tuned_model_again(folders, load_parts, tmp_path) -> None:
    tuned, base = listed(tuned_folder(folders["sd1"], tmp_path / "tuned")), listed(folders["sd1"])
    out, baked = tmp_path / "out.safetensors", tmp_path / "baked"
    recipe = ExtractRecipe(tuned="t", base="b", reduction=Reduction(rule="energy", keep=1.0), dtype="float32")
    finish(recipe, RecipeFiles(models={"t": tuned, "b": base}), out)
    bake = BakeRecipe(model="b", inputs=(MergeInput(name="out"),))
    finish(bake, RecipeFiles({"out": out}, {"b": base}), baked)
    again, wanted = weights_of(listed(baked)), weights_of(tuned)
    assert max(float((again[key] - wanted[key]).abs().max()) for key in wanted) < 1e-5


def test_an_extracted_lokr_is_what_the_nearest_kronecker_product_can_be(folders, load_parts, tmp_path) -> None:
    """A difference that is a Kronecker product comes back as it was."""
    base = listed(folders["sd1"])
    folder = tuned_folder(folders["sd1"], tmp_path / "tuned", strength=0.0)
    file = next((folder / "unet").glob("*.safetensors"))
    tensors = load_file(file)
    generator = torch.Generator().manual_seed(3)
    moved = [name for name in tensors if name.endswith(("to_q.weight", "to_k.weight"))]
    for name in moved:
        rows, columns = tensors[name].shape
        # 32 has 4 as its largest divisor up to the root.
        first, second = (
            torch.randn(4, 4, generator=generator),
            torch.randn(rows // 4, columns // 4, generator=generator),
        )
        tensors[name] += torch.kron(first, second) * 0.1
    save_file(tensors, file, metadata={"format": "pt"})
    out = tmp_path / "out.safetensors"
    recipe = ExtractRecipe(tuned="t", base="b", kind="lokr", factor=4, dtype="float32")
    report = finish(recipe, RecipeFiles(models={"t": listed(folder), "b": base}), out)
    assert {each.kind for each in report.modules} == {"LoKr"}
    assert len(report.modules) == len(moved)
    assert report.error < 1e-4


@pytest.mark.parametrize("layout", ["folder", "single file"])
@pytest.mark.parametrize("method", ["weighted", "add_difference"])
def test_merged_checkpoints_are_plain_arithmetic(method, layout, folders, tmp_path) -> None:
    paths = [write_tiny_sd1(tmp_path / f"m{seed}", seed=seed) for seed in range(3 if method == "add_difference" else 2)]
    folder = paths[0]
    if layout == "single file":
        paths = [single(path, tmp_path / f"{path.name}.safetensors") for path in paths]
    entries = {path.stem: listed(path) for path in paths}
    out = tmp_path / ("out" if layout == "folder" else "out.safetensors")
    weights = (0.7, 0.3, 1.0)
    inputs = tuple(MergeInput(name=path.stem, weight=weight) for path, weight in zip(paths, weights, strict=False))
    finish(CheckpointRecipe(inputs=inputs, method=method), RecipeFiles(models=entries), out)
    if layout == "single file":
        copy_configs(folder, out.with_suffix(".config"))
    models, found = [weights_of(entry) for entry in entries.values()], weights_of(listed(out))
    for key, value in found.items():
        if method == "weighted":
            wanted = 0.7 * models[0][key] + 0.3 * models[1][key]
        else:
            wanted = models[0][key] + 0.3 * (models[1][key] - models[2][key])
        assert torch.allclose(value, wanted, atol=1e-6), key


@pytest.mark.parametrize(
    "inputs",
    [
        (MergeInput(name="m0", weight=1.0), MergeInput(name="m1", weight=-1.0)),
        (MergeInput(name="m0", weight=1.0, text_weight=0.5), MergeInput(name="m1", weight=1.0, text_weight=-0.5)),
        (MergeInput(name="m0", weight=1.0), MergeInput(name="m1", weight=1.0, blocks=(1.0, -1.0, *(1.0,) * 24))),
    ],
)
def test_a_sum_of_zero_is_refused_before_anything_is_queued(inputs, folders, tmp_path) -> None:
    paths = [folders["sd1"], write_tiny_sd1(tmp_path / "m1", seed=1)]
    files = RecipeFiles(models={"m0": listed(paths[0]), "m1": listed(paths[1])})
    with pytest.raises(MergeError) as refusal:
        require_ready(CheckpointRecipe(inputs=inputs), files, own_methods())
    assert refusal.value.code == "merge_weights_zero"
    require_ready(CheckpointRecipe(inputs=inputs, normalise=False), files, own_methods())


def test_models_are_merged_block_by_block(folders, tmp_path) -> None:
    paths = [write_tiny_sd1(tmp_path / f"m{seed}", seed=seed) for seed in range(2)]
    entries = {path.stem: listed(path) for path in paths}
    blocks = [0.0] * 26
    blocks[13] = 1.0  # M00 of BASE, IN00–IN11, M00, OUT00–OUT11
    inputs = (MergeInput(name="m0", weight=1.0), MergeInput(name="m1", weight=1.0, blocks=tuple(blocks)))
    finish(CheckpointRecipe(inputs=inputs), RecipeFiles(models=entries), tmp_path / "out")
    first, second, found = (weights_of(each) for each in (*entries.values(), listed(tmp_path / "out")))
    for key, value in found.items():
        middle = key[0] == "unet" and key[1].startswith("mid_block")
        assert torch.allclose(value, (first[key] + second[key]) / 2 if middle else first[key], atol=1e-6), key


@pytest.mark.parametrize("layout", ["folder", "single file"])
def test_canceling_leaves_nothing(layout, folders, load_parts, tmp_path) -> None:
    source = folders["sd1"] if layout == "folder" else single(folders["sd1"], tmp_path / "in" / "model.safetensors")
    targets = targets_of(load_parts("sd1"), family="sd1")
    adapter = write_adapter(tmp_path / "one.safetensors", targets, lora)
    folder = tmp_path / "made"
    out = folder / ("baked" if layout == "folder" else "baked.safetensors")
    recipe = BakeRecipe(model="m", inputs=(MergeInput(name="one"),))
    steps = run(recipe, RecipeFiles({"one": adapter}, {"m": listed(source)}), out)
    for _ in range(20):
        next(steps)
    assert list(folder.iterdir())
    steps.close()
    assert list(folder.iterdir()) == []


def test_models_that_do_not_fit_each_other_are_refused(folders, tmp_path) -> None:
    sd1, sd2 = listed(folders["sd1"]), listed(folders["sd2"])
    inputs = (MergeInput(name="a"), MergeInput(name="b"))
    with pytest.raises(MergeError, match=r"SD 1\.x") as caught:
        finish(CheckpointRecipe(inputs=inputs), RecipeFiles(models={"a": sd1, "b": sd2}), tmp_path / "out")
    assert caught.value.code == "merge_families_differ"
    with pytest.raises(MergeError) as caught:
        finish(ExtractRecipe(tuned="a", base="a"), RecipeFiles(models={"a": sd1}), tmp_path / "out.safetensors")
    assert caught.value.code == "merge_twice"
    file = listed(single(folders["sd1"], tmp_path / "single.safetensors"))
    with pytest.raises(MergeError) as caught:
        finish(CheckpointRecipe(inputs=inputs), RecipeFiles(models={"a": sd1, "b": file}), tmp_path / "out")
    assert caught.value.code == "merge_models_differ"
    (tmp_path / "taken").mkdir()
    other = listed(write_tiny_sd1(tmp_path / "other", seed=3))
    with pytest.raises(ConflictError):
        finish(CheckpointRecipe(inputs=inputs), RecipeFiles(models={"a": sd1, "b": other}), tmp_path / "taken")
    assert [each for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("kind", ["lora", "lokr"])
def test_an_adapter_is_extracted_from_a_stack_of_any_kinds(kind, folders, load_parts, tmp_path) -> None:
    """DoRA is not linear: what it does after a LoRA has no sum, but the base with both has a difference."""
    base = listed(folders["sd1"])
    targets = targets_of(load_parts("sd1"), family="sd1")
    attention = lambda key: "attn1" in key[1]  # noqa: E731
    paths = {
        "lora": write_adapter(tmp_path / "lora.safetensors", targets, lora, seed=1, choose=attention),
        "dora": write_adapter(tmp_path / "dora.safetensors", targets, dora, seed=2, choose=attention),
    }
    inputs = (MergeInput(name="lora", weight=0.7), MergeInput(name="dora", weight=0.5))
    whole = Reduction(rule="energy", keep=1.0)
    recipe = ExtractRecipe(inputs=inputs, base="b", kind=kind, reduction=whole, dtype="float32")
    out = tmp_path / "out.safetensors"
    report = finish(recipe, RecipeFiles(paths, {"b": base}), out)
    with opened_model(base) as model:

        def own(key: ModuleKey) -> torch.Tensor:
            return model.weight(key).float()

        wanted = stacked(list(paths.values()), [0.7, 0.5], targets, own)
        found = stacked([out], [1.0], targets, own)
    if kind == "lora":
        assert worst(found, wanted) < 2e-4
        assert report.error < 1e-5
    else:
        assert set(found) == set(wanted)
        error = sum(float((found[key] - wanted[key]).square().sum()) for key in wanted)
        size = sum(float(wanted[key].square().sum()) for key in wanted)
        assert report.error == pytest.approx((error / size) ** 0.5, rel=1e-3)
        assert 0.0 < report.error < 1.0
    assert "lora" in read_header(out).metadata["modelspec.merged_from"]


def test_what_to_extract_from_is_said_once(folders, tmp_path) -> None:
    files = RecipeFiles({}, {"b": listed(folders["sd1"])})
    for recipe in (ExtractRecipe(base="b"), ExtractRecipe(base="b", tuned="b", inputs=(MergeInput(name="a"),))):
        with pytest.raises(MergeError) as caught:
            finish(recipe, files, tmp_path / "out.safetensors")
        assert caught.value.code == "merge_inputs_missing"
    assert list(tmp_path.iterdir()) == []


def test_a_baked_folder_has_its_own_name_and_only_its_own_parts(folders, load_parts, tmp_path) -> None:
    source = tmp_path / "source"
    shutil.copytree(folders["sd1"], source)
    (source / "easel.toml").write_text('# settings\nname = "The first"\nupscale = 4\n', encoding="utf-8")
    (source / "loras").mkdir()
    (source / "loras" / "other.safetensors").write_bytes(b"not its own")
    targets = targets_of(load_parts("sd1"), family="sd1")
    adapter = write_adapter(tmp_path / "a.safetensors", targets, lora)
    out = tmp_path / "models" / "Ink “2”"
    files = RecipeFiles({"a": adapter}, {"m": listed(source)})
    finish(BakeRecipe(model="m", inputs=(MergeInput(name="a"),)), files, out)
    assert (out / "easel.toml").read_text("utf-8") == '# settings\nname = "Ink “2”"\nupscale = 4\n'
    assert not (out / "loras").exists()
    assert (out / "tokenizer").is_dir()
    one = single(folders["sd1"], tmp_path / "one.safetensors")
    one.with_suffix(".easel.toml").write_text('name = "One"\n', encoding="utf-8")
    made = tmp_path / "models" / "two.safetensors"
    finish(BakeRecipe(model="m", inputs=(MergeInput(name="a"),)), RecipeFiles({"a": adapter}, {"m": listed(one)}), made)
    assert made.with_suffix(".easel.toml").read_text("utf-8") == 'name = "two"\n'
    assert made.with_suffix(".config").is_dir()
