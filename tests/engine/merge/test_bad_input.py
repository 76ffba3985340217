"""Bad input, a refusing disk and a cancel: one sentence, and nothing is left behind."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ConflictError, MergeError, ModelFileError, StorageError, StudioError
from engine.library.hashing import auto_v3_of
from engine.library.headers import read_header
from engine.merge.analysis import preview
from engine.merge.edit import edit_metadata
from engine.merge.files import RecipeFiles
from engine.merge.recipe_checks import require_name
from engine.merge.run import run
from engine.merge.writer import WriteBehind, streamed
from engine.protocol.merge import AdapterTarget, FileMetadata, MergeInput, MergeRecipe, Reduction
from tests.engine.adapters.making import lora, write_adapter
from tests.engine.merge.conftest import finish
from tests.support.adapter_files import cover


@pytest.fixture
def files(targets, base, tmp_path) -> RecipeFiles:
    folder = tmp_path / "in"
    folder.mkdir()
    paths = {name: write_adapter(folder / f"{name}.safetensors", targets["sd1"], lora, seed=ord(name)) for name in "ab"}
    return RecipeFiles(paths, {"tiny": base})


def recipe(*names: str, **more) -> MergeRecipe:
    return MergeRecipe(inputs=tuple(MergeInput(name=name) for name in names or "ab"), **{"base": "tiny", **more})


def refused(what: MergeRecipe, files: RecipeFiles, folder: Path) -> StudioError:
    before = sorted(folder.rglob("*"))
    with pytest.raises(StudioError) as caught:
        finish(what, files, folder / "out.safetensors")
    assert sorted(folder.rglob("*")) == before
    assert str(caught.value).endswith((".", "?"))
    assert "/" not in caught.value.message
    return caught.value


def test_no_input_and_the_same_file_twice(files, tmp_path) -> None:
    assert refused(MergeRecipe(inputs=(), base="tiny"), files, tmp_path).code == "merge_inputs_missing"
    again = RecipeFiles({"a": files.adapters["a"], "b": files.adapters["a"]}, files.models)
    assert refused(recipe(), again, tmp_path).code == "merge_twice"


def test_weights_that_are_zero_or_add_up_to_it(files, tmp_path) -> None:
    zero = MergeRecipe(inputs=(MergeInput(name="a", weight=0.0), MergeInput(name="b", weight=0.0)), base="tiny")
    assert refused(zero, files, tmp_path).code == "merge_weights_zero"
    opposite = MergeRecipe(
        inputs=(MergeInput(name="a", weight=1.0), MergeInput(name="b", weight=-1.0)), base="tiny", normalise=True
    )
    assert refused(opposite, files, tmp_path).code == "merge_weights_zero"
    text = MergeRecipe(inputs=(MergeInput(name="a", weight=0.0, text_weight=1.0),), base="tiny")
    assert refused(text, files, tmp_path).code == "merge_nothing_left"


def test_another_family_or_shapes_without_a_base(files, targets, tmp_path) -> None:
    no_family = refused(recipe(base=None), files, tmp_path)
    assert no_family.code == "merge_base_needed"
    told = files.adapters["b"]
    save_file(load_file(told), told, metadata={"ss_base_model_version": "sdxl_base_v1-0"})
    assert refused(recipe(), files, tmp_path).code in ("merge_families_differ", "adapter_family_mismatch")
    save_file(load_file(told), told, metadata={"ss_base_model_version": "sd_v1"})
    assert refused(recipe("b", base=None), files, tmp_path).code == "merge_base_needed"


def test_values_that_are_no_numbers(files, tmp_path) -> None:
    path = files.adapters["a"]
    tensors = load_file(path)
    tensors[next(name for name in tensors if "lora_up" in name)][0, 0] = float("nan")
    save_file(tensors, path)
    assert refused(recipe(), files, tmp_path).code == "adapter_not_finite"
    huge = {name: value * 1e6 if "lora" in name else value for name, value in load_file(files.adapters["b"]).items()}
    save_file(huge, path)
    assert refused(recipe("a"), files, tmp_path).code == "merge_not_finite"


def test_a_damaged_or_missing_file(files, tmp_path) -> None:
    path = files.adapters["a"]
    path.write_bytes(path.read_bytes()[:-50])
    assert refused(recipe(), files, tmp_path).code == "model_file_truncated"
    path.unlink()
    assert isinstance(refused(recipe(), files, tmp_path), ModelFileError)


def test_a_name_that_exists_is_never_overwritten_unless_asked(files, tmp_path) -> None:
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(ConflictError) as caught:
        finish(recipe(), files, out)
    assert caught.value.code == "merge_name_taken"
    assert out.read_bytes() == b"mine"
    finish(recipe(), files, out, replace=True)
    assert read_header(out).tensors


@pytest.mark.parametrize(
    "name", ["", "  ", "a/b", "..\\x", "a\0b", "con", "COM1.x", ".hidden", "x" * 300, "a:b", "ends."]
)
def test_names_that_no_system_takes(name) -> None:
    with pytest.raises(MergeError) as caught:
        require_name(name)
    assert caught.value.code == "merge_name_invalid"


def test_usual_names() -> None:
    assert require_name(" My style 0.5+0.3 (v2).safetensors") == "My style 0.5+0.3 (v2)"
    assert require_name("日本 ü") == "日本 ü"


@pytest.mark.parametrize("after", [1, 5, 20])
def test_canceling_leaves_nothing(after, files, tmp_path) -> None:
    before, cores = sorted(tmp_path.rglob("*")), torch.get_num_threads()
    steps = run(recipe(), files, tmp_path / "out.safetensors")
    for _ in range(after):
        progress = next(steps)
        assert 0.0 <= progress.fraction < 1.0
        # Whoever runs it does other work in between, in its own mode.
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        assert torch.get_num_threads() == cores
    steps.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_told_before_and_while_writing(files, tmp_path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        assert refused(recipe(), files, tmp_path).code == "disk_full"
    count = 0

    def failing(self, data, check) -> None:
        nonlocal count
        count += 1
        if count > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(data)

    monkeypatch.setattr(WriteBehind, "_take", failing)
    error = refused(recipe(), files, tmp_path)
    assert isinstance(error, StorageError)
    assert error.code == "disk_full"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_header_that_outgrows_its_room_moves_the_data(tmp_path) -> None:
    out = tmp_path / "out.safetensors"
    values = {f"name {place}": torch.arange(place + 1, dtype=torch.float32) for place in range(50)}
    with streamed(out, tensors=1, metadata={}) as writer:
        for name, value in values.items():
            writer.add(name, value)
        writer.metadata = {"long": "x" * 100_000}
        digest = writer.auto_v3
    assert auto_v3_of(out) == digest
    assert read_header(out).metadata["long"] == "x" * 100_000
    found = load_file(out)
    assert all(torch.equal(found[name], value) for name, value in values.items())


def test_editing_changes_what_the_file_says_and_no_number(files) -> None:
    path = files.adapters["a"]
    before, digest = load_file(path), auto_v3_of(path)
    given = FileMetadata(title="Ink", license="CC0", trigger_words=("ink style", "line"), thumbnail=cover())
    assert edit_metadata(path, given) == digest == auto_v3_of(path)
    told = read_header(path).metadata
    assert told["modelspec.title"] == "Ink"
    assert told["modelspec.trigger_phrase"] == "ink style, line"
    assert told["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    edit_metadata(path, FileMetadata(license=""))
    told = read_header(path).metadata
    assert "modelspec.license" not in told
    assert told["modelspec.title"] == "Ink"
    after = load_file(path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_a_preview_tells_what_the_run_makes(files, tmp_path) -> None:
    target = AdapterTarget(reduction=Reduction(rule="energy", keep=0.9))
    wanted = recipe(method="dynamic", target=target)
    seen = preview(wanted, files, modules=1000)
    report = finish(wanted, files, tmp_path / "out.safetensors")
    assert seen.modules == seen.sampled == len(report.modules)
    assert seen.loss == pytest.approx(report.error, rel=1e-2)
    assert seen.size_bytes == pytest.approx(report.parameters * 2, rel=0.02)
    ranks = {(each.component, each.module): each.rank for each in report.modules}
    assert {(each.component, each.module): each.rank for each in seen.spectra} == ranks
    assert abs(seen.pairs[0].cosine) < 0.3
    assert seen.pairs[0].sign_conflict == pytest.approx(0.5, abs=0.1)
    assert seen.blocks[0].block == "BASE"
    few = preview(wanted, files, modules=6)
    assert few.sampled == 6
    assert few.size_bytes == pytest.approx(seen.size_bytes, rel=0.5)


def test_a_recipe_is_a_value_that_makes_the_same_file_again(files, tmp_path) -> None:
    from engine.cli.merge import read_recipe

    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    finish(recipe(), files, first)
    again = read_recipe(first)
    assert again == recipe()
    finish(again, files, second)
    assert auto_v3_of(first) == auto_v3_of(second)


def test_what_of_an_input_fits_nothing_is_told(files, targets, tmp_path) -> None:
    """A file that does not say its family, of which only some modules fit by name and shape."""
    other = write_adapter(tmp_path / "in" / "other.safetensors", targets["sdxl"], lora)
    more = RecipeFiles({**files.adapters, "other": other}, files.models)
    report = finish(recipe("a", "other"), more, tmp_path / "out.safetensors")
    assert report.notices[0].startswith("other: ")
    assert "modules fit" in report.notices[0]


def test_a_preview_without_reduction_offers_three_ways(files) -> None:
    seen = preview(recipe(), files)
    assert [each.kind for each in seen.choices] == ["auto", "lora", "full"]
    assert [each.kind for each in seen.choices if each.chosen] == ["auto"]
    assert seen.loss == 0.0
