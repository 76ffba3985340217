"""The ladder after out of memory: it always ends, always gets harder, and tells every step."""

from __future__ import annotations

import pytest

from engine.memory.ladder import Rung, next_step, raised_again
from engine.memory.levels import OptimizationLevel

NONE, BALANCED, AGGRESSIVE, ULTRA = OptimizationLevel


def climb(rung: Rung, stage: str = "denoise") -> list[str]:
    actions: list[str] = []
    while True:
        step = next_step(rung, stage=stage, largest_size=(512, 384), largest_batch=2)  # type: ignore[arg-type]
        actions.append(step.action)
        assert len(actions) < 30
        if step.action == "refuse":
            assert step.error is not None
            assert step.error.code == "out_of_memory"
            assert "512 × 384" in step.error.hint
            return actions
        assert step.notice is not None
        assert step.notice.message.endswith(".")
        assert step.rung != rung
        rung = step.rung


def test_the_order() -> None:
    assert climb(Rung(NONE, batch=2)) == [
        "release", "level", "release", "level", "release", "level", "release",
        "tile", "batch", "release", "dtype", "release", "refuse",
    ]  # fmt: skip


def test_while_decoding_tiles_come_first() -> None:
    assert climb(Rung(BALANCED), "decode")[:3] == ["release", "tile", "level"]


@pytest.mark.parametrize("level", list(OptimizationLevel))
@pytest.mark.parametrize("batch", [1, 2, 7, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_it_ends_from_everywhere(level: OptimizationLevel, batch: int, dtype: str) -> None:
    actions = climb(Rung(level, batch=batch, dtype=dtype))
    assert ("dtype" in actions) == (dtype == "float32")


def test_a_refusal_without_a_forecast_still_says_what_to_do() -> None:
    step = next_step(Rung(ULTRA, released=True, tiled=True, dtype="bfloat16"))
    assert step.action == "refuse"
    assert step.error is not None
    assert step.error.hint


def test_the_level_comes_back_when_there_is_room() -> None:
    assert raised_again(ULTRA, NONE, fits=True, quiet_jobs=2)
    assert not raised_again(ULTRA, NONE, fits=True, quiet_jobs=1)
    assert not raised_again(ULTRA, NONE, fits=False, quiet_jobs=5)
    assert not raised_again(NONE, NONE, fits=True, quiet_jobs=5)
