"""The pipeline service's patterns of use (its chapter 7), with the starter model and its adapters.

Names of the document's adapters are invented; the starter's stand in for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.server.facade import IntelligentGenerationPipeline
from engine.server.facade_parts import DiffusionPipelineConfig, PipelineState
from engine.settings import ROOT, parse_settings

STARTER = ROOT / "models" / "starter"
STYLE, CHARACTER, THIRD = "easel-ink", "easel-soft", "easel-retro"
SIMPLE: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 1}

pytestmark = pytest.mark.skipif(not (STARTER / "loras").is_dir(), reason="the starter model is not in this checkout")


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    return parse_settings({"paths": {"data": str(tmp_path)}, "engine": {"default_model": "starter"}})


@pytest.fixture
def pipeline(settings: Any) -> Iterator[IntelligentGenerationPipeline]:
    with IntelligentGenerationPipeline(settings=settings) as made:
        yield made


def painted(pipeline: IntelligentGenerationPipeline) -> bytes:
    image = pipeline.generate("a red circle", **SIMPLE).image
    assert image is not None
    return image.tobytes()


def test_7_1_simple_generation(pipeline: IntelligentGenerationPipeline) -> None:
    pipeline.initialize(DiffusionPipelineConfig())
    assert pipeline.state is PipelineState.READY
    assert pipeline.generate("a red circle", **SIMPLE).image is not None


def test_7_2_several_loras_changed_between_pictures(pipeline: IntelligentGenerationPipeline) -> None:
    pipeline.add_lora(STYLE, 0.8)
    pipeline.add_lora(CHARACTER, 1.0)
    image = painted(pipeline)
    pipeline.set_lora_scale(STYLE, 0.5)
    assert painted(pipeline) != image


def test_7_3_merge_and_use_again(settings: Any, pipeline: IntelligentGenerationPipeline) -> None:
    for name in (STYLE, CHARACTER, THIRD):
        pipeline.load_lora(name)
    # The diagram normalises; these weights sum to 1 either way (decisions, row 33).
    merged = pipeline.merge_loras([STYLE, CHARACTER, THIRD], [0.5, 0.3, 0.2], normalize=False)
    pipeline.save_merged("custom_style")
    pipeline.add_lora(merged)
    expected = painted(pipeline)
    # Sesión futura
    with IntelligentGenerationPipeline(settings=settings) as later:
        later.load_lora("custom_style")
        # The diagram generates at once; loading alone changes no picture, so it is added.
        later.add_lora("custom_style")
        assert painted(later) == expected
