"""The desk: sizes from real headers, forecasts of specs, pins, levels and wishes, and what lasts to the next start."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConflictError, OutOfMemoryError, SpecError
from engine.library.library import Library
from engine.loading.loader import ComponentKey, load_component, nbytes
from engine.memory.desk import MemoryDesk
from engine.memory.levels import OptimizationLevel
from engine.memory.meter import Usage
from engine.memory.parts import file_nbytes, sizes_of
from engine.memory.plan import Work
from engine.memory.pool import ModelPool
from engine.protocol.specs import GenerationSpec
from engine.settings import parse_settings
from engine.store.store import Store, open_store
from tests.support.fake_machine import GIB, FakeMeter, FakeProbe
from tests.support.tiny_models import write_single_file, write_tiny_sd1, write_tiny_sdxl

MIB = 1024**2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tiny SD 1 folder, a tiny SDXL folder and a single file."""
    root = tmp_path_factory.mktemp("desk")
    checkpoints = root / "models" / "checkpoints"
    folder = write_tiny_sd1(checkpoints / "tiny")
    write_tiny_sdxl(checkpoints / "tiny-xl")
    write_single_file(folder, checkpoints / "single.safetensors")
    return root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / ".easel")
    yield opened
    opened.close()


@pytest.fixture
def library(data: Path, store: Store) -> Iterator[Library]:
    found = Library(parse_settings({"paths": {"data": str(data)}, "engine": {"default_model": "tiny"}}), store.library)
    found.refresh()
    yield found
    found.close()


def desk_of(store: Store, library: Library, probe: FakeProbe | None = None, **options: Any) -> MemoryDesk:
    return MemoryDesk(store, library, probe=probe or FakeProbe(memory=16), **options)


def attached(desk: MemoryDesk, meter: FakeMeter | None = None, **options: Any) -> ModelPool:
    pool = ModelPool(on_change=desk.changed, **options)
    desk.attach(pool, meter or FakeMeter(), device="cpu", dtype="float32")
    return pool


def key(part: str, source: str = "/somewhere/tiny|1") -> ComponentKey:
    return ComponentKey(source, part, "float32")


def granting(pool: ModelPool) -> threading.Timer:
    """A worker that looks after a moment."""
    worker = threading.Timer(0.05, pool.attend)
    worker.start()
    return worker


@pytest.mark.parametrize("name", ["tiny", "tiny-xl", "single"])
def test_sizes_from_headers_are_what_is_loaded(library: Library, name: str) -> None:
    entry = library.find_model(name)
    sizes = sizes_of(entry)
    for part in (part for part in entry.family.parts if part in ("unet", "vae") or part.startswith("text_encoder")):
        loaded = nbytes(load_component(entry, part))
        assert sizes.nbytes(part, "float32") == pytest.approx(loaded, rel=0.05)
        assert sizes.nbytes(part, "bfloat16") * 2 == sizes.nbytes(part, "float32")
    assert sizes.latent_scale == 4
    assert 0 < sizes.largest_layer < 1


def test_a_files_bytes_by_format(library: Library) -> None:
    path = library.find_model("single").path
    assert file_nbytes(path) == file_nbytes(path, "float32")
    assert file_nbytes(path, "float16") * 2 == file_nbytes(path)


def test_a_forecast_of_a_spec(store: Store, library: Library) -> None:
    desk = desk_of(store, library, FakeProbe(vram=8))
    view = desk.forecast(GenerationSpec(prompt="x", width=64, height=64))
    assert view.fits
    assert view.model == "tiny"
    assert view.level == "none"
    assert {stage.stage for stage in view.stages} == {"encode", "denoise", "decode"}
    assert max(stage.peak for stage in view.stages) == view.peak
    assert sum(band.nbytes for band in view.bands) == pytest.approx(view.free, rel=0.01)
    assert desk.forecast(GenerationSpec(prompt="x"), "ultra").level == "ultra"
    with pytest.raises(SpecError):
        desk.forecast(GenerationSpec(prompt="x", model="nothing like it"))


def test_guidance_and_batches_count(store: Store, library: Library) -> None:
    adviser = desk_of(store, library).adviser
    entry = library.find_model("tiny")
    assert adviser.work_of(GenerationSpec(guidance=1.0, count=9, batch_size=4), entry).rows == 4
    assert adviser.work_of(GenerationSpec(guidance=7.0, count=2, batch_size=4), entry).rows == 4


def test_measured_peaks_improve_the_next_forecast(store: Store, library: Library) -> None:
    desk = desk_of(store, library, FakeProbe(vram=8))
    entry, work = library.find_model("tiny"), Work(64, 64)
    plan = desk.plan(entry, work)
    assert not plan.chosen.measured
    for peak in (300, 310, 305):
        desk.record_peak("tiny", plan.chosen, work, peak * MIB)
    again = desk.plan(entry, work)
    assert again.chosen.measured
    assert again.chosen.peak == pytest.approx(1.04 * 305 * MIB, abs=1)
    assert desk.forecast(GenerationSpec(width=64, height=64)).measured


def test_measured_times_are_shown(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    desk.experience.add_time(OptimizationLevel.NONE, 2.0)
    desk.experience.add_time(OptimizationLevel.BALANCED, 2.1)
    levels = {level.level: level for level in desk.view().levels}
    assert levels["balanced"].time_factor == pytest.approx(1.05)
    assert levels["balanced"].measured
    assert not levels["ultra"].measured


def test_the_view_before_and_after_there_is_a_worker(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    assert desk.view().pool_limit == 0
    pool = attached(desk)
    pool.lease(key("unet"), object, 10 * MIB).close()
    view = desk.view()
    assert view.pool_limit == 8 * GIB
    assert view.pool_used == 10 * MIB
    (entry,) = view.entries
    assert (entry.title, entry.part, entry.uses) == ("tiny", "unet", 1)
    assert "somewhere" not in view.model_dump_json()
    assert [event.kind for event in view.events] == ["loaded"]
    assert view.timeline


def test_release_is_done_by_the_worker(store: Store, library: Library) -> None:
    desk, meter = desk_of(store, library), FakeMeter()
    pool = attached(desk, meter)
    pool.lease(key("unet"), object, 10).close()
    held = pool.lease(key("vae"), object, 10)
    worker = granting(pool)
    desk.release()
    worker.join()
    assert [entry.part for entry in desk.view().entries] == ["vae"]
    assert meter.releases == 1
    assert desk.view().waiting == 0
    with pytest.raises(ConflictError) as refused:
        desk.release(desk.view().entries[0].key)
    assert refused.value.code == "in_use"
    held.close()
    with pytest.raises(ConflictError) as unknown:
        desk.release("no such key")
    assert unknown.value.code == "not_loaded"


def test_a_wish_that_nobody_has_seen_yet_is_told(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    pool = attached(desk)
    pool.lease(key("unet"), object, 10).close()
    began = time.monotonic()
    desk.release()
    assert time.monotonic() - began < 3
    assert desk.view().waiting == 1
    pool.lease(key("vae"), object, 10).close()
    assert desk.view().waiting == 0


def test_a_pin_holds_again_after_a_restart(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    pool = attached(desk)
    pool.lease(key("unet"), object, 10).close()
    worker = granting(pool)
    desk.pin(key=desk.view().entries[0].key)
    worker.join()
    assert desk.view().entries[0].tier == "pinned"
    later = desk_of(store, library)
    other = attached(later)
    other.lease(key("unet"), object, 10).close()
    other.lease(key("vae"), object, 10).close()
    assert {entry.part: entry.tier for entry in later.view().entries} == {"unet": "pinned", "vae": "on_demand"}


def test_a_pinned_model_is_remembered(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    attached(desk)
    desk.pin(model="tiny")
    assert desk_of(store, library).pinned_models == ["tiny"]
    desk.pin(model="tiny", pinned=False)
    assert desk.pinned_models == []


def test_pinning_more_than_fits_is_one_sentence(store: Store, library: Library) -> None:
    desk = desk_of(store, library, pool_gb=0.001)
    pool = attached(desk)
    pool.lease(key("unet"), object, 2**20).close()
    with pytest.raises(OutOfMemoryError) as refused:
        desk.pin(model="tiny")
    assert refused.value.code == "pins_larger_than_budget"
    with pytest.raises(SpecError):
        desk.pin()
    with pytest.raises(SpecError):
        desk.pin(key="a", model="b")


def test_settings_are_checked_changed_and_kept(store: Store, library: Library) -> None:
    desk = desk_of(store, library, level="balanced")
    pool = attached(desk)
    assert desk.level is OptimizationLevel.BALANCED
    worker = granting(pool)
    desk.set_level("ultra", "lfu", 2)
    worker.join()
    # On a busy machine the wish may have come after the granting thread's last look.
    pool.attend()
    view = desk.view()
    assert (view.level, view.policy, view.pool_limit) == ("ultra", "lfu", 2 * GIB)
    later = desk_of(store, library, level="balanced").view()
    assert (later.level, later.policy) == ("ultra", "lfu")
    for wrong in (-1.0, 17.0):
        with pytest.raises(SpecError) as refused:
            desk.set_level("none", None, wrong)
        assert refused.value.code == "memory_budget_out_of_range"
    assert desk.view().level == "ultra", "nothing has changed"


def test_a_budget_in_the_settings_that_cannot_be_does_not_stop_the_start(store: Store, library: Library) -> None:
    desk = desk_of(store, library, pool_gb=4000)
    attached(desk)
    view = desk.view()
    assert view.pool_limit == 8 * GIB
    assert view.events[0].kind == "refused"


def test_models_worth_loading_ahead(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    for _ in range(3):
        desk.used("tiny-xl")
    desk.used("tiny")
    assert desk.preloads({}, quiet=True) == []
    pool = attached(desk)
    assert desk.preloads({}, quiet=True) == ["tiny-xl", "tiny"]
    assert desk.preloads({"single": 1}, quiet=True)[0] == "single"
    assert desk.preloads({}, quiet=False) == []
    pool.lease(key("unet", "/x/tiny-xl|1"), object, 10).close()
    assert desk.preloads({}, quiet=True) == ["tiny"]


def test_what_was_freed_by_hand_is_not_loaded_ahead_before_it_is_used_again(store: Store, library: Library) -> None:
    desk = desk_of(store, library)
    attached(desk)
    desk.used("tiny")
    desk.used("tiny-xl")
    assert set(desk.preloads({}, quiet=True)) == {"tiny", "tiny-xl"}
    desk.release()
    assert desk.preloads({}, quiet=True) == []
    assert desk.preloads({"tiny-xl": 1}, quiet=True) == ["tiny-xl"]
    desk.used("tiny")
    assert desk.preloads({}, quiet=True) == ["tiny"]


def test_a_leak_is_hinted_at(store: Store, library: Library) -> None:
    desk, meter = desk_of(store, library), FakeMeter()
    attached(desk, meter)
    for index in range(8):
        meter.usage = Usage(ram=GIB + index * 50 * MIB)
        desk.rested()
    assert "has grown" in desk.view().hint
