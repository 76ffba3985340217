"""Weights that carry a stack: exact, touched only where something changed, and back bit for bit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from engine.adapters.base_weights import BaseWeights, KeptBase, RamBase
from engine.adapters.file import Adapter, read_adapter
from engine.adapters.merged import MergedWeights
from engine.adapters.modules import Targets
from engine.adapters.plan import Change, PatchPlan
from engine.adapters.sidepath import SidePath
from engine.errors import AdapterError
from tests.engine.adapters.conftest import LoadParts
from tests.engine.adapters.making import KINDS, write_adapter


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory, targets: dict[str, Targets]) -> dict[str, Adapter]:
    """One adapter of each kind for the tiny UNet."""
    folder = tmp_path_factory.mktemp("adapters")
    found = {}
    for seed, (name, make) in enumerate(KINDS.items()):
        file = write_adapter(folder / f"{name}.safetensors", targets["sd1"], make, seed=seed)
        found[name] = read_adapter(file, targets["sd1"], title=name)
    return found


def plan(adapters: dict[str, Adapter], *rows: tuple[str, float]) -> PatchPlan:
    """The plan of a stack of these adapters at these weights, in this order."""
    changes: dict = {}
    for name, scale in rows:
        for key, patch in adapters[name].patches.items():
            changes.setdefault(key, []).append(Change(patch, scale, name))
    return PatchPlan({key: tuple(found) for key, found in changes.items()})


def checksum(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().numpy().tobytes())
    return digest.hexdigest()


STACKS = st.lists(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from([-0.5, 0.3, 1.0])), max_size=3), max_size=5
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=STACKS)
def test_after_any_sequence_of_stacks_the_base_is_back_bit_for_bit(
    moves: list[list[tuple[str, float]]], shared: Shared
) -> None:
    shared_unet, adapters = shared.unet, shared.adapters
    before = checksum(shared_unet)
    weights = MergedWeights("unet", shared_unet)
    for rows in moves:
        weights.move_to(plan(adapters, *rows))
    if moves:
        # The way here does not matter: the same stack gives the same bits.
        reached = checksum(shared_unet)
        weights.restore()
        weights.move_to(plan(adapters, *moves[-1]))
        assert checksum(shared_unet) == reached
    weights.restore()
    assert checksum(shared_unet) == before
    assert weights.nbytes == 0


@pytest.fixture
def unet(load_parts: LoadParts) -> nn.Module:
    return load_parts("sd1")["unet"]


@dataclass(frozen=True)
class Shared:
    """One UNet for all examples; its convolutions lie as the engine lays them out."""

    unet: nn.Module = field(repr=False)
    adapters: dict[str, Adapter] = field(repr=False)


@pytest.fixture(scope="session")
def shared(folders: dict[str, Path], adapters: dict[str, Adapter]) -> Shared:
    from diffusers import UNet2DConditionModel

    model: nn.Module = UNet2DConditionModel.from_pretrained(folders["sd1"] / "unet").eval().requires_grad_(False)
    return Shared(model.to(memory_format=torch.channels_last), adapters)


@pytest.mark.parametrize("kind", ["kept", "ram"])
def test_every_place_for_the_base_brings_it_back(kind: str, unet: nn.Module, adapters: dict[str, Adapter]) -> None:
    own = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    places: dict[str, BaseWeights] = {"kept": KeptBase(), "ram": RamBase()}
    before = checksum(unet)
    weights = MergedWeights("unet", unet, places[kind])
    weights.move_to(plan(adapters, ("dora", 0.8), ("full", 0.5)))
    assert checksum(unet) != before
    weights.move_to(plan(adapters, ("lora", 1.0)))
    reference = unet.state_dict()["conv_in.weight"] - own["conv_in.weight"]
    expected = adapters["lora"].patches["unet", "conv_in"].delta(own["conv_in.weight"], 1.0)
    torch.testing.assert_close(reference, expected, atol=1e-5, rtol=0)
    weights.restore()
    assert checksum(unet) == before
    assert all(torch.equal(tensor, own[name]) for name, tensor in unet.state_dict().items())


def test_only_layers_whose_changes_differ_are_touched(unet: nn.Module, adapters: dict[str, Adapter]) -> None:
    weights = MergedWeights("unet", unet)
    first = weights.move_to(plan(adapters, ("lora", 1.0)))
    assert first.layers == first.patched == len(adapters["lora"].patches)
    assert weights.move_to(plan(adapters, ("lora", 1.0))).layers == 0
    half = plan(adapters, ("lora", 1.0))
    keys = list(half.changes)
    kept = PatchPlan({key: half.changes[key] for key in keys[: len(keys) // 2]})
    assert weights.move_to(kept).layers == len(keys) - len(keys) // 2


def test_a_move_that_fails_leaves_the_stack_that_was_there(unet: nn.Module, adapters: dict[str, Adapter]) -> None:
    class Broken:
        kind, needs_base, nbytes = "broken", True, 0

        def delta(self, weight: torch.Tensor, scale: float) -> torch.Tensor:
            raise AdapterError("adapter_damaged", "broken", "")

    weights = MergedWeights("unet", unet)
    weights.move_to(plan(adapters, ("loha", 0.5)))
    before = checksum(unet)
    wanted = dict(plan(adapters, ("lora", 1.0), ("full", 1.0)).changes)
    last = list(wanted)[-1]
    wanted[last] = (Change(Broken(), 1.0, "broken"),)  # type: ignore[arg-type]
    with pytest.raises(AdapterError):
        weights.move_to(PatchPlan(wanted))
    assert checksum(unet) == before
    assert weights.move_to(plan(adapters, ("loha", 0.5))).layers == 0


def test_what_half_precision_cannot_hold_is_refused(unet: nn.Module, adapters: dict[str, Adapter]) -> None:
    unet.half()
    before = checksum(unet)
    weights = MergedWeights("unet", unet)
    with pytest.raises(AdapterError) as refusal:
        weights.move_to(plan(adapters, ("lora", 1e7)))
    assert refusal.value.code == "adapter_overflow"
    assert checksum(unet) == before


@pytest.mark.parametrize("rows", [[(name, 0.7)] for name in KINDS] + [[("lora", 0.5), ("dora", 0.5), ("oft", 0.5)]])
def test_the_side_path_gives_the_picture_of_the_merged_weights(
    rows: list[tuple[str, float]], unet: nn.Module, adapters: dict[str, Adapter]
) -> None:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 77, unet.config.cross_attention_dim, generator=generator)

    def answer() -> torch.Tensor:
        with torch.inference_mode():
            return unet(sample, torch.tensor([10.0, 500.0]), encoder_hidden_states=text, return_dict=False)[0]

    plain = answer()
    side = SidePath("unet", unet)
    side.move_to(plan(adapters, *rows))
    beside = answer()
    side.restore()
    assert torch.equal(answer(), plain)
    weights = MergedWeights("unet", unet)
    weights.move_to(plan(adapters, *rows))
    merged = answer()
    weights.restore()
    assert torch.equal(answer(), plain)
    assert float((merged - plain).abs().max()) > 1e-3
    torch.testing.assert_close(beside, merged, atol=1e-4, rtol=1e-4)
