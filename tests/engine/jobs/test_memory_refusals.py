"""What memory refuses or warns of: one sentence and a stable code each, and the engine goes on."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConflictError, OutOfMemoryError, SpecError, StudioError
from engine.library.stamps import stamp_of
from engine.protocol.memory_commands import Forecast, PinModel, ReleaseMemory, SetLevel
from tests.engine.jobs.conftest import Studio, studio_on
from tests.engine.jobs.test_levels import SPEC, at_step
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_single_file

SINGLE = "single"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("refusals")
    settings = make_settings(folder)
    checkpoints = folder / "models" / "checkpoints"
    write_single_file(checkpoints / TINY, checkpoints / f"{SINGLE}.safetensors")
    with studio_on(settings) as opened:
        yield opened


def refused(studio: Studio, command: Any, kind: type[StudioError]) -> StudioError:
    with pytest.raises(kind) as caught:
        studio.call(command)
    error = caught.value
    assert error.message.strip().endswith(".")
    assert "Traceback" not in error.message
    return error


def told(studio: Studio) -> list[str]:
    return [event.message for event in studio.memory().events if event.kind == "refused"]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_budget_that_is_no_number(studio: Studio, wrong: float) -> None:
    with pytest.raises(SpecError) as caught:
        studio.desk.set_level(pool_gb=wrong)
    assert caught.value.code == "memory_budget_out_of_range"


@pytest.mark.parametrize("wrong", [1e9, -1.0])
def test_a_budget_that_cannot_be(studio: Studio, wrong: float) -> None:
    before = studio.memory()
    error = refused(studio, SetLevel(pool_gb=wrong, level="ultra"), SpecError)
    assert error.code == "memory_budget_out_of_range"
    after = studio.memory()
    assert (after.pool_gb, after.level) == (before.pool_gb, before.level), "nothing has changed"


def test_a_budget_of_zero_chooses_by_itself(studio: Studio) -> None:
    assert studio.call(SetLevel(pool_gb=0)).pool_limit > 0


def test_an_unknown_policy_or_level(studio: Studio) -> None:
    with pytest.raises(SpecError) as caught:
        studio.desk.set_level(policy="random")
    assert caught.value.code == "memory_policy_unknown"
    assert "score" in caught.value.hint
    with pytest.raises(SpecError) as caught:
        studio.desk.set_level("extreme")
    assert caught.value.code == "memory_level_unknown"
    assert studio.memory().policy == "score"


def test_what_is_in_use_is_not_evicted(studio: Studio) -> None:
    studio.level("none")
    keys: list[str] = []

    def look(_: Any) -> None:
        keys.extend(entry.key for entry in studio.desk.view().entries if entry.part == "unet" and entry.leases)
        with pytest.raises(ConflictError) as caught:
            studio.desk.release(keys[0])
        assert caught.value.code == "in_use"
        assert "is in use and stays" in caught.value.message

    with at_step(2, look):
        assert studio.make(SPEC).status == "done"
    assert keys
    studio.level("auto")


def test_more_pins_than_fit(studio: Studio) -> None:
    studio.make(SPEC)
    studio.idle()
    studio.call(SetLevel(pool_gb=0.0005))
    try:
        error = refused(studio, PinModel(model=TINY), OutOfMemoryError)
        assert error.code == "pins_larger_than_budget"
        assert studio.desk.pinned_models == []
    finally:
        studio.call(SetLevel(pool_gb=0))
    assert studio.make(SPEC).status == "done"


def test_what_is_not_there(studio: Studio) -> None:
    assert refused(studio, ReleaseMemory(key="0123"), ConflictError).code == "not_loaded"
    assert refused(studio, PinModel(model="nothing like it"), SpecError).code == "model_unknown"
    assert refused(studio, PinModel(), SpecError).code == "bad_request"


@pytest.mark.parametrize(("size", "code"), [(99999, "size_out_of_range"), (63, "size_not_multiple")])
def test_of_a_size_that_is_refused_nothing_is_forecast(studio: Studio, size: int, code: str) -> None:
    for side in ("width", "height"):
        error = refused(studio, Forecast(spec=SPEC.model_copy(update={side: size})), SpecError)
        assert error.code == code
    assert studio.call(Forecast(spec=SPEC.model_copy(update={"width": None, "height": None}))).fits


def test_a_file_that_changes_while_it_is_loaded(studio: Studio) -> None:
    path = studio.settings.models_dir / "checkpoints" / f"{SINGLE}.safetensors"
    spec = SPEC.model_copy(update={"model": SINGLE})
    first = studio.picture(studio.make(spec))
    studio.idle()
    before = stamp_of(path)
    os.utime(path, ns=(1, 1))
    assert stamp_of(path) != before
    studio.desk.care._files.look()
    assert any("was changed on the disk while it is loaded" in message for message in told(studio))
    studio.client._runtime.library.refresh()
    assert (studio.picture(studio.make(spec)) == first).all(), "it is read again, and painted with"


def test_bytes_that_went_wrong(studio: Studio, tmp_path: Path) -> None:
    path = studio.settings.models_dir / "checkpoints" / f"{SINGLE}.safetensors"
    studio.make(SPEC.model_copy(update={"model": SINGLE}))
    library = studio.client._runtime.library
    assert library.wait_for_hashes(60)
    assert library.find_model(SINGLE).view.hash == hashlib.sha256(path.read_bytes()).hexdigest()
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"oops")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    studio.desk.care._files.look()
    assert any("holds other bytes than when it was first read" in message for message in told(studio))
    assert studio.make(SPEC).status == "done"
