"""A picture under ControlNets is the picture of diffusers' own ControlNet pipelines: latents within 1e-5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch

from engine.control.compose import ControlSet, Unit
from engine.control.network import ControlNetwork
from engine.control.schedule import Window
from engine.pipeline.denoise import Stopped, tick
from engine.pipeline.encode import begin, resume
from engine.protocol.specs import GenerationSpec
from tests.engine.pipeline.conftest import contexts_of, drawn, run_out
from tests.engine.pipeline.diffusers_pipes import assert_same, latents_of, on_parts_of
from tests.support.tiny_models import write_tiny_controlnet

Made = Callable[..., Any]


@pytest.fixture(scope="session")
def nets(sd1_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return networks(sd1_pipe, tmp_path_factory)


@pytest.fixture(scope="session")
def xl_nets(sdxl_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return networks(sdxl_pipe, tmp_path_factory)


def networks(pipe: Any, folders: pytest.TempPathFactory) -> list[Any]:
    """Two ControlNets, a third that pools, and a fourth that reads colours the other way round."""
    changes: list[dict[str, Any]] = [
        {},
        {},
        {"global_pool_conditions": True},
        {"controlnet_conditioning_channel_order": "bgr"},
    ]
    return [
        diffusers.ControlNetModel.from_pretrained(
            write_tiny_controlnet(folders.mktemp(f"control{seed}"), pipe.folder, seed=seed, **change)
        )
        for seed, change in enumerate(changes)
    ]


def hint(seed: int, width: int = 64) -> torch.Tensor:
    return torch.rand(1, 3, 64, width, generator=torch.Generator().manual_seed(seed))


def unit(net: Any, picture: torch.Tensor, weight: float = 1.0, **more: Any) -> Unit:
    mode = more.pop("mode", "balanced")
    network = ControlNetwork(net, str(id(net)))
    return Unit(network, network.embed(picture), weight, Window(**more), mode)


def theirs(pipe: Any, spec: GenerationSpec, nets: list[Any], pictures: list[torch.Tensor], **more: Any) -> torch.Tensor:
    """Latents of diffusers' pipeline with the same parts."""
    double = hasattr(pipe, "text_encoder_2")
    kind = diffusers.StableDiffusionXLControlNetPipeline if double else diffusers.StableDiffusionControlNetPipeline
    single = len(nets) == 1
    reference = on_parts_of(pipe, kind, spec, controlnet=nets[0] if single else nets)
    return latents_of(reference, spec, image=pictures[0] if single else pictures, **more)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "heun"])
@pytest.mark.parametrize("guidance", [7.0, 1.0])
@pytest.mark.parametrize("guess", [False, True])
def test_one_unit(sd1_pipe, sd1, nets, spec, sampler, guidance, guess):
    wanted = spec(sampler=sampler, guidance=guidance)
    ours = drawn(sd1, wanted, unit(nets[0], hint(1), 0.8, mode="guess" if guess else "balanced"))
    reference = theirs(sd1_pipe, wanted, nets[:1], [hint(1)], controlnet_conditioning_scale=0.8, guess_mode=guess)
    assert_same(ours, reference)
    assert not torch.allclose(ours, drawn(sd1, wanted), atol=1e-2), "the unit does something"


@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("guidance", [6.0, 1.0])
def test_one_unit_on_sdxl(sdxl_pipe, sdxl, xl_nets, spec, guess, guidance):
    wanted = spec(sampler="euler", guidance=guidance)
    ours = drawn(sdxl, wanted, unit(xl_nets[0], hint(1), 0.8, mode="guess" if guess else "balanced"))
    reference = theirs(sdxl_pipe, wanted, xl_nets[:1], [hint(1)], controlnet_conditioning_scale=0.8, guess_mode=guess)
    assert_same(ours, reference)


@pytest.mark.parametrize("which", ["sd1", "sdxl"])
@pytest.mark.parametrize(
    ("first", "second"),
    [((0.0, 1.0), (0.0, 1.0)), ((0.0, 0.5), (0.5, 1.0)), ((0.2, 0.7), (0.3, 1.0)), ((0.9, 1.0), (0.0, 0.1))],
)
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun"])
def test_several_units_with_windows(request, which, spec, first, second, sampler):
    pipe, bundle = request.getfixturevalue(f"{which}_pipe"), request.getfixturevalue(which)
    nets = request.getfixturevalue("nets" if which == "sd1" else "xl_nets")
    wanted = spec(sampler=sampler, steps=10, width=96)
    windows = [{"start": start, "end": end} for start, end in (first, second)]
    ours = drawn(
        bundle,
        wanted,
        unit(nets[0], hint(1, 96), 0.7, **windows[0]),
        unit(nets[1], hint(2, 96), 1.2, **windows[1]),
    )
    reference = theirs(
        pipe,
        wanted,
        nets[:2],
        [hint(1, 96), hint(2, 96)],
        controlnet_conditioning_scale=[0.7, 1.2],
        control_guidance_start=[first[0], second[0]],
        control_guidance_end=[first[1], second[1]],
    )
    assert_same(ours, reference)


def test_a_network_may_be_used_by_two_units(sd1_pipe, sd1, nets, spec):
    wanted = spec(sampler="euler")
    ours = drawn(sd1, wanted, unit(nets[0], hint(1), 0.7), unit(nets[0], hint(2), 0.4))
    reference = theirs(
        sd1_pipe, wanted, [nets[0], nets[0]], [hint(1), hint(2)], controlnet_conditioning_scale=[0.7, 0.4]
    )
    assert_same(ours, reference)


def test_pooled_residuals_and_reversed_colours(sd1_pipe, sd1, nets, spec):
    wanted = spec(sampler="euler")
    for net in (nets[2], nets[3]):
        assert_same(drawn(sd1, wanted, unit(net, hint(1))), theirs(sd1_pipe, wanted, [net], [hint(1)]))
    mixed = drawn(sd1, wanted, unit(nets[2], hint(1)), unit(nets[0], hint(2), mode="guess"))
    assert torch.isfinite(mixed).all()


def test_guess_mode_with_several_units(sd1_pipe, sd1, nets, spec):
    wanted = spec(sampler="euler")
    ours = drawn(sd1, wanted, unit(nets[0], hint(1), mode="guess"), unit(nets[1], hint(2), mode="guess"))
    reference = theirs(
        sd1_pipe, wanted, nets[:2], [hint(1), hint(2)], controlnet_conditioning_scale=[1.0, 1.0], guess_mode=True
    )
    assert_same(ours, reference)


def count_forwards(net: Any, counted: list[int]) -> Any:
    return net.mid_block.register_forward_hook(lambda module, inputs, output: counted.append(int(inputs[0].shape[0])))


def test_no_network_runs_outside_of_its_window(sd1, nets, spec):
    counts: list[list[int]] = [[], []]
    handles = [count_forwards(net, counted) for net, counted in zip(nets, counts, strict=False)]
    embedded: list[int] = []
    handles.append(nets[0].controlnet_cond_embedding.register_forward_hook(lambda *_: embedded.append(1)))
    units = [unit(nets[0], hint(1), start=0.0, end=0.5), unit(nets[1], hint(2), start=0.5, end=0.8)]
    drawn(sd1, spec(sampler="euler", steps=10), *units)
    for handle in handles:
        handle.remove()
    assert [len(each) for each in counts] == [5, 3]
    assert len(embedded) == 1, "the hint is embedded once, not at every step"


def test_a_weight_of_nothing_costs_nothing(sd1, nets, spec):
    counted: list[int] = []
    handle = count_forwards(nets[0], counted)
    ours = drawn(sd1, spec(), unit(nets[0], hint(1), 0.0))
    handle.remove()
    assert counted == []
    assert torch.equal(ours, drawn(sd1, spec()))


@pytest.mark.parametrize(("mode", "rows"), [("balanced", 2), ("prompt", 2), ("control", 1), ("guess", 1)])
def test_modes_that_spare_the_negative_prompt_run_half_the_rows(sd1, nets, spec, mode, rows):
    counted: list[int] = []
    handle = count_forwards(nets[0], counted)
    drawn(sd1, spec(sampler="euler"), unit(nets[0], hint(1), mode=mode))
    handle.remove()
    assert counted == [rows] * 5


def test_the_two_percentage_rules_differ(sd1, nets, spec):
    wanted = spec(sampler="dpmpp_2m", schedule="karras", steps=10)
    counted: list[int] = []
    handle = count_forwards(nets[0], counted)
    by_step = drawn(sd1, wanted, unit(nets[0], hint(1), start=0.0, end=0.8, rule="step"))
    steps = len(counted)
    counted.clear()
    by_sigma = drawn(sd1, wanted, unit(nets[0], hint(1), start=0.0, end=0.8, rule="sigma"))
    handle.remove()
    times = begin(sd1, wanted, 0, context_id="0").scheduler.timesteps
    assert steps == 8
    assert len(counted) == int((times >= 0.2 * 999).sum()) == 6
    assert not torch.allclose(by_step, by_sigma)


def test_pictures_with_the_same_networks_share_one_call(sd1, nets, spec):
    """Other hints, weights, modes, ramps and order of units; the result is that of each alone."""
    made = [
        (spec(seed=1, sampler="euler"), (unit(nets[0], hint(1), 0.7), unit(nets[1], hint(2), 0.5))),
        (spec(seed=2, sampler="euler"), (unit(nets[1], hint(3), 1.2, mode="control"), unit(nets[0], hint(4)))),
        (spec(seed=3, sampler="ddim"), (unit(nets[0], hint(5), ramp="cosine"), unit(nets[1], hint(6), mode="guess"))),
    ]
    alone = [drawn(sd1, wanted, *units) for wanted, units in made]
    contexts = contexts_of(sd1, made)
    assert len({context.key for context in contexts}) == 1
    counted: list[int] = []
    handle = count_forwards(nets[0], counted)
    ticks = run_out(sd1, contexts)
    handle.remove()
    assert len(counted) == ticks == 5, "one call a tick for all three"
    for context, expected in zip(contexts, alone, strict=True):
        assert_same(context.latents, expected)


def test_pictures_with_other_networks_do_not_share_a_call(sd1, nets, spec):
    made = [(spec(seed=1), (unit(nets[0], hint(1)),)), (spec(seed=2), (unit(nets[1], hint(1)),)), (spec(seed=3), ())]
    contexts = contexts_of(sd1, made)
    assert len({context.key for context in contexts}) == 3
    with pytest.raises(ValueError, match="may not share"):
        tick(sd1, contexts)


def test_the_key_changes_with_the_window(sd1, nets, spec):
    context = contexts_of(sd1, [(spec(steps=4), (unit(nets[0], hint(1), end=0.5),))])[0]
    keys = []
    while not context.finished:
        keys.append(context.key.controls)
        tick(sd1, [context])
    assert keys == [str(id(nets[0]))] * 2 + [""] * 2
    assert context.key.controls == ""


@pytest.mark.parametrize("mode", ["balanced", "control"])
def test_repeatable_pictures_are_the_same_bit_for_bit_beside_others(sd1, nets, spec, mode):
    mine = (spec(seed=1, repeatable=True), (unit(nets[0], hint(1), 0.7, mode=mode),))
    others = [
        (spec(seed=seed, repeatable=True, guidance=guidance), (unit(nets[0], hint(seed), 0.3 * seed),))
        for seed, guidance in ((2, 7.0), (3, 1.0), (4, 7.0))
    ]
    alone = contexts_of(sd1, [mine])
    run_out(sd1, alone)
    together = contexts_of(sd1, [others[0], others[1], mine, others[2]])
    run_out(sd1, together)
    assert torch.equal(alone[0].latents, together[2].latents)


def test_prompts_of_different_length_beside_each_other(sd1, nets, spec):
    """Where the rows are of 3, 5 and 7 chunks, a mask hides the filling from the ControlNet too."""
    words = "red cat and blue dog on a green hill under a yellow sun "
    made = [
        (spec(prompt=words * count, seed=count, sampler="euler"), (unit(nets[0], hint(count)),))
        for count in (12, 22, 32)
    ]
    alone = [drawn(sd1, wanted, *units) for wanted, units in made]
    contexts = contexts_of(sd1, made)
    lengths = {context.text.length for context in contexts}
    assert len(lengths) == 3
    run_out(sd1, contexts)
    for context, expected in zip(contexts, alone, strict=True):
        assert_same(context.latents, expected)


def test_a_stop_inside_of_a_controlnet_changes_nothing(sd1, nets, spec):
    context = contexts_of(sd1, [(spec(), (unit(nets[0], hint(1)),))])[0]
    before = context.latents.clone()
    asked = iter([False, True])
    with pytest.raises(Stopped):
        tick(sd1, [context], should_stop=lambda: next(asked))
    assert context.evaluations_done == 0
    assert torch.equal(context.latents, before)


def test_a_snapshot_goes_on_with_the_same_units_only(sd1, nets, spec):
    wanted = spec(sampler="dpmpp_2m")
    units = ControlSet((Unit(**{**vars(unit(nets[0], hint(1))), "source": "canny|1"}),))
    other = ControlSet((Unit(**{**vars(unit(nets[0], hint(1))), "source": "canny|2"}),))
    context = begin(sd1, wanted, 0, context_id="0", controls=units)
    tick(sd1, [context])
    tick(sd1, [context])
    data = context.snapshot().to_bytes()
    assert resume(sd1, wanted, 0, data, context_id="0", controls=other) is None
    assert resume(sd1, wanted, 0, data, context_id="0") is None
    resumed = resume(sd1, wanted, 0, data, context_id="0", controls=units)
    assert resumed is not None
    run_out(sd1, [resumed])
    assert torch.equal(resumed.latents, drawn(sd1, wanted, unit(nets[0], hint(1))))
