"""The memory benchmark's GPU half at toy size on a CPU: the same code, without the numbers."""

from __future__ import annotations

import pytest

from benchmarks import memory_cuda
from benchmarks.memory_cuda import Copies, Found, Task
from tests.support.tiny_models import write_tiny_sdxl


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("bench")
    write_tiny_sdxl(folder / "models" / "checkpoints" / "tiny-xl")
    return Task(str(folder), "tiny-xl", side=64, steps=2, device="cpu", dtype="float32")


@pytest.mark.parametrize("level", memory_cuda.LEVELS)
def test_every_level_paints(task: Task, level: str) -> None:
    found = memory_cuda.easel(level, task)
    assert found.peak > 0
    assert found.seconds > 0


@pytest.mark.parametrize("way", memory_cuda.STOCK)
def test_stock_diffusers_paints_or_says_why_not(task: Task, way: str) -> None:
    found = memory_cuda.stock(way, task)
    assert (found.seconds > 0) != bool(found.refused)
    assert way != "plain" or found.seconds > 0


def test_copies_are_measured(task: Task) -> None:
    found = memory_cuda.copies("", task)
    assert found.block > 0
    assert found.unet > 0


def test_the_rows_have_the_goals_and_say_what_was_refused() -> None:
    easel = {level: Found(7 * 1024**3, 10.0 + place) for place, level in enumerate(memory_cuda.LEVELS)}
    stock = {"plain": Found(8 * 1024**3, 9.0), "enable_model_cpu_offload": Found(refused="no accelerator")}
    rows = {row.metric: row for row in memory_cuda.report(easel, stock, Copies(20e9, 10e9))}
    assert rows["SDXL 1024², none: VRAM peak"].holds
    assert rows["SDXL 1024², balanced: VRAM peak"].holds
    assert not rows["SDXL 1024², ultra: VRAM peak"].holds
    assert rows["SDXL 1024², balanced: time ÷ none"].value == pytest.approx(1.1)
    assert "stock diffusers, enable_model_cpu_offload: refused (no accelerator)" in rows
    assert not rows["a UNet from RAM to VRAM ÷ copy speed"].holds


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert list(memory_cuda.rows()) == []
    assert "no CUDA device here: this half was not run" in capsys.readouterr().out


def test_a_child_tells_what_it_found(task: Task) -> None:
    assert Copies(**memory_cuda._child("copies", "", task)).block > 0
    with pytest.raises(RuntimeError, match="ended with 1"):
        memory_cuda._child("easel", "no such level", task)
