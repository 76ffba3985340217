"""Levels and techniques on a real (tiny) pipeline: what changes, that pictures stay, that all comes off again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from engine.memory.attention import EfficientAttention, measure_attention
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel
from engine.memory.movers import resident_blocks
from engine.memory.optimizer import MemoryOptimizer, applied_to, modules_of
from engine.memory.resources import detect_resources
from engine.memory.technique import Machine
from engine.memory.techniques import TECHNIQUES
from tests.support.fake_machine import FakeMeter, FakeProbe, card, no_card
from tests.support.likeness import psnr

CPU = no_card()


def optimizer(level: OptimizationLevel, **changes: object) -> MemoryOptimizer:
    config = MemoryOptimizationConfig.from_level(level, device="cpu")
    for name, value in changes.items():
        setattr(config, name, value)
    return MemoryOptimizer(config, resources=CPU, meter=FakeMeter(), device="cpu")


@pytest.mark.parametrize("level", [OptimizationLevel.NONE, OptimizationLevel.BALANCED, OptimizationLevel.AGGRESSIVE])
def test_the_picture_is_the_same_up_to_aggressive(pipe, picture, level):
    plain = picture(pipe)
    optimizer(level).optimize_pipeline(pipe)
    assert psnr(plain, picture(pipe)) >= 60


def test_tiles_keep_the_picture(pipe, picture):
    plain = picture(pipe, size=128)
    optimizer(OptimizationLevel.AGGRESSIVE).optimize_pipeline(pipe)
    assert pipe.vae.use_tiling
    assert psnr(plain, picture(pipe, size=128)) >= 25, "random weights feel tiles far more than trained ones"


def test_fp8_storage_has_a_price_that_is_told(pipe, picture):
    plain = picture(pipe)
    chosen = optimizer(OptimizationLevel.ULTRA)
    chosen.optimize_pipeline(pipe)
    weights = [p.dtype for name, p in pipe.unet.named_parameters() if "attn" in name and name.endswith("to_q.weight")]
    assert set(weights) == {torch.float8_e4m3fn}
    assert pipe.vae.dtype == torch.float32
    assert 20 < psnr(plain, picture(pipe)) < 60
    removed = chosen.remove(modules_of(pipe))
    assert {part for each in removed for part in each.reload} == {"unet", "text_encoder"}
    assert pipe.unet.dtype == torch.float32
    assert np.isfinite(picture(pipe)).all()


def test_a_level_changes_live_and_only_what_differs(pipe, picture):
    plain = picture(pipe)
    modules = modules_of(pipe)
    chosen = optimizer(OptimizationLevel.AGGRESSIVE)
    chosen.optimize_modules(modules)
    before = applied_to(modules)
    report = chosen.change(modules, MemoryOptimizationConfig.from_level(OptimizationLevel.BALANCED, device="cpu"))
    assert {each.name for each in report} <= {
        "vae_tiling", "forward_chunking", "attention_slicing", "channels_last",
    }  # fmt: skip
    assert applied_to(modules) - {"channels_last"} < before
    assert not pipe.vae.use_tiling
    assert psnr(plain, picture(pipe)) >= 60, "channels last, which both have, rounds otherwise"


def test_everything_comes_off_again(pipe, picture):
    plain = picture(pipe)
    modules = modules_of(pipe)
    chosen = optimizer(OptimizationLevel.AGGRESSIVE, enable_channels_last=False)
    chosen.optimize_pipeline(pipe)
    chosen.remove(modules)
    assert applied_to(modules) == set()
    assert not pipe.vae.use_slicing
    assert np.array_equal(plain, picture(pipe))


def test_without_a_gpu_offloading_does_nothing_and_says_so(pipe):
    chosen = optimizer(OptimizationLevel.NONE, enable_model_offload=True)
    chosen.optimize_pipeline(pipe)
    offload = next(each for each in chosen.report if each.name == "component_offload")
    assert not offload.done
    assert "no GPU" in offload.why
    assert not any(hasattr(module, "_hf_hook") for module in modules_of(pipe).values())
    assert "component_offload" not in applied_to(modules_of(pipe))


def test_apples_shared_memory_is_not_moved_about(pipe):
    resources = detect_resources(FakeProbe(mps=16))
    machine = Machine(resources, torch.device("mps"))
    applied = TECHNIQUES["component_offload"].apply(modules_of(pipe), machine, MemoryOptimizationConfig())
    assert not applied.done
    assert "one memory" in applied.why


@pytest.mark.parametrize("name", ["component_offload", "group_offload"])
def test_hooks_of_offloading_keep_the_picture_and_come_off(pipe, picture, name):
    """Both ends are this machine's memory, named differently, so that the hooks run for real without a GPU."""
    plain = picture(pipe)
    modules = modules_of(pipe)
    machine = Machine(card(8), torch.device("cpu", 0), torch.device("cpu"))
    assert machine.travels
    config = MemoryOptimizationConfig(resident_gb=0.0002, use_streams=False)
    assert TECHNIQUES[name].apply(modules, machine, config).done
    assert np.array_equal(plain, picture(pipe))
    TECHNIQUES[name].remove(modules, machine)
    assert not any(hasattr(layer, "_hf_hook") for module in modules.values() for layer in module.modules())
    assert np.array_equal(plain, picture(pipe))


def test_blocks_stay_as_far_as_they_fit():
    sizes = [("a", 5), ("b", 9), ("c", 4), ("d", 9)]
    assert resident_blocks(sizes, 0) == ()
    assert resident_blocks(sizes, 13) == ("b", "c")
    assert set(resident_blocks(sizes, 99)) == {"a", "b", "c", "d"}


def test_slicing_only_where_no_efficient_kernel_exists(pipe, picture):
    modules, config = modules_of(pipe), MemoryOptimizationConfig()
    assert not TECHNIQUES["attention_slicing"].apply(modules, Machine(CPU, torch.device("cpu")), config).done
    plain = picture(pipe)
    old = Machine(card(4, capability=(3, 5)), torch.device("cpu"))
    assert TECHNIQUES["attention_slicing"].apply(modules, old, config).done
    assert psnr(plain, picture(pipe)) >= 60
    TECHNIQUES["attention_slicing"].remove(modules, old)
    assert all(isinstance(processor, AttnProcessor2_0) for processor in pipe.unet.attn_processors.values())


def test_the_kernel_is_chosen_by_what_is_there():
    assert EfficientAttention(card(8)).choose() == "sdpa"
    old = card(8, capability=(5, 2), packages=frozenset({"xformers"}))
    assert EfficientAttention(old).choose() == "sdpa", "torch has an efficient kernel since (5, 0)"
    assert EfficientAttention(detect_resources(FakeProbe(mps=8))).slicing_helps
    assert EfficientAttention.enable_pytorch_sdpa()


def test_kernels_can_be_measured_here():
    found = measure_attention(CPU, tokens=64, heads=2, repeats=2)
    assert set(found.seconds) == {"sdpa_flash", "sdpa_math", "sliced"}
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.refused == {}


def test_a_kernel_that_cannot_run_here_says_why():
    claimed = replace(CPU, attention=("sdpa_efficient", "sdpa_math"))
    found = measure_attention(claimed, tokens=64, heads=2, repeats=1)
    assert set(found.seconds) == {"sdpa_math", "sliced"}
    assert "kernel" in found.refused["sdpa_efficient"]


def test_cleanup_also_after_an_error():
    meter = FakeMeter()
    chosen = MemoryOptimizer(resources=CPU, meter=meter)
    with pytest.raises(RuntimeError), chosen.cleaned():
        raise RuntimeError("broken")
    assert meter.releases == 1


@pytest.mark.parametrize("level", list(OptimizationLevel))
@pytest.mark.parametrize("device", ["cuda", "cpu", "mps"])
def test_every_named_technique_exists(level, device):
    config = MemoryOptimizationConfig.from_level(level, device=device)
    assert set(config.techniques) <= set(TECHNIQUES)
    assert all(TECHNIQUES[name].saving() for name in config.techniques)
    moving = [name for name in config.techniques if name.endswith("_offload")]
    assert len(moving) == (1 if device == "cuda" and level is not OptimizationLevel.NONE else 0)


def test_a_small_vae_that_cannot_tile_is_left_alone():
    from diffusers import AutoencoderTiny

    widths = (8, 8, 8)
    vae = AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    machine, config = Machine(CPU, torch.device("cpu")), MemoryOptimizationConfig()
    applied = TECHNIQUES["vae_tiling"].apply({"vae": vae}, machine, config)
    assert not applied.done
    assert not vae.use_tiling
    assert TECHNIQUES["vae_slicing"].apply({"vae": vae}, machine, config).done
    assert vae.decode(torch.zeros(2, 4, 80, 80)).sample.shape == (2, 3, 320, 320)
