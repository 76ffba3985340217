"""Reading adapter files: formats, precision, embedded words, and everything that can be wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapters.file import read_adapter, stamp_of
from engine.adapters.modules import Targets
from engine.errors import AdapterError, ModelFileError, StudioError

PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
STEM = "lora_unet_" + PATH.replace(".", "_")
KEY = ("unet", PATH)


@pytest.fixture
def target(targets: dict[str, Targets]) -> Targets:
    return targets["sd1"]


def lora(alpha: torch.Tensor | None = None, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    tensors = {
        f"{STEM}.lora_up.weight": torch.randn(64, 4, generator=generator).to(dtype),
        f"{STEM}.lora_down.weight": torch.randn(4, 64, generator=generator).to(dtype),
    }
    return tensors if alpha is None else {**tensors, f"{STEM}.alpha": alpha}


def write(folder: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    file = folder / "it.safetensors"
    save_file(tensors, file, metadata)
    return file


def delta(file: Path, target: Targets) -> torch.Tensor:
    return read_adapter(file, target, title="Ink").patches[KEY].delta(torch.empty(64, 64), 1.0)


@pytest.mark.parametrize(
    ("alpha", "factor"),
    [
        (None, 1.0),
        (torch.tensor(0.0), 1.0),
        (torch.tensor(2.0), 0.5),
        (torch.tensor(2.0, dtype=torch.float16), 0.5),
        (torch.tensor([2.0], dtype=torch.bfloat16), 0.5),
        (torch.tensor(2), 0.5),
    ],
)
def test_alpha_in_every_form(alpha: torch.Tensor | None, factor: float, target: Targets, tmp_path: Path) -> None:
    tensors = lora(alpha)
    expected = tensors[f"{STEM}.lora_up.weight"] @ tensors[f"{STEM}.lora_down.weight"] * factor
    assert torch.allclose(delta(write(tmp_path, tensors), target), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_files_keep_their_precision_and_work_in_single(dtype: torch.dtype, target: Targets, tmp_path: Path) -> None:
    tensors = lora(dtype=dtype)
    adapter = read_adapter(write(tmp_path, tensors), target, title="Ink")
    assert adapter.nbytes == sum(tensor.nbytes for tensor in tensors.values())
    found = adapter.patches[KEY].delta(torch.empty(64, 64), 1.0)
    up, down = (tensor.float() for tensor in tensors.values())
    assert found.dtype == torch.float32
    assert torch.allclose(found, up @ down, atol=1e-5)


def test_patches_own_their_memory(target: Targets, tmp_path: Path) -> None:
    """Overwriting or deleting the file in use changes nothing, and ends nothing."""
    file = write(tmp_path, lora())
    adapter = read_adapter(file, target, title="Ink")
    before = adapter.patches[KEY].delta(torch.empty(64, 64), 1.0)
    size = file.stat().st_size
    with file.open("r+b") as handle:
        handle.truncate(10)
        handle.write(b"\xff" * size)
    file.unlink()
    assert torch.equal(adapter.patches[KEY].delta(torch.empty(64, 64), 1.0), before)


def test_the_stamp_tells_another_file(target: Targets, tmp_path: Path) -> None:
    file = write(tmp_path, lora())
    adapter = read_adapter(file, target, title="Ink")
    assert adapter.stamp == stamp_of(file)
    write(tmp_path, lora(torch.tensor(1.0)))
    assert adapter.stamp != stamp_of(file)


def test_words_inside_the_file_are_kept(target: Targets, tmp_path: Path) -> None:
    words = {
        "bundle_emb.ink.string_to_param.*": torch.randn(2, 32),
        "bundle_emb.pen.clip_l": torch.randn(1, 32),
        "bundle_emb.two.clip_g": torch.randn(1, 48),
    }
    adapter = read_adapter(write(tmp_path, {**lora(), **words}), target, title="Ink")
    assert set(adapter.embeddings) == {"ink", "pen", "two"}
    assert torch.equal(adapter.embeddings["ink"]["string_to_param.*"], words["bundle_emb.ink.string_to_param.*"])
    assert torch.equal(adapter.embeddings["pen"]["clip_l"], words["bundle_emb.pen.clip_l"])
    assert adapter.report.unmatched == ()
    assert adapter.report.total == 1


def test_the_report_comes_with_the_adapter(target: Targets, tmp_path: Path) -> None:
    adapter = read_adapter(write(tmp_path, lora()), target, title="Ink", adapter_id="ink")
    assert (adapter.report.id, adapter.report.title, adapter.report.matched) == ("ink", "Ink", 1)


def test_peft_settings_that_cannot_be_read_are_as_if_absent(target: Targets, tmp_path: Path) -> None:
    tensors = {name.replace(STEM, f"base_model.model.{PATH}"): value for name, value in lora().items()}
    file = tmp_path / "adapter_model.safetensors"
    save_file(tensors, file)
    plain = delta(file, target)
    for text in ("", "[", "[]", '{"lora_alpha": "x", "alpha_pattern": 3}', '{"alpha_pattern": {"(": 2}}', "[" * 9000):
        (tmp_path / "adapter_config.json").write_text(text)
        assert torch.equal(delta(file, target), plain), text
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    assert torch.allclose(delta(file, target), plain * 2)


# --- what is wrong with files --------------------------------------------------------------------------------------


def refusal(file: Path, target: Targets) -> StudioError:
    with pytest.raises(StudioError) as caught:
        read_adapter(file, target, title="Ink")
    error = caught.value
    assert error.message.endswith(".")
    assert "\n" not in error.message
    assert error.hint
    return error


def test_a_truncated_file(target: Targets, tmp_path: Path) -> None:
    file = write(tmp_path, lora())
    whole = file.read_bytes()
    for length in (0, 5, 60, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert refusal(file, target).code in ("model_file_truncated", "model_file_not_a_model"), length


def test_a_text_file_and_a_pickle(target: Targets, tmp_path: Path) -> None:
    file = tmp_path / "it.safetensors"
    file.write_text("<html>Please log in to download this file.</html>")
    assert refusal(file, target).code == "model_file_not_a_model"
    torch.save(lora(), file)
    assert refusal(file, target).code == "model_file_not_a_model"
    for name in ("it.pt", "it.ckpt", "it.bin"):
        torch.save(lora(), tmp_path / name)
        error = refusal(tmp_path / name, target)
        assert isinstance(error, ModelFileError)
        assert error.code == "model_file_unsafe"


def test_a_file_that_is_gone(target: Targets, tmp_path: Path) -> None:
    assert refusal(tmp_path / "it.safetensors", target).code == "model_file_missing"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_no_numbers(value: float, dtype: torch.dtype, target: Targets, tmp_path: Path) -> None:
    tensors = lora(dtype=dtype)
    tensors[f"{STEM}.lora_down.weight"][2, 3] = value
    error = refusal(write(tmp_path, tensors), target)
    assert isinstance(error, AdapterError)
    assert error.code == "adapter_not_finite"
    assert "Ink" in error.message


def test_alpha_that_is_no_number(target: Targets, tmp_path: Path) -> None:
    assert refusal(write(tmp_path, lora(torch.tensor(float("nan")))), target).code == "adapter_not_finite"


def test_enormous_values_are_numbers(target: Targets, tmp_path: Path) -> None:
    """Their sum is infinite, they are not."""
    tensors = lora()
    tensors[f"{STEM}.lora_down.weight"][:] = 3e38
    assert read_adapter(write(tmp_path, tensors), target, title="Ink").report.usable


def test_ranks_that_differ(target: Targets, tmp_path: Path) -> None:
    tensors = lora()
    tensors[f"{STEM}.lora_up.weight"] = torch.randn(64, 3)
    error = refusal(write(tmp_path, tensors), target)
    assert error.code == "adapter_damaged"
    assert "64×3" in error.message


def test_another_family_and_no_module_at_all(target: Targets, tmp_path: Path) -> None:
    foreign = {"lora_unet_output_blocks_9_9_proj_in.lora_up.weight": torch.ones(2, 2)}
    error = refusal(write(tmp_path, foreign, ss_base_model_version="sdxl_base_v1-0"), target)
    assert error.code == "adapter_family_mismatch"
    assert error.message == "Ink was made for SDXL, the model is SD 1.x."
    error = refusal(write(tmp_path, foreign), target)
    assert error.code == "adapter_matches_nothing"
    assert error.message.startswith("Ink fits nothing in this model: ")
    assert refusal(write(tmp_path, {"lora_unet_x.alpha": torch.ones(1)}), target).code == "adapter_matches_nothing"


def test_a_file_that_changes_while_it_is_read(target: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, lora())
    stamps = iter([(1, 1), (1, 2)])
    monkeypatch.setattr("engine.adapters.file.stamp_of", lambda path: next(stamps))
    assert refusal(file, target).code == "model_file_changed"


def test_shapes_of_nothing(target: Targets, tmp_path: Path) -> None:
    tensors = {f"{STEM}.lora_up.weight": torch.zeros(64, 0), f"{STEM}.lora_down.weight": torch.zeros(0, 64)}
    assert refusal(write(tmp_path, tensors), target).code == "adapter_damaged"
    empty = {**lora(), f"{STEM}.alpha": torch.zeros(0)}
    assert torch.equal(delta(write(tmp_path, empty), target), delta(write(tmp_path, lora()), target))


def test_what_was_read_is_what_the_file_holds(target: Targets, tmp_path: Path) -> None:
    file = write(tmp_path, lora())
    up, down = load_file(file).values()
    thin = read_adapter(file, target, title="Ink").patches[KEY].low_rank()
    assert thin is not None
    assert torch.equal(thin[0] @ thin[1], (down if up.shape[0] == 4 else up) @ (up if up.shape[0] == 4 else down))
