"""The one module that knows systems apart, on this one and on faked ones."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import platform

ROOT = Path(__file__).parents[2]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[platform.System], None]:
    """Pretend to be on another system."""
    return lambda name: monkeypatch.setattr(platform, "system", lambda: name)


@pytest.mark.parametrize(
    ("name", "expected"), [("win32", "windows"), ("darwin", "macos"), ("linux", "linux"), ("freebsd14", "linux")]
)
def test_every_system_is_one_of_three(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", name)
    assert platform.system() == expected


def test_the_interpreter_of_an_environment(on: Callable[[platform.System], None]) -> None:
    on("linux")
    assert platform.venv_python(Path("x")) == Path("x/bin/python")
    on("windows")
    assert platform.venv_python(Path("x")) == Path("x/Scripts/python.exe")


@pytest.mark.skipif(os.name == "nt", reason="POSIX replaces the process")
def test_on_posix_the_process_is_replaced() -> None:
    code = (
        "import os, sys\n"
        "from engine import platform\n"
        "print(os.getpid(), flush=True)\n"
        "platform.become([sys.executable, '-c', 'import os; print(os.getpid(), os.environ[\"X\"])'], {'X': 'y'})\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    first, second = out.splitlines()
    assert second == f"{first} y"


def test_on_windows_a_child_runs_and_its_status_is_passed_on(on: Callable[[platform.System], None]) -> None:
    on("windows")
    with pytest.raises(SystemExit) as ended:
        platform.become([sys.executable, "-c", "import sys; sys.exit(7)"], dict(os.environ))
    assert ended.value.code == 7


def test_a_background_child_is_apart_from_the_terminal(on: Callable[[platform.System], None]) -> None:
    on("linux")
    assert platform.background_options() == {"start_new_session": True}
    on("windows")
    flags = platform.background_options()["creationflags"]
    assert flags & 0x200, "a process group of its own, or Ctrl+C would end it"
    assert flags & 0x4000, "below normal priority"


@pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX")
def test_killing_takes_the_children_along() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()",
        ],
        stdout=subprocess.PIPE,
        text=True,
        **platform.background_options(),
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert platform.process_alive(child)
    platform.kill_tree(parent.pid)
    assert parent.wait() == -signal.SIGKILL
    # The pipe ends only when the child, which inherited it, is gone too.
    assert parent.stdout.read() == ""
    platform.kill_tree(parent.pid)


def test_on_windows_killing_and_asking_use_its_own_tools(
    on: Callable[[platform.System], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on("windows")
    asked: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout='"python.exe","42","Console"', stderr="")

    monkeypatch.setattr(platform.subprocess, "run", run)
    platform.kill_tree(42)
    assert platform.process_alive(42)
    assert not platform.process_alive(43)
    assert asked[0] == ["taskkill", "/T", "/F", "/PID", "42"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "ended with exit code 3"),
        (-signal.SIGKILL, "was killed (often for lack of memory)"),
        (137, "was killed (often for lack of memory)"),
        (-signal.SIGTERM, "was told to stop"),
        (-signal.SIGSEGV, "crashed (SIGSEGV)"),
        (-250, "crashed (signal 250)"),
    ],
)
def test_an_exit_status_in_words(code: int, words: str) -> None:
    assert platform.exit_reason(code) == words


def test_a_crash_on_windows_in_words(on: Callable[[platform.System], None]) -> None:
    on("windows")
    assert platform.exit_reason(0xC0000005) == "crashed (0xC0000005)"


def test_the_leash_calls_when_standard_input_closes() -> None:
    code = (
        "import threading\n"
        "from engine import platform\n"
        "closed = threading.Event()\n"
        "platform.watch_stdin(closed.set)\n"
        "print('watching', flush=True)\n"
        "closed.wait(30) and print('closed', flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "watching\n"
    child.stdin.write("words that do not matter\n")
    child.stdin.close()
    assert child.stdout.readline() == "closed\n"
    assert child.wait() == 0


def test_on_windows_a_byte_far_behind_the_text_is_locked(
    on: Callable[[platform.System], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[int, int, int]] = []

    def locking(descriptor: int, mode: int, count: int) -> None:
        calls.append((mode, os.lseek(descriptor, 0, os.SEEK_CUR), count))
        if len(calls) > 1 and mode == 2:
            raise OSError(36, "deadlock avoided")

    fake = types.SimpleNamespace(locking=locking, LK_NBLCK=2, LK_UNLCK=0)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    on("windows")
    with open(tmp_path / "lock", "wb", buffering=0) as handle:
        assert platform.try_lock(handle)
        assert not platform.try_lock(handle)
        platform.unlock(handle)
    assert {call[1] for call in calls} == {1 << 30}


def test_caches_go_where_each_system_keeps_them(on: Callable[[platform.System], None]) -> None:
    on("linux")
    assert platform.cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/easel")
    assert platform.cache_dir({}).parts[-2:] == (".cache", "easel")
    on("macos")
    assert platform.cache_dir({}).parts[-3:] == ("Library", "Caches", "Easel")
    on("windows")
    assert platform.cache_dir({"LOCALAPPDATA": "/l"}) == Path("/l/Easel/Cache")


def test_a_port_in_use_is_not_claimed() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with platform.claimed_port("127.0.0.1", server.getsockname()[1]) as free:
            assert not free
    with platform.claimed_port("127.0.0.1", server.getsockname()[1] if server.fileno() > 0 else 0) as free:
        assert free


def test_cores_never_exceed_what_this_process_may_use() -> None:
    assert 1 <= platform.physical_cores() <= (os.cpu_count() or 1)


def test_hyper_threads_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for processor, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert platform._linux_cores(tmp_path) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    assert platform._linux_cores(tmp_path) == 1
    assert platform._linux_cores(tmp_path / "nothing") == 0


@pytest.mark.parametrize(("text", "cores"), [("max 100000", 0), ("250000 100000", 2), ("50000 100000", 1), ("?", 0)])
def test_a_container_quota_limits_the_cores(text: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert platform._linux_quota(tmp_path / "cpu.max") == cores


def test_windows_table_of_processors() -> None:
    pointer = struct.calcsize("P")
    size = 32 if pointer == 8 else 24

    def entry(kind: int) -> bytes:
        return struct.pack("P", 3) + struct.pack("<I", kind).ljust(size - pointer, b"\0")

    assert platform.count_windows_cores(entry(0) + entry(2) + entry(0) + entry(3)) == 2
    assert platform.count_windows_cores(b"") == 0
