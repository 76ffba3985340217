"""US 14.3, memory and offloading: its acceptance criteria, task tests and test cases, in its own words where it can be.

Where a line differs from the document, the reason stands beside it. Invented model names, a machine with another card
and the peak meter are injected; the parts themselves are real.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import OutOfMemoryError
from engine.memory import (
    DTypePolicy,
    EfficientAttention,
    EvictionPolicy,
    GenerationStep,
    LoadingStrategy,
    MemoryManager,
    ModelOffloader,
    ModelPool,
    OffloadStrategy,
    QuantizationEngine,
)
from engine.memory.lease import PartRequest
from engine.memory.meter import Usage
from engine.memory.offload import OffloadConfig
from engine.memory.optimizer import modules_of
from engine.memory.plan import Planner, Work
from engine.memory.quantize import choose_dtype, storage_dtype_of
from engine.memory.steps import StagedParts
from engine.settings import parse_settings
from tests.engine.memory.conftest import picture, pipe, tiny_folder  # noqa: F401  (fixtures)
from tests.engine.memory.test_plan import SDXL
from tests.support.fake_machine import GIB, FakeMeter, FakeProbe, card
from tests.support.likeness import psnr
from tests.support.tiny_models import write_tiny_sd1

# float16 sizes of the names in the document, in GB.
SIZES = {"sdxl-base": 6.9, "sd15-anime": 2.1, "pony-diffusion": 6.9, "sdxl-turbo": 6.9}


def pool_of(gigabytes: dict[str, float] | float, **options: Any) -> ModelPool:
    """A pool that knows how large the invented models are."""

    def parts_of(name: str) -> list[PartRequest]:
        size = gigabytes if isinstance(gigabytes, float) else gigabytes[name]
        return [PartRequest(name, lambda: torch.nn.Linear(2, 2), int(size * GIB))]

    return ModelPool(parts_of=parts_of, **options)


# --- AC 1: automatic memory detection ------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [None, FakeProbe(vram=8, vram_free=7), FakeProbe(mps=12)])
def test_ac1_automatic_memory_detection(probe: FakeProbe | None) -> None:
    memory_manager = MemoryManager(probe=probe)

    resources = memory_manager.detect_resources()

    assert resources.total_ram_gb > 0
    if not (resources.has_cuda or resources.has_mps):
        # The document asserts a GPU; on a machine without one there is no VRAM, and models compute on "cpu".
        assert resources.total_vram_gb == 0
        assert resources.device == "cpu"
        return
    assert resources.total_vram_gb > 0
    assert resources.available_vram_gb > 0
    assert resources.has_cuda or resources.has_mps


# --- AC 2: model offloading ----------------------------------------------------------------------------------------


def test_ac2_model_offloading(pipe: Any) -> None:  # noqa: F811
    # 80 GB are there, and the limit of 8 counts: the document's own _auto_distribute ignores the limit, and then its
    # assertions would not hold on a large card.
    resources = card(80)
    offloader = ModelOffloader(OffloadStrategy.AUTO, max_vram_gb=8.0, resources=resources)

    config = offloader.distribute_pipeline(pipe)

    assert config.vae_device == "cpu"  # VAE a CPU
    assert config.unet_device == "cuda"  # UNet en GPU
    assert config.text_encoder_device == "cpu"  # Text encoder a CPU

    # The peak of a full-size SDXL, as predicted: there is no card here to measure it on.
    plan = Planner(resources, dtype="float16", max_vram_gb=8.0).plan(SDXL, Work(1024, 1024))
    assert plan.fits
    assert plan.chosen.peak / GIB <= 8.5  # Margen del 6%


def test_ac2_through_the_pipeline(tmp_path: Path) -> None:
    """The criterion through the facade, on a pretended card of 24 GB, so nothing is loaded (SEQUENTIAL loading).

    Not as written: the import path differs, and no hub is asked, so the model is a tiny one of the library.
    """
    from engine.server.facade import IntelligentGenerationPipeline

    write_tiny_sd1(tmp_path / "models" / "checkpoints" / "tiny")
    with IntelligentGenerationPipeline(
        model_id="tiny",
        offload_strategy=OffloadStrategy.AUTO,
        max_vram_usage_gb=8.0,
        loading_strategy=LoadingStrategy.SEQUENTIAL,
        settings=parse_settings({"paths": {"data": str(tmp_path)}}),
        resources=card(24),
    ) as pipeline:
        # Verificar que componentes se distribuyen correctamente
        assert pipeline.vae.device.type == "cpu"
        assert pipeline.unet.device.type == "cuda"
        assert pipeline.text_encoder.device.type == "cpu"


# --- AC 3: sequential component loading ----------------------------------------------------------------------------


class PoolMeter(FakeMeter):
    """Measures what a pool holds as if it lay on a card."""

    def __init__(self, pool: ModelPool) -> None:
        super().__init__()
        self._pool = pool

    def now(self) -> Usage:
        return Usage(vram=self._pool.used_bytes)


def test_ac3_sequential_component_loading(pipe: Any) -> None:  # noqa: F811
    """Real (tiny) parts under the sizes of SDXL in float32: 3.0 + 9.6 + 0.3 GB, 12.9 all together.

    The document writes the stages as `pipeline.generate(prompt, step=…)`; what they do is `StagedParts.stage`, which
    the facade calls.
    """
    components = modules_of(pipe)
    sizes = {part: SDXL.nbytes(part, "float32") for part in components}
    sizes["text_encoder"] += SDXL.nbytes("text_encoder_2", "float32")
    pool = ModelPool(max_size_gb=20.0)
    meter = PoolMeter(pool)
    memory_manager = MemoryManager(probe=FakeProbe(vram=16), meter=meter)
    seen: list[int] = []
    parts = StagedParts(
        pool,
        {part: (lambda part=part: components[part], sizes[part]) for part in components},
        strategy=LoadingStrategy.SEQUENTIAL,
    )

    # Al inicio, nada debe estar cargado
    assert not parts.is_loaded
    assert pool.used_bytes == 0

    with memory_manager.track_usage(interval=0) as tracker, torch.inference_mode():
        with parts.stage(GenerationStep.ENCODE_PROMPT) as loaded:
            tokens = pipe.tokenizer("anime girl", padding="max_length", return_tensors="pt").input_ids
            words = loaded["text_encoder"](tokens[:, :77])[0]
            seen.append(tracker.sample().usage.vram)
        with parts.stage(GenerationStep.DENOISE) as loaded:
            latents = loaded["unet"](torch.randn(1, 4, 16, 16), 10, encoder_hidden_states=words).sample
            seen.append(tracker.sample().usage.vram)
        with parts.stage(GenerationStep.DECODE) as loaded:
            image = loaded["vae"].decode(latents).sample
            seen.append(tracker.sample().usage.vram)

    assert image.shape == (1, 3, 64, 64)
    assert seen == [sizes["text_encoder"], sizes["unet"], sizes["vae"]]
    # Verificar que peak fue menor que carga completa
    assert tracker.peak_vram < 10.0
    assert sum(sizes.values()) / GIB > 12.5
    assert pool.used_bytes == 0


# --- AC 4: model pool with LRU -------------------------------------------------------------------------------------


def test_ac4_model_pool_with_lru() -> None:
    model_pool = pool_of(SIZES, max_size_gb=20.0, eviction_policy=EvictionPolicy.LRU)

    model1 = model_pool.load("sdxl-base")
    model_pool.load("sd15-anime")
    model_pool.load("pony-diffusion")

    # `pipeline.use_model(model1)`: any use through the handle counts.
    assert model1.model is not None

    # 15.9 + 6.9 GB: sd15-anime alone does not make room for it, so pony-diffusion goes too; both assertions hold.
    model_pool.load("sdxl-turbo")

    assert not model_pool.is_loaded("sd15-anime")
    assert model_pool.is_loaded("sdxl-base")  # usado recientemente
    assert not model_pool.is_loaded("pony-diffusion")
    assert model_pool.is_loaded("sdxl-turbo")


# --- AC 5: automatic quantization ----------------------------------------------------------------------------------


@pytest.mark.parametrize("available", [6.0, 10.0, 24.0])
def test_ac5_automatic_quantization(pipe: Any, available: float) -> None:  # noqa: F811
    """The document's table is `DTypePolicy.SEED`: AUTO itself never takes float32 on a card (twice the memory, half the
    speed, no better pictures). What it calls the UNet's dtype is the format in which its weights rest: a UNet cannot
    *compute* in int8."""
    resources = card(24, free=available)
    choice = choose_dtype(DTypePolicy.SEED, resources)
    QuantizationEngine().quantize_model(pipe.unet, choice.storage_dtype)

    if resources.available_vram_gb < 8:
        assert storage_dtype_of(pipe.unet) == "int8"
    elif resources.available_vram_gb < 12:
        assert pipe.unet.dtype == torch.float16
    else:
        assert pipe.unet.dtype == torch.float32


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_resource_detection() -> None:
    manager = MemoryManager()
    resources = manager.resources

    assert resources.total_vram_gb > 0 or not torch.cuda.is_available()
    assert resources.total_ram_gb > 0


def test_lru_eviction() -> None:
    pool = pool_of(3.0, max_size_gb=10.0)

    # Cargar modelos hasta llenar
    for i in range(5):
        pool.load(f"model_{i}")

    # Verificar que oldest fue evictado
    assert pool._current_size() <= 10.0
    assert [pool.is_loaded(f"model_{i}") for i in range(5)] == [False, False, True, True, True]


def test_auto_offload(pipe: Any) -> None:  # noqa: F811
    offloader = ModelOffloader(
        strategy=OffloadStrategy.AUTO,
        max_vram_gb=8.0,
        resources=card(8),
    )

    config = offloader.distribute_pipeline(pipe)

    # Con 8GB, debe offload a CPU
    assert isinstance(config, OffloadConfig)
    assert config.vae_device == "cpu"


def test_quantization(pipe: Any, picture: Any) -> None:  # noqa: F811
    engine = QuantizationEngine()

    plain = picture(pipe)
    model_fp16 = engine.quantize_model(pipe.unet, torch.float16)

    assert model_fp16.dtype == torch.float16
    # Verificar que genera imágenes similares
    engine.quantize_model(pipe.text_encoder, torch.float16)
    engine.quantize_model(pipe.vae, torch.float16)
    assert psnr(plain, picture(pipe)) > 40


def test_efficient_attention() -> None:
    # `if EfficientAttention.enable_xformers(): # Verificar speedup`: torch's own kernel is measured instead where
    # xFormers is not installed; see tests/engine/memory/test_optimizer.py.
    assert EfficientAttention.enable_xformers() in (True, False)
    assert EfficientAttention.enable_flash_attention() in (True, False)
    assert EfficientAttention.enable_pytorch_sdpa()


# --- test cases ----------------------------------------------------------------------------------------------------


def patch_vram(available_gb: float) -> AbstractContextManager[FakeProbe]:
    """The document patches the detection; here the probe is an argument, so nothing has to be patched."""
    return nullcontext(FakeProbe(vram=available_gb))


def test_low_vram_generation() -> None:
    """Simula generación con solo 6GB VRAM.

    The document then reads `torch.cuda.max_memory_allocated()` of the real card, whatever was patched: resources and
    peak come from the same injected machine here, and the peak is the forecast's. A real picture under the level that
    it chooses is made in tests/engine/memory/test_optimizer.py.
    """
    with patch_vram(available_gb=6.0) as probe:
        manager = MemoryManager(probe=probe)
        plan = Planner(manager.resources, dtype="float16").plan(SDXL, Work(1024, 1024))

        # Debe completar sin OOM
        assert plan.fits

        # Verificar que no excedió límite
        peak = plan.chosen.peak / GIB
        assert peak < 6.5


def test_model_pool_full() -> None:
    """Verifica eviction cuando pool está lleno.

    The document's pool has 5 GB, and its three models of 2 GB are 6: model_1 would be gone before model_4 comes, and
    the end state asserts 6 GB in 5. It has 7 GB here. `_ = model1` touches nothing in Python; a use does.
    """
    pool = pool_of(2.0, max_size_gb=7.0)

    pool.load("model_1")  # t=0
    time.sleep(0.01)
    pool.load("model_2")  # t=0.1
    time.sleep(0.01)
    pool.load("model_3")  # t=0.2

    # Usar model1 → actualiza LRU
    pool.use("model_1")

    # Cargar model4 → debe evict model2 (LRU)
    pool.load("model_4")

    assert pool.is_loaded("model_1")  # usado recientemente
    assert not pool.is_loaded("model_2")  # evictado
    assert pool.is_loaded("model_3")
    assert pool.is_loaded("model_4")


@pytest.mark.xfail(strict=True, reason="6 GB do not fit into 5: the document contradicts itself")
def test_model_pool_full_as_written() -> None:
    pool = pool_of(2.0, max_size_gb=5.0)
    model1 = pool.load("model_1")
    pool.load("model_2")
    pool.load("model_3")
    _ = model1
    pool.load("model_4")
    assert pool.is_loaded("model_1")
    assert not pool.is_loaded("model_2")
    assert pool.is_loaded("model_3")
    assert pool.is_loaded("model_4")


def test_a_model_larger_than_the_pool_is_refused() -> None:
    """The document's `_evict_one` would call `min()` of nothing."""
    pool = pool_of({"huge": 7.1}, max_size_gb=5.0)
    with pytest.raises(OutOfMemoryError) as refused:
        pool.load("huge")
    assert refused.value.message == "huge needs 7.1 GB, and the memory budget is 5.0 GB."
