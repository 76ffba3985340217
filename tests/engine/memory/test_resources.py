"""What the machine has: faked machines, this one, and container limits as the kernel writes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import SpecError
from engine.memory.budget import pool_budget
from engine.memory.cgroup import memory_limit
from engine.memory.resources import detect_resources
from tests.support.fake_machine import GIB, FakeProbe, card, no_card


def test_this_machine() -> None:
    resources = detect_resources()
    assert resources.total_ram_gb >= resources.available_ram_gb > 0
    assert (resources.total_vram_gb > 0) == (resources.has_cuda or resources.has_mps)
    assert resources.compute_dtypes
    assert resources.attention


def test_free_vram_is_the_drivers() -> None:
    resources = card(12, free=7.5)
    assert (resources.total_vram_gb, resources.available_vram_gb) == (12, 7.5)
    assert resources.device == "cuda"
    assert resources.has_gpu


def test_a_gpu_can_be_left_out_of_account() -> None:
    assert detect_resources(FakeProbe(vram=12), device="cpu").device == "cpu"
    assert detect_resources(FakeProbe(mps=12), device="cpu").device == "cpu"


@pytest.mark.parametrize(("capability", "first"), [((7, 5), "float16"), ((8, 6), "bfloat16"), ((8, 9), "bfloat16")])
def test_formats_by_generation(capability: tuple[int, int], first: str) -> None:
    resources = card(8, capability=capability)
    assert resources.compute_dtypes[0] == first
    assert "float8_e4m3fn" in resources.storage_dtypes


def test_attention_kernels_are_named_best_first() -> None:
    assert card(8, packages=frozenset({"flash_attn", "xformers"})).attention == (
        "flash_attn",
        "xformers",
        "sdpa_flash",
        "sdpa_efficient",
        "sdpa_math",
    )
    assert card(8, capability=(7, 5)).attention == ("sdpa_efficient", "sdpa_math")
    assert card(8, capability=(7, 5)).efficient_attention
    assert not detect_resources(FakeProbe(mps=16)).efficient_attention


def test_apples_gpu_shares_its_memory() -> None:
    resources = detect_resources(FakeProbe(mps=12, memory=16, memory_free=5))
    assert resources.has_mps
    assert resources.unified
    assert not resources.has_gpu
    assert resources.available_vram_gb == 5


def test_a_container_counts_as_the_machine() -> None:
    resources = detect_resources(FakeProbe(memory=64, limit=6))
    assert (resources.total_ram_gb, resources.available_ram_gb) == (6, 6)
    assert detect_resources(FakeProbe(memory=4, limit=6)).total_ram_gb == 4


def test_the_tightest_group_limits(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/app/worker\n")
    write(tmp_path / "sys/fs/cgroup/app/worker/memory.max", "max\n")
    write(tmp_path / "sys/fs/cgroup/app/memory.max", f"{4 * GIB}\n")
    write(tmp_path / "sys/fs/cgroup/app/memory.current", f"{3 * GIB}\n")
    write(tmp_path / "sys/fs/cgroup/app/memory.stat", f"anon 1\ninactive_file {GIB}\n")
    write(tmp_path / "sys/fs/cgroup/memory.max", f"{16 * GIB}\n")
    found = memory_limit(tmp_path)
    assert found is not None
    assert (found.limit, found.used, found.available) == (4 * GIB, 2 * GIB, 2 * GIB)


def test_the_first_version_of_groups(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "9:memory:/docker/abc\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2 * GIB}\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{GIB}\n")
    found = memory_limit(tmp_path)
    assert found is not None
    assert found.available == GIB


def test_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_limit(tmp_path) is None


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_budgets_leave_room_for_activations() -> None:
    assert pool_budget(card(10, free=10)).work == 7 * GIB
    assert pool_budget(card(10, free=10)).rest == 16 * GIB
    assert pool_budget(no_card(32)).work == 16 * GIB
    assert pool_budget(no_card(32)).rest == 0
    assert pool_budget(card(10), 5).work == 5 * GIB


@pytest.mark.parametrize("asked", [-1, 11, float("nan"), float("inf")])
def test_a_budget_that_cannot_be_is_one_sentence(asked: float) -> None:
    with pytest.raises(SpecError) as refused:
        pool_budget(card(10), asked)
    assert refused.value.code == "memory_budget_out_of_range"
    assert "10.0 GB" in refused.value.message


def test_what_plans_and_ranks_needs_no_torch() -> None:
    modules = (
        "eviction preload levels plan correction ladder activations parts pool steps budget views desk monitor meter"
    )
    code = f"import sys, engine.memory, {', '.join('engine.memory.' + name for name in modules.split())}\n"
    code += "sys.exit(int('torch' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_public_names() -> None:
    import engine.memory

    names = """MemoryManager SystemResources MemoryMonitor ModelPool EvictionPolicy LoadedModel OffloadStrategy
    ModelOffloader OffloadConfig LoadingStrategy GenerationStep DTypePolicy QuantizationEngine EfficientAttention
    OptimizationLevel MemoryOptimizationConfig MemoryOptimizer"""
    for name in names.split():
        assert getattr(engine.memory, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = engine.memory.Nothing
