"""Pictures with different adapters in one UNet call: the same pictures, fewer calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.adapters.row_paths import RowPaths
from engine.adapters.stack import AdapterStack
from engine.pipeline.company import company_key
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin
from engine.pipeline.model import ModelBundle
from engine.protocol.specs import AdapterRef
from tests.engine.adapters.making import full, loha, lora, tucker, with_bias, write_adapter
from tests.engine.pipeline.conftest import run_out, stack_for

MAKERS = {"lora": lora, "other": lora, "tucker": tucker, "bias": with_bias, "loha": loha, "full": full}


@pytest.fixture
def stack_of(tmp_path: Path, sd1: ModelBundle) -> Iterator[Callable[..., AdapterStack]]:
    files = {
        name: write_adapter(tmp_path / f"{name}.safetensors", sd1.targets, make, seed=seed)
        for seed, (name, make) in enumerate(MAKERS.items())
    }

    yield partial(stack_for, sd1, files)
    sd1.carry_unet(AdapterStack(sd1.targets).plan(0.0))


def contexts_of(sd1: ModelBundle, spec: Any, stacks: list[AdapterStack | None], **changes: Any) -> list[Any]:
    return [
        begin(sd1, spec(seed=place, **changes), 0, context_id=str(place), stack=stack)
        for place, stack in enumerate(stacks)
    ]


@pytest.fixture
def calls(sd1: ModelBundle) -> Iterator[list[int]]:
    """The rows of each UNet call."""
    seen: list[int] = []
    handle = sd1.unet.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[0].shape[0])))
    yield seen
    handle.remove()


def test_four_stacks_share_each_call_and_make_the_pictures_that_they_make_alone(sd1, spec, stack_of, calls):
    def stacks() -> list[AdapterStack | None]:
        return [
            stack_of(AdapterRef(name="lora", unet_weight=0.8), AdapterRef(name="other", unet_weight=-0.5)),
            stack_of(AdapterRef(name="tucker", unet_weight=0.3)),
            None,
            stack_of(AdapterRef(name="bias")),
        ]

    alone = contexts_of(sd1, spec, stacks(), steps=5)
    for context in alone:
        run_out(sd1, [context])
    separate = len(calls)
    calls.clear()
    shared = contexts_of(sd1, spec, stacks(), steps=5)
    assert len({company_key(context) for context in shared}) == 1
    while not shared[0].finished:
        tick(sd1, shared)
    assert len(calls) * 4 == separate
    assert set(calls) == {8}
    plain = contexts_of(sd1, spec, [None] * 4, steps=5)
    for one, other, bare in zip(shared, alone, plain, strict=True):
        torch.testing.assert_close(one.latents, other.latents, atol=1e-4, rtol=0)
        run_out(sd1, [bare])
    assert float((shared[0].latents - plain[0].latents).abs().max()) > 1e-2


def test_one_evaluation_is_equal_to_merged_within_4e_6(sd1, spec, stack_of):
    """Of the answer's own size: the adapters here are far stronger than real ones."""
    stacks = [stack_of(AdapterRef(name="lora", unet_weight=0.2)), stack_of(AdapterRef(name="tucker", unet_weight=0.2))]
    contexts = contexts_of(sd1, spec, stacks)
    rows = [context.rows() for context in contexts]
    latents = torch.cat([each.latents.expand(each.count, -1, -1, -1) for each in rows])
    text = torch.cat([each.text.embeds for each in rows])
    with torch.inference_mode():
        merged = []
        for place, context in enumerate(contexts):
            sd1.carry_unet(context.unet_plan)
            half = slice(2 * place, 2 * place + 2)
            merged.append(sd1.unet(latents[half], 500, encoder_hidden_states=text[half], return_dict=False)[0])
        sd1.carry_unet(AdapterStack(sd1.targets).plan(0.0))
        with sd1.row_paths.beside([(2, context.unet_plan) for context in contexts]):
            together = sd1.unet(latents, 500, encoder_hidden_states=text, return_dict=False)[0]
        after = sd1.unet(latents, 500, encoder_hidden_states=text, return_dict=False)[0]
    expected = torch.cat(merged)
    assert float((together - expected).abs().max() / expected.abs().max()) < 4e-6
    assert float((after - expected).abs().max()) > 1e-3, "nothing stays beside the layers"


@pytest.mark.parametrize("name", ["loha", "full"])
def test_kinds_that_are_not_thin_keep_to_themselves(sd1, spec, stack_of, name):
    contexts = contexts_of(sd1, spec, [stack_of(AdapterRef(name="lora")), stack_of(AdapterRef(name=name))])
    assert company_key(contexts[0]) is not None
    assert company_key(contexts[1]) is None
    with pytest.raises(ValueError, match="may not share"):
        tick(sd1, contexts)
    with pytest.raises(ValueError, match="thin"), sd1.row_paths.beside([(2, contexts[1].unet_plan)]):
        pass


def test_repeatable_pictures_and_other_sizes_do_not_join(sd1, spec, stack_of):
    stack = stack_of(AdapterRef(name="lora"))
    (pinned,) = contexts_of(sd1, spec, [stack], repeatable=True)
    (small,) = contexts_of(sd1, spec, [None])
    (large,) = contexts_of(sd1, spec, [None], width=128, height=128)
    assert company_key(pinned) is None
    assert company_key(small) != company_key(large)


def test_what_was_made_ready_is_kept_for_the_same_rows_and_dropped_for_others(sd1, spec, stack_of):
    paths = RowPaths("unet", sd1.unet)
    plans = [stack_of(AdapterRef(name="lora", unet_weight=weight)).plan(0.0) for weight in (0.1, 0.2, 0.3, 0.4)]
    for plan in plans:
        with paths.beside([(1, plan), (1, plans[0])]):
            pass
    assert len(paths._ready) == 2
