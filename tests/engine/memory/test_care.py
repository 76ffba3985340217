"""What is looked after unasked: caches that age, quiet times, files behind loaded parts, models loaded ahead."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelFileError, OutOfMemoryError, SpecError, StudioError
from engine.jobs.controls import ControlKey
from engine.jobs.enlarging import UpscalerKey
from engine.library.library import Library
from engine.library.stamps import stamp_of
from engine.loading.loader import ComponentKey
from engine.memory.ahead import LoadAhead
from engine.memory.cache import ByteCache
from engine.memory.file_check import HOUR, FileCheck, file_of
from engine.memory.idle import IdleTimer
from engine.memory.pool import ModelPool
from engine.settings import parse_settings
from engine.store.store import open_store
from tests.support.tiny_models import write_tiny_sd1

MINUTE = 60.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Mover:
    """Moves nothing, but may."""

    def to_rest(self, value: Any) -> Any:
        return value

    def to_work(self, value: Any) -> Any:
        return value


# --- caches --------------------------------------------------------------------------------------------------------


def test_a_value_that_nobody_asks_for_grows_old() -> None:
    clock = Clock()
    cache: ByteCache[str] = ByteCache(100, ttl=60, clock=clock)
    cache.put("asked", "a", 10)
    cache.put("forgotten", "b", 10)
    clock.now += 50
    assert cache.get("asked") == "a"
    clock.now += 50
    assert (cache.get("forgotten"), cache.get("asked")) == (None, "a")
    assert (cache.nbytes, len(cache)) == (10, 1)
    clock.now += 61
    cache.expire()
    assert (cache.nbytes, len(cache)) == (0, 0)


def test_limits_change_live() -> None:
    cache: ByteCache[str] = ByteCache(100)
    for name in "abc":
        cache.put(name, name, 30)
    cache.limit(60, 0)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (None, "b", "c")
    cache.limit(0, 0)
    cache.put("d", "d", 1)
    assert (len(cache), cache.nbytes, cache.limit_bytes) == (0, 0, 0)


# --- quiet times ---------------------------------------------------------------------------------------------------


def filled(**options: Any) -> ModelPool:
    pool = ModelPool(1000, **options)
    for name in ("unet", "vae"):
        pool.lease(name, lambda: object(), 100).close()
    return pool


def test_after_a_quiet_time_what_is_not_pinned_rests_in_ram() -> None:
    clock, pool = Clock(), filled(mover=Mover(), rest_bytes=1000)
    pool.pin("vae")
    idle = IdleTimer(10, clock=clock)
    assert idle.attend(pool) == 0
    clock.now += 9 * MINUTE
    assert (idle.attend(pool), pool.used_bytes) == (0, 200)
    clock.now += MINUTE
    assert idle.attend(pool) == 100
    assert (pool.holds("vae"), pool.holds("unet"), pool.resting_bytes) == (True, False, 100)
    assert idle.attend(pool) == 0


def test_it_may_leave_ram_too() -> None:
    clock, pool = Clock(), filled(mover=Mover(), rest_bytes=1000)
    pool.evict("vae")
    idle = IdleTimer(10, ram=True, clock=clock)
    idle.attend(pool)
    clock.now += 11 * MINUTE
    assert idle.attend(pool) == 200
    assert pool.used_bytes + pool.resting_bytes == 0


def test_a_use_begins_the_quiet_time_anew() -> None:
    clock, pool = Clock(), filled(mover=Mover(), rest_bytes=1000)
    idle = IdleTimer(10, clock=clock)
    idle.attend(pool)
    clock.now += 9 * MINUTE
    lease = pool.lease("unet", object, 100)
    clock.now += 20 * MINUTE
    assert idle.attend(pool) == 0, "something is in use"
    lease.close()
    clock.now += 9 * MINUTE
    assert idle.attend(pool) == 0
    clock.now += 2 * MINUTE
    assert idle.attend(pool) == 200


def test_without_a_gpu_nothing_leaves_ram_unless_that_is_wished() -> None:
    for minutes, ram, freed in ((10, False, 0), (10, True, 200), (0, True, 0)):
        clock, pool = Clock(), filled()
        idle = IdleTimer(minutes, ram=ram, clock=clock)
        idle.attend(pool)
        clock.now += 11 * MINUTE
        assert idle.attend(pool) == freed


# --- files ---------------------------------------------------------------------------------------------------------


class Files:
    """A watched file, and what was told of it."""

    def __init__(self, path: Path, hours: float = 24.0) -> None:
        self.path = path
        self.key = ComponentKey(f"{path}|1", "unet", "float32")
        self.told: list[StudioError] = []
        self.known = hashlib.sha256(path.read_bytes()).hexdigest()
        self.asked = 0
        self.clock = Clock()
        self.check = FileCheck(lambda: [self.key], self.expected, self.told.append, hours=hours, clock=self.clock)
        self.check.seen(self.key)

    def expected(self, path: Path) -> str:
        self.asked += path == self.path
        return self.known


def damage(path: Path) -> None:
    """Other bytes, the same size and date."""
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(256)) * 64)
    return Files(path)


def test_a_file_that_is_what_it_was_is_hashed_once(files: Files) -> None:
    for _ in range(3):
        files.check.look()
    assert (files.told, files.asked) == ([], 1)
    files.clock.now += 25 * HOUR
    files.check.look()
    assert files.asked == 2


def test_other_bytes_under_the_same_date_are_one_sentence(files: Files) -> None:
    damage(files.path)
    for _ in range(3):
        files.clock.now += 25 * HOUR
        files.check.look()
    (error,) = files.told
    assert isinstance(error, ModelFileError)
    assert error.code == "model_file_damaged"
    assert "model.safetensors" in error.message


def test_a_file_that_changed_while_it_is_loaded_is_one_sentence(files: Files) -> None:
    files.path.write_bytes(b"another")
    files.check.look()
    files.check.look()
    assert [error.code for error in files.told] == ["model_file_changed"]
    # Loaded again, it is what it is now.
    files.known = hashlib.sha256(b"another").hexdigest()
    files.check.seen(files.key)
    files.check.look()
    assert len(files.told) == 1


def test_a_file_that_is_gone_is_one_sentence(files: Files) -> None:
    files.path.unlink()
    files.check.look()
    files.check.look()
    assert [error.code for error in files.told] == ["model_file_missing"]


def test_what_the_library_has_not_hashed_yet_is_asked_again(files: Files) -> None:
    files.known = ""
    files.check.look()
    files.check.look()
    assert (files.told, files.asked) == ([], 2)


@pytest.mark.parametrize("kind", ["ControlNet", "vae", "upscaler"])
def test_files_without_a_hash_of_the_library_are_compared_with_their_first_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.safetensors"
    path.write_bytes(bytes(range(256)) * 64)
    keys: dict[str, Any] = {
        "ControlNet": ControlKey(str(path), "1", "float32"),
        "vae": ComponentKey("", "vae", "float32", f"{path}|1"),
        "upscaler": UpscalerKey(str(path), "1"),
    }
    told: list[StudioError] = []
    clock = Clock()
    check = FileCheck(lambda: [keys[kind]], lambda path: None, told.append, clock=clock)
    check.seen(keys[kind])
    check.look()
    assert told == []
    damage(path)
    check.look()
    assert told == [], "it was looked at just now"
    clock.now += 25 * HOUR
    check.look()
    check.look()
    assert [error.code for error in told] == ["model_file_damaged"]


def folder_of(path: Path, parts: tuple[str, ...]) -> Path:
    """A folder with weights in these parts; "." is its top, as of a ControlNet, a VAE or an image encoder."""
    for part in parts:
        (path / part).mkdir(parents=True, exist_ok=True)
        (path / part / "diffusion_pytorch_model.safetensors").write_bytes(bytes(range(256)) * 64)
        (path / part / "config.json").write_text("{}")
    return path


@pytest.mark.parametrize("parts", [(".",), ("unet", "vae")], ids=["a component", "a whole model"])
def test_a_folder_that_is_damaged_is_one_sentence(tmp_path: Path, parts: tuple[str, ...]) -> None:
    folder = folder_of(tmp_path / "net", parts)
    key, told, clock = ControlKey(str(folder), "1", "float32"), list[StudioError](), Clock()
    check = FileCheck(lambda: [key], lambda path: None, told.append, clock=clock)
    check.seen(key)
    check.look()
    assert told == []
    damage(folder / parts[-1] / "diffusion_pytorch_model.safetensors")
    clock.now += 25 * HOUR
    check.look()
    assert [error.code for error in told] == ["model_file_damaged"]


def test_a_folder_that_is_replaced_is_another_source(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "net", (".",))
    before = stamp_of(folder)
    assert before
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"another")
    assert stamp_of(folder) != before


def test_checks_can_be_switched_off(tmp_path: Path, files: Files) -> None:
    never = Files(files.path, hours=0)
    damage(never.path)
    never.check.look()
    assert never.told == []


def test_keys_without_a_file_are_left_alone() -> None:
    assert file_of(("upscaler", "x")) is None
    assert file_of("a name") is None
    assert file_of(ComponentKey("", "vae", "float32", "/models/vae/soft.safetensors|1")) == Path(
        "/models/vae/soft.safetensors"
    )


# --- loading ahead -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    root = tmp_path_factory.mktemp("ahead")
    write_tiny_sd1(root / "models" / "checkpoints" / "tiny")
    store = open_store(root / ".easel")
    found = Library(parse_settings({"paths": {"data": str(root)}}), store.library)
    found.refresh()
    yield found
    found.close()
    store.close()


def test_a_model_is_loaded_ahead_by_the_worker(library: Library) -> None:
    posted: list[Callable[[], None]] = []
    loaded: list[str] = []
    ahead = LoadAhead(library, lambda entry: 100, lambda: 1000, lambda kind, message: None)
    ahead.ask("tiny")
    assert ahead.waiting == ("tiny",), "it waits for a worker"
    ahead.attach(posted.append, lambda entry: loaded.append(entry.view.title))
    ahead.ask("tiny")
    assert len(posted) == 1, "asked twice, loaded once"
    posted.pop()()
    assert (loaded, ahead.waiting) == (["tiny"], ())


def test_what_can_never_fit_or_is_not_there_is_refused_at_once(library: Library) -> None:
    ahead = LoadAhead(library, lambda entry: 100, lambda: 99, lambda kind, message: None)
    with pytest.raises(OutOfMemoryError, match="memory budget"):
        ahead.ask("tiny")
    with pytest.raises(SpecError):
        ahead.ask("no such model")
    assert ahead.waiting == ()


def test_a_load_that_fails_is_told(library: Library) -> None:
    told: list[tuple[str, str]] = []

    def fail(entry: Any) -> None:
        raise ModelFileError("model_file_truncated", "It ends too early.", "Fetch it again.")

    ahead = LoadAhead(library, lambda entry: 1, lambda: None, lambda kind, message: told.append((kind, message)))
    ahead.attach(lambda act: act(), fail)
    ahead.ask("tiny")
    assert told == [("refused", "It ends too early. Fetch it again.")]
    assert ahead.waiting == ()
