"""The facade: real pictures of a tiny model, stage by stage, with adapters, merged ones too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.errors import ConflictError, MergeError, OutOfMemoryError, SpecError
from engine.jobs.adapters import AdapterKey
from engine.memory import GenerationStep, LoadingStrategy
from engine.server.facade import IntelligentGenerationPipeline
from engine.server.facade_parts import DiffusionPipelineConfig, PipelineState
from engine.settings import Settings, parse_settings
from tests.support.tiny_adapters import write_tiny_lora
from tests.support.tiny_models import write_tiny_sd1

FIELDS = {"width": 64, "height": 64, "steps": 2, "seed": 5, "guidance": 4.0, "sampler": "euler"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("facade")
    folder = write_tiny_sd1(root / "models" / "checkpoints" / "tiny")
    write_tiny_sd1(root / "models" / "checkpoints" / "other", seed=1)
    for seed, name in enumerate("abc"):
        write_tiny_lora(root / "models" / "loras" / f"{name}.safetensors", folder, seed=seed, strength=2.0)
    return parse_settings({"paths": {"data": str(root)}, "engine": {"default_model": "tiny"}})


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[IntelligentGenerationPipeline]:
    with IntelligentGenerationPipeline(settings=settings) as made:
        yield made


def pixels(pipeline: IntelligentGenerationPipeline, prompt: str = "a red cat", **fields: object) -> bytes:
    image = pipeline.generate(prompt, **{**FIELDS, **fields}).image
    assert image is not None
    return image.tobytes()


def test_a_picture_with_its_spec(pipeline: IntelligentGenerationPipeline) -> None:
    assert pipeline.is_loaded
    assert pipeline.state is PipelineState.READY
    result = pipeline.generate("a red cat", **FIELDS, count=2)
    assert len(result.images) == 2
    assert result.image is not None
    assert result.image.size == (64, 64)
    assert (result.spec.seed, result.spec.sampler) == (5, "euler")
    assert result.images[0].tobytes() != result.images[1].tobytes()
    assert pixels(pipeline) == result.images[0].tobytes()


def test_parts_tell_where_and_how_they_are(pipeline: IntelligentGenerationPipeline) -> None:
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert part.is_loaded
        assert part.device == next(part.module.parameters()).device
        assert (part.dtype, part.storage_dtype) == (torch.float32, "float32")


def test_stage_by_stage_is_the_same_picture_and_holds_one_stage_at_a_time(
    settings: Settings, pipeline: IntelligentGenerationPipeline
) -> None:
    whole = pixels(pipeline)
    with IntelligentGenerationPipeline(settings=settings, loading_strategy=LoadingStrategy.SEQUENTIAL) as staged:
        assert not staged.is_loaded
        held: list[set[str]] = []
        for step in GenerationStep:
            result = staged.generate("a red cat", step=step, **FIELDS)
            parts = {"unet": staged.unet, "vae": staged.vae, "text_encoder": staged.text_encoder}
            held.append({name for name, part in parts.items() if part.is_loaded})
            assert (result.image is None) == (step is not GenerationStep.DECODE)
        assert held == [{"text_encoder"}, {"unet"}, set()]
        assert result.image is not None
        assert result.image.tobytes() == whole


def test_the_last_stage_alone_makes_up_for_the_others(pipeline: IntelligentGenerationPipeline) -> None:
    result = pipeline.generate("a red cat", step=GenerationStep.DECODE, **FIELDS)
    assert result.image is not None
    assert result.image.tobytes() == pixels(pipeline)


def test_adapters_are_added_scaled_and_removed(pipeline: IntelligentGenerationPipeline) -> None:
    bare = pixels(pipeline)
    pipeline.add_lora("a", 0.8)
    strong = pixels(pipeline)
    pipeline.set_lora_scale("a", 0.2)
    weak = pixels(pipeline)
    assert len({bare, strong, weak}) == 3
    pipeline.remove_adapter("a")
    assert pixels(pipeline) == bare
    adapters = [entry for entry in pipeline.pool.entries() if isinstance(entry.key, AdapterKey)]
    assert [entry.leases for entry in adapters] == [0], "lent for a picture, and given back"
    with pytest.raises(SpecError, match="not on the stack"):
        pipeline.set_lora_scale("a", 1.0)
    with pytest.raises(SpecError):
        pipeline.add_lora("no such adapter")


def test_what_is_merged_paints_as_the_stack_does_and_is_found_again(
    settings: Settings, pipeline: IntelligentGenerationPipeline
) -> None:
    for name, scale in zip("abc", (0.5, 0.3, 0.2), strict=True):
        pipeline.load_lora(name)
        pipeline.add_lora(name, scale)
    stacked = pixels(pipeline)
    for name in "abc":
        pipeline.remove_adapter(name)
    merged = pipeline.merge_loras(["a", "b", "c"], [0.5, 0.3, 0.2], normalize=False)
    pipeline.add_lora(merged)
    far = max(abs(x - y) for x, y in zip(stacked, pixels(pipeline), strict=True))
    assert far <= 3, "float16 in the file, and nothing else"
    file = pipeline.save_merged("custom_style")
    assert file.is_file()
    with pytest.raises(ConflictError):
        pipeline.save_merged("custom_style")
    # Sesión futura
    with IntelligentGenerationPipeline(settings=settings) as later:
        later.add_lora("custom_style")
        assert pixels(later) == pixels(pipeline)
    file.unlink()


def test_normalizing_is_asked_for(pipeline: IntelligentGenerationPipeline) -> None:
    raw = pipeline.merge_loras(["a", "b"], [1.0, 3.0])
    shared = pipeline.merge_loras(["a", "b"], [1.0, 3.0], normalize=True)
    quarter = pipeline.merge_loras(["a", "b"], [0.25, 0.75])
    paint: dict[str, bytes] = {}
    for name in (raw, shared, quarter):
        pipeline.add_lora(name)
        paint[name] = pixels(pipeline)
        pipeline.remove_adapter(name)
    assert paint[shared] == paint[quarter] != paint[raw]


@pytest.mark.parametrize(("names", "weights"), [(["a"], [1.0]), (["a", "b"], [1.0])])
def test_a_merge_that_cannot_be_is_one_sentence(
    pipeline: IntelligentGenerationPipeline, names: list[str], weights: list[float]
) -> None:
    with pytest.raises(SpecError, match="do not make a merge"):
        pipeline.merge_loras(names, weights)
    for wrong in ("../away", "", ".hidden"):
        pipeline.merge_loras(["a", "b"], [1.0, 1.0])
        with pytest.raises(MergeError):
            pipeline.save_merged(wrong)


def test_another_model(pipeline: IntelligentGenerationPipeline) -> None:
    first = pixels(pipeline)
    pipeline.use_model("other")
    assert pixels(pipeline) != first
    pipeline.initialize(DiffusionPipelineConfig(model_id="tiny", loras=(("a", 0.5),)))
    assert pipeline.adapters == {pipeline.load_lora("a"): 0.5}
    pipeline.remove_adapter("a")
    assert pixels(pipeline) == first


def test_memory_is_back_after_a_request_that_fails(settings: Settings) -> None:
    with IntelligentGenerationPipeline(settings=settings, loading_strategy=LoadingStrategy.SEQUENTIAL) as pipeline:
        with pytest.raises(SpecError):
            pipeline.generate("", **FIELDS)
        assert pipeline.state is PipelineState.READY
        pixels(pipeline)
        assert not pipeline.is_loaded
        assert pipeline.pool.used_bytes == 0
        pipeline.pool.resize(1000)
        with pytest.raises(OutOfMemoryError):
            pipeline.generate("another", **FIELDS)
        assert pipeline.pool.used_bytes == 0


def test_after_the_end_it_says_so(settings: Settings) -> None:
    pipeline = IntelligentGenerationPipeline(settings=settings)
    scratch = Path(pipeline._scratch)
    pipeline.shutdown()
    pipeline.shutdown()
    assert not scratch.exists()
    with pytest.raises(ConflictError, match="shut down"):
        pipeline.generate("a cat")
