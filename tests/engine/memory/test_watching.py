"""Meter, monitor, manager, staged loading and offloading, with real memory where this machine has it."""

from __future__ import annotations

import time

import pytest
import torch

from engine.errors import SpecError
from engine.memory.manager import MemoryManager
from engine.memory.meter import ProcessMeter, Usage
from engine.memory.monitor import MemoryMonitor, Timeline, leak_hint
from engine.memory.offload import ModelOffloader, OffloadConfig, OffloadStrategy
from engine.memory.optimizer import modules_of
from engine.memory.pool import ModelPool
from engine.memory.sizes import MIB, in_words, module_nbytes
from engine.memory.steps import GenerationStep, LoadingStrategy, StagedParts
from tests.support.fake_machine import GIB, FakeMeter, FakeProbe, card, no_card


def test_a_peak_between_two_samples_of_ram_is_seen() -> None:
    # What tests before this one left in the heap would be used again, and be no peak.
    ProcessMeter().release()
    with MemoryMonitor(interval=0.01) as monitor:
        before = monitor.peak.ram
        block = torch.ones(64 * MIB // 4)
        time.sleep(0.1)
        del block
    assert monitor.peak.ram - before >= 48 * MIB
    assert monitor.peak_vram == 0.0
    assert monitor.get_peak_memory() == monitor.peak_ram
    assert monitor.timeline.samples()[0].mark == "begin"


def test_memory_is_given_back_to_the_system() -> None:
    meter = ProcessMeter()
    blocks = [torch.ones(16 * 1024) for _ in range(2000)]
    full = meter.now().ram
    del blocks
    meter.release()
    assert full - meter.now().ram >= 60 * MIB


def test_the_peak_of_the_driver_counts() -> None:
    meter = FakeMeter(Usage(vram=GIB, reserved=2 * GIB))
    with MemoryMonitor(meter=meter, interval=0) as monitor:
        meter.peak = 3 * GIB
    assert monitor.peak_vram == 3.0
    assert monitor.get_peak_memory() == 3.0
    assert Usage(vram=GIB, reserved=4 * GIB).fragmentation == 0.75


def test_an_optimizer_cleans_up_also_after_an_error() -> None:
    class Cleaner:
        cleaned = 0

        def cleanup(self) -> None:
            self.cleaned += 1

    cleaner = Cleaner()
    monitor = MemoryMonitor(cleaner, meter=FakeMeter(), interval=0)
    with pytest.raises(RuntimeError), monitor:
        raise RuntimeError("broken")
    assert cleaner.cleaned == 1
    assert [sample.mark for sample in monitor.timeline.samples()] == ["begin", "failed", "cleaned"]


def test_a_timeline_is_short_and_keeps_its_marks() -> None:
    timeline = Timeline(100)
    for index in range(250):
        timeline.add(Usage(ram=index), at=float(index), mark="loaded" if index == 201 else "")
    assert len(timeline.samples()) == 100
    few = timeline.samples(10)
    assert len(few) <= 12
    assert few[-1].usage.ram == 249
    assert any(sample.mark == "loaded" for sample in few)


def test_a_leak_is_hinted_at_and_noise_is_not() -> None:
    rising = [100 * MIB + index * 20 * MIB for index in range(8)]
    assert "100 MB" in leak_hint(rising) or "0.1 GB" in leak_hint(rising)
    assert leak_hint([*rising, rising[-2]]) == ""
    assert leak_hint([index * 1024 for index in range(20)]) == ""
    assert leak_hint(rising[:4]) == ""


def test_the_manager_defragments_only_when_idle() -> None:
    meter = FakeMeter(Usage(vram=GIB, reserved=2 * GIB))
    manager = MemoryManager(probe=FakeProbe(vram=8), meter=meter)
    assert not manager.settle(idle=lambda: False)
    assert manager.settle(idle=lambda: True)
    meter.usage = Usage(vram=GIB, reserved=GIB)
    assert not manager.settle(idle=lambda: True)
    assert meter.releases == 1


# --- stages --------------------------------------------------------------------------------------------------------


def staged(pool: ModelPool, log: list[str], **options: object) -> StagedParts:
    def loader(part: str, size: int) -> tuple[object, int]:
        def load() -> str:
            log.append(part)
            return part

        return load, size

    parts = {"text_encoder": loader("text_encoder", 2), "unet": loader("unet", 8), "vae": loader("vae", 1)}
    return StagedParts(pool, parts, **options)  # type: ignore[arg-type]


def test_a_stage_holds_its_own_parts_only() -> None:
    pool, log = ModelPool(100), []
    parts = staged(pool, log)
    assert not parts.is_loaded
    for step, wanted in zip(GenerationStep, ("text_encoder", "unet", "vae"), strict=True):
        with parts.stage(step) as held:
            assert list(held) == [wanted]
            assert parts.loaded_parts == (wanted,)
    assert pool.used_bytes == 0
    assert log == ["text_encoder", "unet", "vae"]


def test_nothing_stays_after_an_error() -> None:
    pool, log = ModelPool(100), []
    released: list[int] = []
    parts = staged(pool, log, released=lambda: released.append(1))
    with pytest.raises(RuntimeError), parts.stage(GenerationStep.DENOISE):
        raise RuntimeError("broken")
    assert pool.used_bytes == 0
    assert released == [1]


def test_eager_loading_and_kept_parts() -> None:
    pool, log = ModelPool(100), []
    parts = staged(pool, log, strategy=LoadingStrategy.EAGER, keep=True)
    assert parts.is_loaded
    with parts.stage(GenerationStep.DECODE):
        pass
    parts.close()
    assert parts.is_loaded, "the pool keeps what there is room for"
    assert len(log) == 3
    assert all(entry.leases == 0 for entry in pool.entries())


# --- offloading ----------------------------------------------------------------------------------------------------

GPU, RAM = "cuda", "cpu"


@pytest.mark.parametrize(
    ("vram", "limit", "wanted"),
    [
        (6, None, OffloadConfig(RAM, RAM, RAM, RAM, sequential=True)),
        (8, None, OffloadConfig(GPU, RAM, RAM, GPU)),
        (12, None, OffloadConfig(GPU, GPU, RAM, GPU)),
        (16, None, OffloadConfig(GPU, GPU, GPU, GPU)),
        (80, 8.0, OffloadConfig(GPU, RAM, RAM, GPU)),
        (80, 7.9, OffloadConfig(RAM, RAM, RAM, RAM, sequential=True)),
    ],
)
def test_where_parts_rest(vram: float, limit: float | None, wanted: OffloadConfig) -> None:
    assert ModelOffloader(OffloadStrategy.AUTO, limit, resources=card(vram)).distribute_pipeline() == wanted


def test_strategies_by_hand() -> None:
    def of(strategy: OffloadStrategy) -> OffloadConfig:
        return ModelOffloader(strategy, resources=card(24)).distribute_pipeline()

    assert of(OffloadStrategy.SEQUENTIAL).sequential
    assert of(OffloadStrategy.CPU_OFFLOAD) == OffloadConfig(GPU, RAM, RAM, GPU)
    assert of(OffloadStrategy.FULL_GPU).device_of("text_encoder_2") == GPU


def test_without_a_gpu_nothing_is_moved_and_it_says_so(pipe, picture) -> None:
    offloader = ModelOffloader(OffloadStrategy.SEQUENTIAL, resources=no_card(), meter=FakeMeter())
    config = offloader.distribute_pipeline(pipe)
    assert config.unet_device == "cpu"
    assert "no GPU" in config.note
    plain = picture(pipe)
    applied = offloader.apply(pipe)
    assert not applied[0].done
    assert "no GPU" in applied[0].why
    assert (plain == picture(pipe)).all()
    assert not any(hasattr(module, "_hf_hook") for module in modules_of(pipe).values())


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_one_sentence(limit: float) -> None:
    with pytest.raises(SpecError) as refused:
        ModelOffloader(OffloadStrategy.AUTO, limit)
    assert refused.value.code == "memory_budget_out_of_range"


def test_sizes() -> None:
    shared = torch.nn.Linear(10, 10, bias=False)
    both = torch.nn.ModuleList([shared, shared])
    assert module_nbytes(both) == 400
    assert module_nbytes(object()) == 0
    assert (in_words(3.4 * GIB), in_words(20 * MIB)) == ("3.4 GB", "20 MB")
    assert (in_words(MIB / 3), in_words(0)) == ("under 1 MB", "0 MB")
