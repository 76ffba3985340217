"""One studio on a data folder; a crash frees it; others can read who it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.client.data_lock import DataLock, current_holder
from engine.errors import ConflictError, StorageError
from tests.support.nobody import as_nobody, reachable_folder

ROOT = Path(__file__).parents[3]
HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from engine.client.data_lock import DataLock\n"
    "lock = DataLock(Path(sys.argv[1]))\n"
    "lock.acquire('http://127.0.0.1:7860')\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


def hold_in_another_process(folder: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_studio_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    state = tmp_path / "outputs" / ".easel"
    child = hold_in_another_process(state)
    try:
        holder = current_holder(state)
        assert holder is not None
        assert (holder.url, holder.pid) == ("http://127.0.0.1:7860", child.pid)
        with pytest.raises(ConflictError) as refused:
            DataLock(state).acquire("http://127.0.0.1:7861", patience=0)
        assert refused.value.code == "data_folder_in_use"
        assert "http://127.0.0.1:7860" in str(refused.value)
        assert "--data" in refused.value.hint
        assert current_holder(state) == holder, "a refused studio leaves what the other wrote"
    finally:
        child.kill()
        child.communicate()


def test_a_crash_frees_the_folder(tmp_path: Path) -> None:
    child = hold_in_another_process(tmp_path)
    child.kill()
    child.communicate()
    assert current_holder(tmp_path) is None
    with DataLock(tmp_path) as lock:
        lock.acquire("http://127.0.0.1:7861")
        assert lock.held
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_releasing_frees_it_and_may_be_done_twice(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path), DataLock(tmp_path)
    first.acquire("one")
    first.release()
    first.release()
    second.acquire("two")
    second.release()


def test_a_shorter_address_replaces_a_longer_one_completely(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    lock.acquire("http://127.0.0.1:7860/a/very/long/address")
    lock.tell("http://x")
    assert json.loads((tmp_path / "lock").read_text())["url"] == "http://x"
    lock.release()


def test_two_names_are_two_locks(tmp_path: Path) -> None:
    with DataLock(tmp_path) as studio, DataLock(tmp_path, "engine.lock") as engine:
        studio.acquire("a")
        engine.acquire("b")


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert current_holder(tmp_path / "outputs" / ".easel") is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    with pytest.raises(StorageError) as refused:
        DataLock(tmp_path / "outputs" / ".easel").acquire("")
    assert refused.value.code == "disk_error"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no read-only folders")
def test_a_folder_without_permission_is_one_sentence() -> None:
    with reachable_folder() as folder:
        folder.chmod(0o777)
        with as_nobody(), DataLock(folder, "other.lock") as lock:
            lock.acquire("")
        folder.chmod(0o555)
        with as_nobody(), pytest.raises(StorageError) as refused:
            DataLock(folder).acquire("")
        assert refused.value.code == "disk_read_only"
        assert list(folder.iterdir()) == [folder / "other.lock"]
