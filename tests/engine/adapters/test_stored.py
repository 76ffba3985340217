"""Adapters kept in fewer bits: how many bytes that takes, and how far the result is from the file's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.adapters.file import Adapter, read_adapter
from engine.adapters.kinds.parts import Misfit, Parts
from engine.adapters.modules import TargetModule, Targets
from engine.adapters.stack import AdapterStack
from engine.adapters.stored import StoredPatch, keep_small
from engine.library.adapter_storage import StorageFormat, kept_nbytes
from engine.library.headers import read_header
from engine.protocol.specs import AdapterRef
from tests.engine.adapters.conftest import LoadParts, unet_output
from tests.engine.adapters.making import KINDS, lora, oft, tucker, with_bias, write_adapter
from tests.engine.adapters.merging import merge

ALL = {**KINDS, "tucker": tucker, "with_bias": with_bias}
FORMATS: tuple[StorageFormat, ...] = ("float16", "bfloat16", "int8")
# How far a layer's change may be from the file's, as a share of it.
NEAR = {"float16": 2e-3, "bfloat16": 1e-2, "int8": 4e-2}


def pair(file: Path, targets: Targets, storage: StorageFormat) -> tuple[Adapter, Adapter]:
    """As the file has it, and kept small."""
    return read_adapter(file, targets, title="Ink"), read_adapter(file, targets, title="Ink", storage=storage)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm())


@pytest.mark.parametrize("storage", FORMATS)
@pytest.mark.parametrize("name", list(ALL))
def test_every_kind_does_nearly_the_same_from_fewer_bytes(
    name: str, storage: StorageFormat, targets: dict[str, Targets], load_parts: LoadParts, tmp_path: Path
) -> None:
    whole, small = pair(write_adapter(tmp_path / "it.safetensors", targets["sd1"], ALL[name]), targets["sd1"], storage)
    modules = dict(load_parts("sd1")["unet"].named_modules())
    assert small.stored is not None
    assert small.stored.whole_nbytes == whole.nbytes
    assert small.nbytes <= whole.nbytes * (0.55 if storage != "int8" else 0.5)
    for key, patch in whole.patches.items():
        weight = modules[key[1]].weight
        assert isinstance(weight, torch.Tensor)
        kept = small.patches[key]
        assert (kept.kind, kept.needs_base) == (patch.kind, patch.needs_base)
        assert distance(patch.delta(weight, 0.7), kept.delta(weight, 0.7)) < NEAR[storage]
        bias, near = patch.bias_delta(0.7), kept.bias_delta(0.7)
        assert (bias is None) == (near is None)
        if bias is not None and near is not None:
            assert distance(bias, near) < 1e-2


@pytest.mark.parametrize("storage", [None, *FORMATS])
@pytest.mark.parametrize("name", list(ALL))
def test_the_header_tells_what_is_kept(
    name: str, storage: StorageFormat | None, targets: dict[str, Targets], tmp_path: Path
) -> None:
    file = write_adapter(tmp_path / "it.safetensors", targets["sd1"], ALL[name])
    kept = read_adapter(file, targets["sd1"], title="Ink", storage=storage).nbytes
    assert kept_nbytes(read_header(file), storage) == pytest.approx(kept, rel=0.01)


def test_8_bits_take_a_quarter_of_float32_and_half_of_float16(targets: dict[str, Targets], tmp_path: Path) -> None:
    for dtype, share in ((torch.float32, 0.3), (torch.float16, 0.6)):
        file = write_adapter(tmp_path / "it.safetensors", targets["sd1"], lora, dtype=dtype)
        whole, small = pair(file, targets["sd1"], "int8")
        assert small.nbytes < whole.nbytes * share
        packed = [patch for patch in small.patches.values() if isinstance(patch, StoredPatch)]
        held = sum(
            each.values.nbytes + (0 if each.scales is None else each.scales.nbytes)
            for patch in packed
            for each in patch.packed.values()
        )
        left = sum(patch.nbytes for patch in small.patches.values() if not isinstance(patch, StoredPatch))
        assert len(packed) > len(small.patches) / 2
        assert small.nbytes == held + left, "every byte is counted"


def test_the_loss_that_is_told_is_the_loss(targets: dict[str, Targets], tmp_path: Path) -> None:
    file = write_adapter(tmp_path / "it.safetensors", targets["sd1"], lora)
    for storage in FORMATS:
        whole, small = pair(file, targets["sd1"], storage)
        squares = []
        for key, patch in whole.patches.items():
            weight = torch.empty(targets["sd1"].modules[key].shape)
            squares.append(distance(patch.delta(weight, 1.0), small.patches[key].delta(weight, 1.0)) ** 2)
        real = (sum(squares) / len(squares)) ** 0.5
        assert small.stored is not None
        assert small.stored.loss == pytest.approx(real, rel=0.1)


def test_the_models_answer_differs_by_less_than_it_was_told(
    targets: dict[str, Targets], load_parts: LoadParts, tmp_path: Path
) -> None:
    """What the adapter changes in the answer; errors of layers add up, but not in one direction."""
    file = write_adapter(tmp_path / "it.safetensors", targets["sd1"], lora, choose=lambda key: "attn" in key[1])
    bare = unet_output(load_parts("sd1")["unet"])
    answers = []
    for adapter in pair(file, targets["sd1"], "int8"):
        parts = load_parts("sd1")
        merge(adapter, parts)
        answers.append(unet_output(parts["unet"]))
    whole, small = answers
    assert adapter.stored is not None
    assert float((whole - small).norm() / (whole - bare).norm()) < 2 * adapter.stored.loss


def test_a_kept_patch_has_its_side_path(targets: dict[str, Targets], load_parts: LoadParts, tmp_path: Path) -> None:
    whole, small = pair(write_adapter(tmp_path / "it.safetensors", targets["sd1"], lora), targets["sd1"], "int8")
    modules = dict(load_parts("sd1")["unet"].named_modules())
    key = next(key for key in whole.patches if key[1].endswith("attn1.to_q"))
    module = modules[key[1]]
    x = torch.randn(2, 5, targets["sd1"].modules[key].shape[1], generator=torch.Generator().manual_seed(1))
    shares = [each.patches[key].bypass(x, module, module(x), 0.7) for each in (whole, small)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert 0 < distance(shares[0], shares[1]) < NEAR["int8"]


def test_equal_files_kept_otherwise_are_other_weights(targets: dict[str, Targets], tmp_path: Path) -> None:
    file = write_adapter(tmp_path / "it.safetensors", targets["sd1"], lora)
    signatures = set()
    for adapter in (*pair(file, targets["sd1"], "int8"), read_adapter(file, targets["sd1"], title="Ink")):
        stack = AdapterStack(targets["sd1"])
        stack.add(AdapterRef(name="it"), lambda adapter=adapter: adapter)  # type: ignore[misc]
        signatures.add((stack.signature(0.0), stack.sources))
    assert len(signatures) == 2


def test_what_would_save_nothing_or_lose_too_much_is_left(targets: dict[str, Targets], tmp_path: Path) -> None:
    file = write_adapter(tmp_path / "half.safetensors", targets["sd1"], lora, dtype=torch.float16)
    small = read_adapter(file, targets["sd1"], title="Ink", storage="bfloat16")
    assert small.stored is None, "16 bits are 16 bits"
    target = TargetModule("linear", (8, 8), True)
    large = Parts({"lora_up.weight": torch.full((8, 1), 1e6), "lora_down.weight": torch.ones(1, 8)})
    kept = keep_small(large, target, "float16").patch
    assert torch.equal(kept.delta(torch.empty(8, 8), 1.0), torch.full((8, 8), 1e6)), "float16 ends at 65504"


def test_rotations_that_are_stored_whole_keep_16_bits() -> None:
    skew = oft(TargetModule("linear", (64, 64), True), torch.Generator().manual_seed(0))["oft_blocks"]
    skew = skew - skew.transpose(1, 2)
    turn = torch.linalg.matrix_exp(skew * 0.1).repeat(4, 1, 1)
    target, weight = TargetModule("linear", (256, 64), True), torch.randn(256, 64)
    parts = Parts({"oft_diag": turn})
    kept = keep_small(parts, target, "int8")
    from engine.adapters.reading import read_patch

    assert distance(read_patch(parts, target).delta(weight, 1.0), kept.patch.delta(weight, 1.0)) < 1e-2


def test_a_layer_of_zeros_stays_one_and_a_misfit_is_one() -> None:
    target = TargetModule("linear", (64, 64), True)
    parts = Parts({"lora_up.weight": torch.zeros(64, 4), "lora_down.weight": torch.randn(4, 64)})
    kept = keep_small(parts, target, "int8")
    assert not kept.patch.delta(torch.empty(64, 64), 1.0).any()
    assert kept.loss_squared < 1e-3
    with pytest.raises(Misfit):
        keep_small(parts, TargetModule("linear", (32, 64), True), "int8")


def test_a_file_in_8_bits_is_left_as_it_is(targets: dict[str, Targets], tmp_path: Path) -> None:
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{stem}.lora_up.weight": torch.randn(64, 4).to(torch.float8_e4m3fn),
        f"{stem}.lora_down.weight": torch.randn(4, 64).to(torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "it.safetensors")
    assert read_adapter(tmp_path / "it.safetensors", targets["sd1"], title="Ink", storage="int8").stored is None
