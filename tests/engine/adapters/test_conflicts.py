"""How far two adapters agree: the thin way beside the plain one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.adapters.conflicts import advice, conflicts_of, cosine_of, order_advice, pair_conflict
from engine.adapters.file import Adapter
from engine.adapters.kinds.parts import Parts
from engine.adapters.modules import ModuleKey, TargetModule, Targets
from engine.adapters.patch import ModulePatch
from engine.adapters.reading import read_patch
from engine.protocol.adapters import AdapterReport, PairConflict

LINEAR = TargetModule("linear", (20, 12), False)
CONV = TargetModule("conv", (8, 6, 3, 3), False)
KEYS: dict[ModuleKey, TargetModule] = {
    ("unet", "down_blocks.0.attentions.0.proj_in"): LINEAR,
    ("unet", "mid_block.resnets.0.conv1"): CONV,
    ("text_encoder", "text_model.encoder.layers.0.mlp.fc1"): LINEAR,
}
Kind = Callable[[TargetModule], ModulePatch]
TARGETS = Targets(KEYS, {"layers_per_block": 1, "block_out_channels": (8, 8)}, "sd1")


def lora(target: TargetModule, rank: int = 3) -> ModulePatch:
    shape = target.shape
    up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2))
    return read_patch(Parts({"lora_up.weight": up, "lora_down.weight": torch.randn(rank, *shape[1:])}, 2.0), target)


def loha(target: TargetModule) -> ModulePatch:
    width = target.shape[1] * (9 if target is CONV else 1)
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    shapes = [(target.shape[0], 2), (2, width)] * 2
    return read_patch(Parts({name: torch.randn(shape) for name, shape in zip(names, shapes, strict=True)}), target)


def adapter(name: str, patches: dict[ModuleKey, ModulePatch]) -> Adapter:
    report = AdapterReport(id=name, title=name, matched=len(patches), total=len(patches))
    return Adapter(Path(name), (0, 0), patches, report, 0)


@pytest.mark.parametrize("key", list(KEYS))
@pytest.mark.parametrize("kinds", [(lora, lora), (lora, loha), (loha, loha)])
def test_the_cosine_is_that_of_the_full_changes(key: ModuleKey, kinds: tuple) -> None:  # type: ignore[type-arg]
    torch.manual_seed(0)
    one, other = (kind(KEYS[key]) for kind in kinds)
    weight = torch.empty(KEYS[key].shape)
    plain = torch.cosine_similarity(one.delta(weight, 1.0).flatten(), other.delta(weight, 1.0).flatten(), dim=0)
    found = cosine_of(one, other, key, TARGETS)
    assert found == pytest.approx(float(plain), abs=1e-5)


def test_the_same_adapter_agrees_with_itself_and_undoes_its_opposite() -> None:
    patches = {key: lora(target) for key, target in KEYS.items()}
    opposite = {
        key: read_patch(Parts({"lora_up.weight": -patch.up, "lora_down.weight": patch.down}, 5.0), KEYS[key])  # type: ignore[attr-defined]
        for key, patch in patches.items()
    }
    stack = [adapter("one", patches), adapter("two", patches), adapter("three", opposite)]
    conflicts = conflicts_of(stack, TARGETS)
    assert [(each.first, each.second) for each in conflicts] == [("one", "two"), ("one", "three"), ("two", "three")]
    assert [round(each.mean_cosine, 4) for each in conflicts] == [1.0, -1.0, -1.0]
    assert conflicts[0].shared_modules == 3
    assert [name for name, _ in conflicts[0].blocks] == ["BASE", "IN01", "M00"]
    sentences = advice(conflicts, {"one": "Ink", "two": "Pen", "three": "Oil"})
    assert len(sentences) == 3
    assert sentences[0].startswith("Ink and Pen change the same things")
    assert sentences[1].startswith("Ink and Oil work against each other")


def test_no_shared_module_is_no_conflict() -> None:
    first, second = list(KEYS)[:2]
    assert pair_conflict(adapter("a", {first: lora(LINEAR)}), adapter("b", {second: lora(CONV)}), TARGETS) is None


def test_kinds_that_depend_on_the_weight_need_it() -> None:
    key = next(iter(KEYS))
    vector = Parts({"weight": torch.randn(20), "on_input": torch.tensor(0)})
    one, other = read_patch(vector, LINEAR), lora(LINEAR)
    assert cosine_of(one, other, key, TARGETS) is None
    weight = torch.randn(20, 12)
    expected = torch.cosine_similarity(one.delta(weight, 1.0).flatten(), other.delta(weight, 1.0).flatten(), dim=0)
    assert cosine_of(one, other, key, TARGETS, lambda _: weight) == pytest.approx(float(expected), abs=1e-5)


def dora(target: TargetModule) -> ModulePatch:
    up, down = torch.randn(target.shape[0], 3), torch.randn(3, target.shape[1])
    parts = {"lora_up.weight": up, "lora_down.weight": down, "dora_scale": torch.rand(target.shape[0], 1) + 0.5}
    return read_patch(Parts(parts), target)


def oft(target: TargetModule) -> ModulePatch:
    return read_patch(Parts({"oft_blocks": torch.randn(target.shape[0] // 4, 4, 4) * 0.2}, 0.0), target)


def boft(target: TargetModule) -> ModulePatch:
    return read_patch(Parts({"oft_blocks": torch.randn(1, target.shape[0] // 4, 4, 4) * 0.2}, 0.0), target)


@pytest.mark.parametrize("kind", [dora, oft, boft])
def test_turned_and_scaled_weights_are_compared_by_what_becomes_of_the_models_own(kind: Kind) -> None:
    torch.manual_seed(1)
    key, weight = next(iter(KEYS)), torch.randn(20, 12, dtype=torch.float16)
    one, other = kind(LINEAR), lora(LINEAR)
    assert conflicts_of([adapter("a", {key: one}), adapter("b", {key: other})], TARGETS) == ()
    (pair,) = conflicts_of([adapter("a", {key: one}), adapter("b", {key: other})], TARGETS, lambda _: weight)
    changed = one.delta(weight.float(), 1.0).flatten()
    plain = torch.cosine_similarity(changed, other.delta(weight.float(), 1.0).flatten(), dim=0)
    assert pair.mean_cosine == pytest.approx(float(plain), abs=1e-5)
    assert (pair.shared_modules, pair.compared) == (1, 1)


def test_the_order_is_named_where_it_matters() -> None:
    key = next(iter(KEYS))
    plain, turning = adapter("ink", {key: lora(LINEAR)}), adapter("pen", {key: oft(LINEAR)})
    (sentence,) = order_advice([plain, turning], {"ink": "Ink", "pen": "Pen"})
    assert sentence.startswith("Pen is OFT, which turns the weights, those that Ink changed included")
    assert order_advice([turning, plain], {}) == ()
    elsewhere = adapter("far", {list(KEYS)[2]: lora(LINEAR)})
    assert order_advice([elsewhere, turning], {}) == ()


def test_of_very_large_models_modules_spread_evenly_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.adapters.conflicts.MOST_NUMBERS", 1000)
    keys = {("unet", f"down_blocks.0.attentions.{place}.proj_in"): LINEAR for place in range(10)}
    targets = Targets(keys, {"layers_per_block": 1, "block_out_channels": (8, 8)}, "sd1")
    one = adapter("a", {key: loha(LINEAR) for key in keys})
    (pair,) = conflicts_of([one, adapter("b", {key: lora(LINEAR) for key in keys})], targets)
    assert (pair.shared_modules, pair.compared) == (10, 4)
    (thin,) = conflicts_of(
        [adapter("a", {key: lora(LINEAR) for key in keys}), adapter("b", {key: lora(LINEAR) for key in keys})], targets
    )
    assert thin.compared == 10


def test_an_adapter_that_changes_no_weight_has_no_opinion() -> None:
    key = next(iter(KEYS))
    silent = read_patch(Parts({"diff_b": torch.ones(20)}), LINEAR)
    assert cosine_of(silent, lora(LINEAR), key, TARGETS) is None


def test_opposition_in_one_block_is_named() -> None:
    keys = list(KEYS)
    shared, own = lora(CONV), {keys[0]: lora(LINEAR), keys[2]: lora(LINEAR)}
    against = read_patch(Parts({"lora_up.weight": -shared.up, "lora_down.weight": shared.down}), CONV)  # type: ignore[attr-defined]
    conflicts = conflicts_of([adapter("a", {**own, keys[1]: shared}), adapter("b", {**own, keys[1]: against})], TARGETS)
    assert "block M00" in advice(conflicts, {})[0]


def pair(first: str, second: str, cosine: float, *blocks: tuple[str, float]) -> PairConflict:
    return PairConflict(
        first=first,
        second=second,
        shared_modules=4,
        compared=4,
        mean_cosine=cosine,
        blocks=blocks or (("M00", cosine),),
    )


def test_epochs_of_one_training_are_one_sentence() -> None:
    names = ("e1", "e2", "e3", "e4", "e5")
    conflicts = [pair(one, other, 0.9) for place, one in enumerate(names) for other in names[place + 1 :]]
    (sentence,) = advice(conflicts, {})
    assert sentence.startswith("e1, e2, e3, e4 and 1 more change the same things in the same direction")
    two = advice([pair("a", "b", 0.8), pair("c", "d", 0.8), pair("a", "c", 0.1)], {})
    assert [sentence.split(" change")[0] for sentence in two] == ["a and b", "c and d"]


def test_advice_is_short_and_begins_with_the_worst() -> None:
    conflicts = [pair("a", other, -0.25 - place / 10) for place, other in enumerate("bcdef")]
    sentences = advice([*conflicts, pair("b", "c", 0.1, ("IN01", -0.4))], {})
    assert [sentence.split(" work")[0] for sentence in sentences[:3]] == ["a and f", "a and e", "a and d"]
    assert sentences[3:] == ("3 more pairs stand out; the map shows which.",)


def test_what_is_unlike_or_nearly_off_is_not_mentioned() -> None:
    assert advice([pair("a", "b", 0.3), pair("a", "c", -0.1)], {}) == ()
    loud = pair("a", "b", 0.9)
    assert advice([loud], {}, {"a": 1.0, "b": 0.1}) == ()
    assert len(advice([loud], {}, {"a": 1.0, "b": -0.6})) == 1
    assert len(advice([loud], {}, {"a": 1.0})) == 1


def test_one_sentence_of_order_for_a_whole_stack() -> None:
    key = next(iter(KEYS))
    stack = [adapter("ink", {key: lora(LINEAR)}), *(adapter(name, {key: oft(LINEAR)}) for name in ("pen", "oil"))]
    (sentence,) = order_advice(stack, {})
    assert sentence.startswith("pen (OFT) and oil (OFT) work on what those above them changed: the order matters.")
