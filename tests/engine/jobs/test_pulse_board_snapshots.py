"""The small values around the worker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.errors import StorageError
from engine.jobs.board import Board
from engine.jobs.pulse import Pulse
from engine.jobs.snapshots import SnapshotStore
from engine.protocol.jobs import Progress


def test_silence_is_counted_only_beyond_what_was_announced() -> None:
    clock = [100.0]
    pulse = Pulse(lambda: clock[0], lambda: 0.0)
    clock[0] += 7
    assert pulse.age() == 7
    with pulse.allow(60):
        clock[0] += 50
        assert pulse.age() == 0
        clock[0] += 30
        assert pulse.age() == 27
    assert pulse.age() == 0
    clock[0] += 3
    pulse.beat()
    assert pulse.age() == 0


def test_who_computes_does_not_hang_for_ten_minutes() -> None:
    clock, cpu = [100.0], [5.0]
    pulse = Pulse(lambda: clock[0], lambda: cpu[0])
    clock[0] += 40
    cpu[0] += 20
    assert pulse.age() == 0, "one block of a large picture on a slow CPU"
    clock[0] += 600
    cpu[0] += 500
    assert pulse.age() == 40
    pulse.beat()
    clock[0] += 40
    cpu[0] += 1
    assert pulse.age() == 40, "it waits for something, forever perhaps"


def test_a_job_of_two_pictures_is_half_done_when_one_is_saved() -> None:
    board = Board()
    board.open("job", count=2, saved=0)
    board.picture("job", 0, stage="denoising", step=10, steps=10, done=10, total=10)
    progress = board.saved("job", 0)
    assert progress.fraction == 0.5
    assert progress.images_done == 1
    board.picture("job", 1, stage="denoising", step=5, steps=10, done=5, total=10)
    progress = _told(board.progress("job"))
    assert progress.fraction == 0.75
    assert (progress.step, progress.steps, progress.stage) == (5, 10, "denoising")


def test_pictures_of_an_earlier_run_count_as_done() -> None:
    board = Board()
    board.open("job", count=4, saved=3)
    progress = _told(board.picture("job", 3, stage="denoising", step=5, steps=10, done=5, total=10))
    assert progress.fraction == pytest.approx(0.875)


def test_time_left_is_told_from_the_pace_and_resumed_steps_took_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    board = Board()
    board.open("job", count=1, saved=0)
    board.resumed("job", 50)
    assert _told(board.picture("job", 0, stage="denoising", done=50, total=100)).eta_seconds is None
    clock[0] = 10.0
    assert _told(board.picture("job", 0, done=60, total=100)).eta_seconds == pytest.approx(40.0)


def test_moves_within_a_tenth_of_a_second_are_counted_but_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    board = Board()
    board.open("job", count=1, saved=0)
    assert board.picture("job", 0, stage="denoising", done=1, total=10) is not None
    clock[0] = 100.05
    assert board.picture("job", 0, done=2, total=10) is None
    assert _told(board.progress("job")).fraction == pytest.approx(0.2)
    clock[0] = 100.11
    assert _told(board.picture("job", 0, done=3, total=10)).fraction == pytest.approx(0.3)
    # Another stage is told at once.
    assert _told(board.picture("job", 0, stage="decoding")).stage == "decoding"


def _told(progress: Progress | None) -> Progress:
    assert progress is not None
    return progress


def test_a_skipped_picture_is_no_longer_waited_for() -> None:
    board = Board()
    board.open("job", count=2, saved=0)
    board.picture("job", 0, stage="denoising", done=5, total=10)
    board.drop("job", 1)
    progress = board.progress("job")
    assert progress is not None
    assert progress.fraction == 0.5


def test_a_closed_job_has_no_progress() -> None:
    board = Board()
    board.open("job", count=1, saved=0)
    board.close("job")
    assert board.progress("job") is None


def test_snapshots_are_replaced_read_and_forgotten(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshots")
    assert store.read("a") is None
    store.write("a", b"one")
    store.write("a", b"two")
    store.write("b", b"three")
    assert store.read("a") == b"two"
    store.keep_only(["b"])
    assert store.read("a") is None
    assert store.read("b") == b"three"
    store.forget("b")
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_a_disk_that_refuses_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("a file where the folder should be")
    with pytest.raises(StorageError) as caught:
        SnapshotStore(tmp_path / "snapshots").write("a", b"data")
    assert caught.value.code == "disk_error"
