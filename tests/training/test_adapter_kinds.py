"""The trained kinds against LyCORIS's own code, and what files say of themselves."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.nn.utils import parametrize

from training.adapters.config import Course, LoraConfig
from training.adapters.kinds import build_change, split
from training.adapters.metadata import data_hash, save_with_hashes

COURSE = Course(1, 1, 1e-3)
LAYERS = {
    "linear": lambda: nn.Linear(24, 32),
    "point": lambda: nn.Conv2d(24, 32, 1),
    "kernel": lambda: nn.Conv2d(24, 32, 3, padding=1),
}


def config(kind: str, rank: int = 4, alpha: float = 2.0) -> LoraConfig:
    return LoraConfig("x", "X", kind, "kohya", "toy", rank, alpha, COURSE)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
def test_a_fresh_change_changes_nothing(kind: str, layer: str) -> None:
    torch.manual_seed(0)
    weight = LAYERS[layer]().weight
    change = build_change(config(kind), weight)
    assert torch.allclose(change(weight), weight, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("kind", "rank"), [("lora", 4), ("dora", 4), ("loha", 4), ("lokr", 2), ("lokr", 16)])
def test_lycoris_reads_the_file_as_it_was_trained(kind: str, rank: int, layer: str) -> None:
    from lycoris.modules import get_module, make_module

    torch.manual_seed(3)
    module = LAYERS[layer]().requires_grad_(False)
    change = build_change(config(kind, rank), module.weight)
    for parameter in change.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    parts = {f"lora_unet_x.{suffix}": value.detach().clone() for suffix, value in change.suffixes().items()}
    twin = copy.deepcopy(module)
    found, values = get_module(parts, "lora_unet_x")
    made = make_module(found, values, "lora_unet_x", twin)
    made.eval().apply_to()
    given = torch.randn(2, 24) if layer == "linear" else torch.randn(2, 24, 5, 5)
    with torch.no_grad():
        before = module(given)
        module.weight.copy_(change(module.weight))
        assert torch.allclose(module(given), twin(given), atol=1e-4)
        assert not torch.allclose(before, twin(given), atol=1e-2)


def test_strength_goes_from_nothing_to_all() -> None:
    torch.manual_seed(1)
    weight = nn.Linear(8, 8).weight.detach()
    change = build_change(config("dora"), weight)
    change.up.data.normal_()
    full = change(weight)
    change.strength = 0.0
    assert torch.equal(change(weight), weight)
    change.strength = 0.5
    assert torch.allclose(change(weight), (weight + full) / 2, atol=1e-6)


def test_only_the_change_learns() -> None:
    layer = nn.Linear(8, 8).requires_grad_(False)
    change = build_change(config("lora"), layer.weight)
    parametrize.register_parametrization(layer, "weight", change, unsafe=True)
    layer(torch.randn(2, 8)).square().sum().backward()
    assert change.up.grad is not None
    assert layer.parametrizations.weight.original.grad is None


def test_split_takes_the_largest_factor_that_divides() -> None:
    assert split(128, 4) == (4, 32)
    assert split(130, 4) == (2, 65)
    assert split(7, 4) == (1, 7)


def test_hashes_stay_when_only_metadata_change(tmp_path: Path) -> None:
    tensors = {"a.alpha": torch.tensor(1.0), "a.lora_up.weight": torch.randn(3, 2)}
    first = save_with_hashes(tmp_path / "a.safetensors", tensors, {"ss_output_name": "a"})
    second = save_with_hashes(tmp_path / "b.safetensors", tensors, {"ss_output_name": "a much longer name"})
    assert first == second == data_hash((tmp_path / "a.safetensors").read_bytes())
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        said = file.metadata()
    assert said["sshs_model_hash"] == first
    assert said["modelspec.hash_sha256"] == f"0x{first}"
    assert json.loads(json.dumps(said)) == said
