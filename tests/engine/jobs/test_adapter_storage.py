"""Adapters kept in fewer bits by the whole engine: by the setting, and by themselves where memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.jobs.adapters import AdapterKey
from engine.memory.levels import OptimizationLevel
from engine.platform import MappedFiles, system
from engine.protocol.jobs import JobView
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.settings import Settings
from tests.engine.jobs.conftest import Studio, studio_on
from tests.engine.jobs.test_levels import at_step
from tests.support.likeness import psnr
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_adapters import write_tiny_lora

NAMES = ("ink", "wash")
SPEC = GenerationSpec(
    prompt="a fox",
    steps=4,
    width=64,
    height=64,
    seed=3,
    sampler="euler",
    guidance=3.0,
    adapters=tuple(AdapterRef(name=name) for name in NAMES),
)
BARE = SPEC.model_copy(update={"adapters": ()})
# Of the picture with an adapter in 8 bits against the one with the file's own numbers.
STATED = 45.0


def write(folder: Path, storage: str = "auto") -> Settings:
    settings = make_settings(folder)
    for seed, name in enumerate(NAMES):
        model = settings.models_dir / "checkpoints" / TINY
        write_tiny_lora(settings.models_dir / "loras" / f"{name}.safetensors", model, seed=seed, rank=8, strength=1.0)
    memory = settings.memory.model_copy(update={"adapter_storage": storage})
    return settings.model_copy(update={"memory": memory})


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio_on(write(tmp_path_factory.mktemp("auto"))) as opened:
        yield opened


def told(job: JobView) -> list[str]:
    return [notice.message for notice in job.notices if notice.code == "precision_lowered"]


def kept(studio: Studio) -> set[str | None]:
    return {entry.key.storage for entry in studio.pool.entries() if isinstance(entry.key, AdapterKey)}


def test_with_room_they_are_kept_as_their_files_have_them(studio: Studio) -> None:
    job = studio.make(SPEC)
    assert (told(job), kept(studio)) == ([], {None})


def test_short_of_memory_they_are_kept_in_8_bits_and_the_picture_is_nearly_the_same(studio: Studio) -> None:
    bare, whole = studio.picture(studio.make(BARE)), studio.picture(studio.make(SPEC))
    studio.idle()
    sizes = [entry.nbytes for entry in studio.pool.entries() if isinstance(entry.key, AdapterKey)]
    before = studio.pool.budget_bytes
    for entry in studio.pool.entries():
        if isinstance(entry.key, AdapterKey):
            studio.pool.evict(entry.key, rest=False)
    # Room for the model and four fifths of what the two adapters are in their files.
    studio.pool.budget_bytes = studio.pool.used_bytes + int(sum(sizes) * 0.8)
    try:
        job = studio.make(SPEC)
        assert kept(studio) >= {"int8"}
        assert len(told(job)) == 1, "one sentence, however many"
        assert "8 bits" in told(job)[0]
        assert "%" in told(job)[0]
        small = studio.picture(job)
        assert psnr(bare, whole) < 35, "the adapters are seen"
        near = psnr(whole, small)
        assert STATED < near < 100
    finally:
        studio.pool.budget_bytes = before


def test_the_level_that_rounds_weights_rounds_adapters_too(studio: Studio) -> None:
    studio.level("ultra")
    try:
        job = studio.make(SPEC)
        assert "ink, wash are kept in 8 bits" in told(job)[0]
    finally:
        studio.level("none")
    assert told(studio.make(SPEC)) == []


@pytest.mark.parametrize(("storage", "word"), [("int8", "8 bits"), ("file", "")])
def test_the_setting_decides(storage: str, word: str, tmp_path: Path) -> None:
    with studio_on(write(tmp_path, storage)) as studio:
        said = told(studio.make(SPEC))
        assert (word in said[0]) if word else said == []
        assert told(studio.make(BARE)) == []


@pytest.mark.parametrize(
    ("storage", "level"), [("auto", "none"), ("auto", "ultra"), ("file", "ultra"), ("float16", "none")]
)
def test_the_forecast_counts_what_is_kept(storage: str, level: str, tmp_path: Path) -> None:
    with studio_on(write(tmp_path, storage)) as studio:
        studio.level(level)
        entry = studio.client._runtime.library.find_model(TINY)
        plan = studio.desk.plan(entry, studio.desk.adviser.work_of(SPEC, entry), level=OptimizationLevel(level))

        def held(unet: Any) -> int:
            return sum(each.nbytes for each in studio.pool.entries() if isinstance(each.key, AdapterKey))

        with at_step(2, held) as seen:
            assert studio.make(SPEC).status == "done"
        assert seen[0] > 0
        assert plan.bands["adapters"] == pytest.approx(seen[0], rel=0.02)


@pytest.mark.skipif(system() != "linux", reason="only there it can be seen what lies in a file")
def test_where_memory_is_short_there_is_no_second_copy_of_the_models_own_weights(studio: Studio) -> None:
    """They are set aside where they lie: in the mapped file, which the system may drop and read again."""

    def look(unet: Any) -> tuple[int, int]:
        base = studio.bench._patched.of("unet", unet)._base
        files = MappedFiles()
        return base.nbytes, sum(own.nbytes for own in base._own.values() if files.holds(own.data_ptr(), own.nbytes))

    studio.level("aggressive")
    try:
        with at_step(2, look) as seen:
            assert studio.make(SPEC).status == "done"
    finally:
        studio.level("none")
    ((held, mapped),) = seen
    assert held > 0
    assert mapped == held
