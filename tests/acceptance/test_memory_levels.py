"""The document on memory levels: its code as tests."""

from __future__ import annotations

from typing import Any

import pytest

from engine.memory import MemoryMonitor, MemoryOptimizationConfig, MemoryOptimizer, OptimizationLevel
from engine.memory.levels import first_guess
from engine.memory.optimizer import applied_to, modules_of
from engine.memory.plan import Planner, Work
from tests.engine.memory.conftest import picture, pipe, tiny_folder  # noqa: F401  (fixtures)
from tests.engine.memory.test_plan import SDXL
from tests.support.fake_machine import GIB, card


def test_manual_configuration(pipe: Any, picture: Any) -> None:  # noqa: F811
    config = MemoryOptimizationConfig.from_level(OptimizationLevel.AGGRESSIVE)
    config.enable_vae_tiling = True
    config.vae_decode_chunk_size = 1  # 1 = más ahorro

    optimizer = MemoryOptimizer(config)

    # `StableDiffusionPipeline.from_pretrained("model-id")`: a tiny real one.
    assert optimizer.optimize_pipeline(pipe) is pipe
    assert pipe.vae.use_tiling
    assert picture(pipe).shape == (64, 64, 3)
    assert {"vae_tiling", "vae_slicing", "forward_chunking"} <= applied_to(modules_of(pipe))


def test_monitoring(pipe: Any, picture: Any) -> None:  # noqa: F811
    optimizer = MemoryOptimizer(MemoryOptimizationConfig.from_level(OptimizationLevel.BALANCED))

    with MemoryMonitor(optimizer) as monitor:
        image = picture(pipe)

    assert image.shape == (64, 64, 3)
    # The document prints "Peak VRAM"; without a GPU it is the peak of RAM. Both spellings exist.
    assert monitor.get_peak_memory() > 0
    assert monitor.peak_vram >= 0
    assert monitor.timeline.samples()[-1].mark == "cleaned"


@pytest.mark.parametrize("vram", [3, 5.9, 6, 7.9, 8, 11.9, 12, 24])
def test_auto_selection(vram: float) -> None:
    # The document's own thresholds: the start of the search and its tie-break; the forecast decides.
    if vram < 6:
        level = OptimizationLevel.ULTRA
    elif vram < 8:
        level = OptimizationLevel.AGGRESSIVE
    elif vram < 12:
        level = OptimizationLevel.BALANCED
    else:
        level = OptimizationLevel.NONE  # Performance mode
    assert first_guess(vram) is level


@pytest.mark.parametrize(
    ("level", "document"),
    [
        (OptimizationLevel.NONE, 12.5),
        (OptimizationLevel.BALANCED, 7.2),
        (OptimizationLevel.AGGRESSIVE, 5.4),
        (OptimizationLevel.ULTRA, 4.1),
    ],
)
def test_the_benchmark_table_is_kept_by_the_forecast(level: OptimizationLevel, document: float) -> None:
    """SDXL, 1024², 30 steps. There is no card here: what is predicted must be below what the document measured."""
    plan = Planner(card(24), dtype="bfloat16").plan(SDXL, Work(1024, 1024), level=level)
    assert plan.chosen.peak / GIB <= document


def test_each_level_is_its_list_of_techniques() -> None:
    def names(level: OptimizationLevel) -> set[str]:
        return set(MemoryOptimizationConfig.from_level(level).techniques)

    levels = OptimizationLevel
    assert not {name for name in names(levels.NONE) if "offload" in name or "vae" in name}
    assert {"component_offload", "vae_tiling"} <= names(levels.BALANCED)
    # The document has sequential offload here, layer by layer. Groups that travel ahead of the computation do the same
    # faster; layer by layer stays one switch away.
    assert {"group_offload", "vae_tiling", "vae_slicing", "forward_chunking"} <= names(levels.AGGRESSIVE)
    # FP8 is for UNet and text encoders; the document's example puts it on the VAE, which is small and is what one sees.
    assert {"group_offload", "fp8_storage"} <= names(levels.ULTRA)


def test_memory_is_released_also_after_an_error(pipe: Any) -> None:  # noqa: F811
    released: list[int] = []
    optimizer = MemoryOptimizer(MemoryOptimizationConfig.from_level(OptimizationLevel.NONE))
    release = optimizer.meter.release
    optimizer.meter.release = lambda: (released.append(1), release())[1]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="prompt"), MemoryMonitor(optimizer):
        pipe(prompt=None, num_inference_steps=1)
    assert released == [1]
