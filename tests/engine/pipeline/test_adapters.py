"""Pictures with adapters: diffusers' own numbers, nothing left behind, and only in the steps that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.adapters.file import read_adapter
from engine.adapters.lifecycle import Transition
from engine.adapters.stack import AdapterStack
from engine.errors import AdapterError
from engine.pipeline.denoise import tick
from engine.pipeline.encode import begin, resume
from engine.pipeline.model import EmbeddingCache, ModelBundle
from engine.protocol.specs import AdapterRef
from tests.engine.adapters.making import dora, loha, lora, write_adapter
from tests.engine.pipeline.conftest import run_out, stack_for
from tests.engine.pipeline.diffusers_pipes import latents_of, scheduler_of

BOTH = ("unet", "text_encoder")


@pytest.fixture
def files(tmp_path: Path, sd1: ModelBundle) -> dict[str, Path]:
    return {
        "lora": write_adapter(tmp_path / "a.safetensors", sd1.targets, lora, seed=1, components=BOTH, choose=attention),
        "other": write_adapter(tmp_path / "b.safetensors", sd1.targets, lora, seed=2, choose=attention),
        "loha": write_adapter(tmp_path / "c.safetensors", sd1.targets, loha, seed=3),
        "dora": write_adapter(tmp_path / "d.safetensors", sd1.targets, dora, seed=4, choose=attention),
    }


def attention(key: tuple[str, str]) -> bool:
    return "attn" in key[1] and key[1].rsplit(".", 1)[-1] in (
        "to_q",
        "to_k",
        "to_v",
        "q_proj",
        "k_proj",
        "v_proj",
        "out_proj",
    )


@pytest.fixture
def stack_of(sd1: ModelBundle, files: dict[str, Path]) -> Iterator[Callable[..., AdapterStack]]:
    yield partial(stack_for, sd1, files)
    sd1.carry_unet(AdapterStack(sd1.targets).plan(0.0))
    sd1.carry_text(AdapterStack(sd1.targets).text_plan())


def latents(bundle: ModelBundle, spec: Any, stack: AdapterStack | None, cache: EmbeddingCache | None = None) -> Any:
    context = begin(bundle, spec, 0, context_id="a", stack=stack, cache=cache)
    run_out(bundle, [context])
    return context.latents


def test_a_stack_gives_the_latents_of_diffusers_with_the_same_files(sd1, sd1_pipe, spec, stack_of, files):
    wanted = spec(steps=4)
    ours = latents(sd1, wanted, stack_of(AdapterRef(name="lora", unet_weight=0.7), AdapterRef(name="other")))
    sd1.carry_unet(AdapterStack(sd1.targets).plan(0.0))
    sd1.carry_text(AdapterStack(sd1.targets).text_plan())
    plain = latents(sd1, wanted, None)
    try:
        sd1_pipe.load_lora_weights(str(files["lora"]), adapter_name="lora")
        sd1_pipe.load_lora_weights(str(files["other"]), adapter_name="other")
        sd1_pipe.set_adapters(["lora", "other"], [0.7, 1.0])
        sd1_pipe.scheduler = scheduler_of(sd1_pipe, wanted)
        theirs = latents_of(sd1_pipe, wanted)
    finally:
        sd1_pipe.unload_lora_weights()
    assert float((plain - theirs).abs().max()) > 1e-2
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_two_jobs_with_different_stacks_never_see_each_others_weights(sd1, spec, stack_of):
    first, second = stack_of(AdapterRef(name="lora")), stack_of(AdapterRef(name="loha", unet_weight=0.4))
    cache = EmbeddingCache()
    alone = [latents(sd1, spec(), stack, cache) for stack in (first, second, None)]
    contexts = [
        begin(sd1, spec(), 0, context_id=str(place), stack=stack, cache=cache)
        for place, stack in enumerate((first, second, None))
    ]
    assert len({context.key for context in contexts}) == 3
    while not contexts[0].finished:
        for context in contexts:
            tick(sd1, [context])
    for context, expected in zip(contexts, alone, strict=True):
        assert torch.equal(context.latents, expected)
    assert not torch.equal(alone[0], alone[2])


def test_equal_stacks_share_calls_and_other_weights_do_not(sd1, spec, stack_of):
    one, same = stack_of(AdapterRef(name="lora")), stack_of(AdapterRef(name="lora"))
    other = stack_of(AdapterRef(name="lora", unet_weight=0.5))
    keys = [begin(sd1, spec(), 0, context_id="x", stack=stack).key for stack in (one, same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_an_adapter_of_the_second_half_leaves_the_first_half_alone(sd1, spec, stack_of):
    stack = stack_of(AdapterRef(name="other", start=0.5))
    context = begin(sd1, spec(steps=6, sampler="euler"), 0, context_id="a", stack=stack)
    plain = begin(sd1, spec(steps=6, sampler="euler"), 0, context_id="b")
    for done in range(6):
        tick(sd1, [context])
        tick(sd1, [plain])
        assert torch.equal(context.latents, plain.latents) == (done < 3)


def test_a_prompt_is_encoded_again_for_another_text_encoder_and_not_for_the_same(sd1, spec, stack_of):
    cache = EmbeddingCache()
    plain = begin(sd1, spec(), 0, context_id="a", cache=cache)
    changed = begin(sd1, spec(), 0, context_id="b", cache=cache, stack=stack_of(AdapterRef(name="lora")))
    misses = cache.misses
    again = begin(sd1, spec(), 0, context_id="c", cache=cache, stack=stack_of(AdapterRef(name="lora")))
    # This one changes the UNet only: the plain prompt's encoding holds for it.
    unet_only = begin(sd1, spec(), 0, context_id="d", cache=cache, stack=stack_of(AdapterRef(name="other")))
    assert cache.misses == misses
    assert not torch.equal(plain.text.embeds, changed.text.embeds)
    assert torch.equal(changed.text.embeds, again.text.embeds)
    assert torch.equal(plain.text.embeds, unet_only.text.embeds)


def test_a_half_done_picture_goes_on_with_the_same_adapters_only(sd1, spec, stack_of, files):
    wanted = spec(steps=5, adapters=(AdapterRef(name="dora"),))
    whole = latents(sd1, wanted, stack_of(AdapterRef(name="dora")))
    context = begin(sd1, wanted, 0, context_id="a", stack=stack_of(AdapterRef(name="dora")))
    tick(sd1, [context])
    tick(sd1, [context])
    kept = context.snapshot().to_bytes()
    resumed = resume(sd1, wanted, 0, kept, context_id="a", stack=stack_of(AdapterRef(name="dora")))
    assert resumed is not None
    run_out(sd1, [resumed])
    assert torch.equal(resumed.latents, whole)
    write_adapter(files["dora"], sd1.targets, dora, seed=9, choose=attention)
    assert resume(sd1, wanted, 0, kept, context_id="a", stack=stack_of(AdapterRef(name="dora"))) is None


@pytest.mark.parametrize("part", BOTH)
def test_weights_that_cannot_carry_the_stack_stay_and_the_reason_is_an_event(sd1, spec, files, part):
    """The last stage of a transaction: parsed and checked, but not applied."""

    class Broken:
        kind, needs_base, nbytes = "broken", True, 0

        def delta(self, weight: torch.Tensor, scale: float) -> torch.Tensor:
            raise AdapterError("adapter_overflow", "These numbers are too large.", "")

    adapter = read_adapter(files["lora"], sd1.targets, title="lora")
    last = [key for key in adapter.patches if key[0] == part][-1]
    adapter = replace(adapter, patches={**adapter.patches, last: Broken()})
    told: list[Transition] = []
    stack = AdapterStack(sd1.targets, tell=told.append)
    stack.add(AdapterRef(name="lora"), lambda: adapter)
    modules = {"unet": sd1.unet, "text_encoder": sd1.text_encoders[0]}
    before = {name: {k: v.clone() for k, v in module.state_dict().items()} for name, module in modules.items()}
    with pytest.raises(AdapterError, match="too large"):
        tick(sd1, [begin(sd1, spec(), 0, context_id="a", stack=stack)])
    assert stack.states == {"lora": "error"}
    assert "too large" in told[-1].reason
    stack.close()
    assert [step.after for step in told] == [
        "loading", "loaded", "validating", "ready", "active", "error", "unloaded"
    ]  # fmt: skip
    sd1.carry_text(AdapterStack(sd1.targets).text_plan())
    for name, module in modules.items():
        assert all(torch.equal(tensor, before[name][key]) for key, tensor in module.state_dict().items())
