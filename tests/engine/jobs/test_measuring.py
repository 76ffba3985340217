"""The memory levels measured on this machine as one job: what it finds, who learns from it, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConflictError, SpecError
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel
from engine.protocol.commands import GetJob, SearchHistory
from engine.protocol.jobs import FINISHED
from engine.protocol.memory import MemoryView
from engine.protocol.memory_commands import GetMemory, MeasureLevels, PinModel
from tests.engine.jobs.conftest import Studio, studio_on
from tests.engine.jobs.test_levels import SPEC
from tests.engine.jobs.test_out_of_memory import failing
from tests.support.studio_data import TINY, make_settings

LEVELS = ["none", "balanced", "aggressive", "ultra"]
SMALL = {"width": 64, "height": 64}


def measured(studio: Studio, **asked: object) -> MemoryView:
    job_id = studio.call(MeasureLevels(**{"model": TINY, **SMALL, **asked})).measured.job_id
    studio.wait(lambda: studio.call(GetJob(job_id=job_id)).status in FINISHED)
    return studio.call(GetMemory())


def test_every_level_is_measured_and_everybody_learns(studio: Studio) -> None:
    before = {each.level: each for each in studio.memory().levels}
    assert not any(each.measured for each in before.values())
    found = measured(studio).measured
    assert (found.model, found.width, found.error, found.job_id) == (TINY, 64, "", "")
    assert [each.level for each in found.levels] == LEVELS
    for each in found.levels:
        assert each.seconds > 0
        assert each.cold_seconds > 0
        assert each.seconds == pytest.approx(found.levels[0].seconds * each.price)
        assert each.saved == found.levels[0].peak - each.peak
    assert {"sdpa_flash", "sdpa_math", "sliced"} <= {each.kernel for each in found.attention}
    shown = {each.level: each for each in studio.memory().levels}
    assert all(each.measured for each in shown.values())
    assert shown["ultra"].time_factor == pytest.approx(found.levels[3].price)


def test_it_keeps_no_pictures_and_leaves_the_machine_as_it_was(studio: Studio) -> None:
    pictures = len(studio.call(SearchHistory()).images)
    measured(studio)
    assert len(studio.call(SearchHistory()).images) == pictures
    assert studio.make(SPEC).status == "done"
    assert studio.memory().level == "auto"


def test_pinned_parts_count_for_the_model_that_is_measured(tmp_path: Path) -> None:
    """They stay in the pool when it is emptied, so nothing would show that the model takes them."""
    with studio_on(make_settings(tmp_path)) as studio:
        studio.call(PinModel(model=TINY))
        studio.idle()
        studio.bench.release_all()
        entry = studio.client._runtime.library.find_model(TINY)
        config = MemoryOptimizationConfig.from_level(OptimizationLevel.NONE)
        assert studio.bench.pooled_bytes_of(entry, config) == studio.pool.used_bytes > 0


def test_pictures_come_in_between(studio: Studio) -> None:
    job_id = studio.call(MeasureLevels(model=TINY, **SMALL)).measured.job_id
    assert studio.make(SPEC).status == "done"
    studio.wait(lambda: studio.call(GetJob(job_id=job_id)).status in FINISHED)
    assert studio.call(GetJob(job_id=job_id)).status == "done"


def test_it_is_canceled(studio: Studio) -> None:
    job_id = studio.call(MeasureLevels(model=TINY, width=512, height=512)).measured.job_id
    with pytest.raises(ConflictError, match="measured already"):
        studio.call(MeasureLevels(model=TINY))
    assert studio.call(MeasureLevels(cancel=True)).measured.model == TINY
    studio.wait(lambda: studio.call(GetJob(job_id=job_id)).status in FINISHED)
    assert studio.call(GetJob(job_id=job_id)).status == "canceled"
    with pytest.raises(ConflictError, match="Nothing is being measured"):
        studio.call(MeasureLevels(cancel=True))
    assert studio.make(SPEC).status == "done"


def test_a_level_that_does_not_fit_is_told_and_the_others_are_measured(tmp_path: Path) -> None:
    with studio_on(make_settings(tmp_path)) as studio:
        # The first picture reads the file; the next one is of the first level.
        studio.make(SPEC)
        with failing("UNet2DConditionModel", 1):
            found = measured(studio).measured
    assert found.levels
    assert any("does not fit under the level none" in note for note in found.notes)


def test_what_cannot_be_measured_is_one_sentence(studio: Studio) -> None:
    with pytest.raises(SpecError):
        studio.call(MeasureLevels(model="no such model"))
    with pytest.raises(SpecError):
        studio.call(MeasureLevels(model=TINY, width=7))
