"""What is measured of an adapter, beside plain sums over full matrices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.adapters.file import Adapter
from engine.adapters.impact import impact_of, rank_in_use
from engine.adapters.kinds.parts import Parts
from engine.adapters.modules import ModuleKey, TargetModule, Targets
from engine.adapters.reading import read_patch
from engine.protocol.adapters import AdapterReport

LINEAR = TargetModule("linear", (20, 12), False)
FIRST: ModuleKey = ("unet", "down_blocks.0.attentions.0.proj_in")
SECOND: ModuleKey = ("text_encoder", "text_model.encoder.layers.0.mlp.fc1")
TARGETS = Targets({FIRST: LINEAR, SECOND: LINEAR}, {"layers_per_block": 1, "block_out_channels": (8, 8)}, "sd1")


def adapter(**patches: dict[str, torch.Tensor]) -> Adapter:
    keys = {"first": FIRST, "second": SECOND}
    read = {keys[name]: read_patch(Parts(parts), LINEAR) for name, parts in patches.items()}
    return Adapter(Path("a"), (0, 0), read, AdapterReport(id="a", title="a", matched=1, total=1), 123)


def thin(rank: int, used: int, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """A LoRA of that rank of which only some directions do anything."""
    up = torch.randn(20, rank)
    up[:, used:] = 0
    return {"lora_up.weight": up * scale, "lora_down.weight": torch.randn(rank, 12)}


def test_strength_and_energy_are_those_of_the_full_changes() -> None:
    torch.manual_seed(0)
    one = adapter(first=thin(4, 2), second=thin(4, 4, 0.1))
    weights = {FIRST: torch.randn(20, 12), SECOND: torch.randn(20, 12)}
    found = impact_of(one, TARGETS, weights.__getitem__, read_seconds=0.5)
    deltas = {key: one.patches[key].delta(weights[key], 1.0) for key in weights}
    total = sum(float(delta.norm() ** 2) for delta in deltas.values())
    whole = sum(float(weight.norm() ** 2) for weight in weights.values())
    assert found.strength == pytest.approx((total / whole) ** 0.5, rel=1e-4)
    assert [block.block for block in found.blocks] == ["BASE", "IN01"]
    assert found.blocks[1].energy == pytest.approx(float(deltas[FIRST].norm() ** 2) / total, rel=1e-4)
    assert sum(block.energy for block in found.blocks) == pytest.approx(1.0)
    assert found.blocks[0].strength == pytest.approx(float(deltas[SECOND].norm() / weights[SECOND].norm()), rel=1e-4)
    assert (found.modules, found.measured, found.nbytes, found.read_seconds) == (2, 2, 123, 0.5)
    assert found.rank == 4
    assert found.rank_in_use is not None
    assert found.rank_in_use <= 3


@pytest.mark.parametrize(("rank", "used"), [(8, 1), (8, 3), (30, 5), (4, 0)])
def test_the_rank_in_use_is_that_of_the_product(rank: int, used: int) -> None:
    torch.manual_seed(2)
    parts = thin(rank, used)
    squares = torch.linalg.svdvals(parts["lora_up.weight"] @ parts["lora_down.weight"]).pow(2).cumsum(0)
    plain = int((squares < 0.99 * squares[-1]).sum()) + 1 if used else 0
    assert rank_in_use((parts["lora_up.weight"], parts["lora_down.weight"])) == plain <= max(used, 0)


def test_kinds_without_a_rank_are_measured_too() -> None:
    one = adapter(first={"diff": torch.full((20, 12), 0.5)})
    found = impact_of(one, TARGETS, lambda key: torch.ones(20, 12))
    assert (found.rank, found.rank_in_use) == (None, None)
    assert found.strength == pytest.approx(0.5)


def test_nothing_is_nothing() -> None:
    found = impact_of(adapter(first=thin(4, 0)), TARGETS, lambda key: torch.zeros(20, 12))
    assert (found.strength, found.rank_in_use, found.blocks[0].energy) == (0.0, 0.0, 0.0)


def test_of_large_models_a_part_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.adapters.impact.MOST_NUMBERS", 240)
    found = impact_of(adapter(first=thin(2, 2), second=thin(2, 2)), TARGETS, lambda key: torch.ones(20, 12))
    assert (found.modules, found.measured) == (2, 1)
