"""The memory room wired into a running engine: levels, staged loading, peaks, pins."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from engine.jobs import peaks as peaks_of_jobs
from engine.jobs.levels import LevelKeeper
from engine.memory.levels import OptimizationLevel
from engine.memory.meter import private_bytes
from engine.protocol.memory_commands import PinModel
from engine.protocol.specs import GenerationSpec
from tests.engine.jobs.conftest import Studio, studio_on
from tests.engine.jobs.test_levels import SPEC
from tests.engine.jobs.test_out_of_memory import failing
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_tiny_sd1

MIB = 1024**2
# What the allocator keeps or not, from run to run: much beside the starter's 0.2 GiB, nothing beside a model of 4.
HEAP = 24 * MIB


def test_after_three_runs_the_forecast_is_what_a_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the starter model, at a size whose activations are large against what else the process does."""
    # One more is measured, to compare.
    monkeypatch.setattr(peaks_of_jobs, "ENOUGH", 4)
    spec = GenerationSpec(
        prompt="a red apple", steps=3, width=512, height=512, seed=1, sampler="euler", model="starter"
    )
    peaks: list[int] = []
    with studio_on(make_settings(tmp_path)) as studio:
        kept = studio.desk.record_peak
        studio.desk.record_peak = lambda *given: (peaks.append(given[3]), kept(*given))
        for _ in range(4):
            studio.make(spec)
            studio.idle()
        forecast = studio.desk.forecast(spec)
        assert forecast.measured
        studio.make(spec)
        studio.idle()
    assert len(peaks) == 4, "the first job of a process imports libraries and is no measure"
    assert peaks[-1] <= 1.05 * forecast.peak + HEAP
    assert forecast.peak <= 1.10 * peaks[-1] + HEAP


def test_a_pinned_model_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    write_tiny_sd1(tmp_path / "models" / "checkpoints" / "other", seed=5)
    with studio_on(settings) as studio:
        studio.call(PinModel(model="other"))
    with studio_on(settings) as studio:
        pinned = {entry.title for entry in studio.memory().entries if entry.tier == "pinned"}
    assert pinned == {"other"}


def test_the_level_returns_when_memory_is_back(tmp_path: Path) -> None:
    with studio_on(make_settings(tmp_path)) as studio:
        with failing("UNet2DConditionModel", 2):
            job = studio.make(SPEC)
        assert job.status == "done"
        assert [notice.code for notice in job.notices if notice.code.startswith("memory")] == [
            "memory_released",
            "memory_level_lowered",
        ]
        assert job.evaluations == SPEC.steps
        assert studio.memory().effective_level == "balanced"
        made = [studio.make(SPEC) for _ in range(3)]
        assert studio.memory().effective_level == "none"
        assert any(notice.code == "memory_level_raised" for each in made for notice in each.notices)


def test_a_plan_is_made_once_for_a_setting(tmp_path: Path) -> None:
    with studio_on(make_settings(tmp_path)) as studio:
        studio.make(SPEC)
        asked: list[object] = []
        plan = studio.desk.plan
        studio.desk.plan = lambda *given, **named: (asked.append(given), plan(*given, **named))[1]
        for _ in range(3):
            studio.make(SPEC)
        assert asked == []


def test_nobody_is_overruled_by_a_floor(tmp_path: Path) -> None:
    with studio_on(make_settings(tmp_path)) as studio:
        keeper: LevelKeeper = studio.worker._levels
        keeper.begin("", SPEC)
        keeper.ran_out(OptimizationLevel.AGGRESSIVE)
        assert keeper.begin("", SPEC).level is OptimizationLevel.AGGRESSIVE
        studio.level("none")
        assert keeper.follow([SPEC]).level is OptimizationLevel.NONE


@pytest.mark.parametrize(
    ("switches", "pictures", "failures"),
    [(6, 20, 4), pytest.param(50, 200, 20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_memory_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switches: int, pictures: int, failures: int
) -> None:
    """Whatever happened, the process holds what the pool says it holds."""
    # pytest keeps what is logged, and with the tracebacks of failures the models that they met.
    monkeypatch.setattr(logging.getLogger("easel.worker"), "disabled", True)
    write_tiny_sd1(tmp_path / "models" / "checkpoints" / "other", seed=5)
    spec = SPEC.model_copy(update={"steps": 2})
    with studio_on(make_settings(tmp_path)) as studio:
        # What is imported and kept once, at the first failure too, is no leak.
        with failing("UNet2DConditionModel", 100):
            assert studio.make(spec).status == "failed"
        _load(studio, spec)
        base = _at_rest(studio)
        for index in range(switches):
            studio.make(spec.model_copy(update={"model": ("other", TINY)[index % 2]}))
        switched = _at_rest(studio)
        for index in range(pictures):
            studio.make(spec.model_copy(update={"seed": index}))
        painted = _at_rest(studio)
        for _ in range(failures):
            with failing("UNet2DConditionModel", 100):
                assert studio.make(spec).status == "failed"
        # A failure lets the models go; small weights leave their places in the heap to the next ones.
        _load(studio, spec)
        failed = _at_rest(studio)
    for later in (switched, painted, failed):
        assert later <= 1.05 * base, [each // MIB for each in (base, switched, painted, failed)]


def _load(studio: Studio, spec: GenerationSpec) -> None:
    """Both models are in the pool."""
    for model in (TINY, "other", TINY):
        assert studio.make(spec.model_copy(update={"model": model})).status == "done"


def _at_rest(studio: Studio) -> int:
    """Private bytes that the pool does not account for."""
    studio.idle()
    studio.bench.clean_up()
    return private_bytes() - studio.pool.used_bytes
