"""What differs between Linux, macOS and Windows, in this one place.

Everything else in Easel is written once. Standard library only, because launch.py uses it before any package exists.
Functions ask `system()` when they are called, so tests can pretend to be on another system.
"""

from __future__ import annotations

import bisect
import ctypes
import importlib
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

System = Literal["linux", "macos", "windows"]

# Windows locks bytes against reading too, so the byte that carries a lock lies far behind the file's text.
_LOCK_BYTE = 1 << 30
_BELOW_NORMAL_PRIORITY_CLASS = 0x4000
_CREATE_NEW_PROCESS_GROUP = 0x200
_NICENESS = 5
_DONTNEED = 4


def system() -> System:
    """Which of the three systems this is; any other POSIX counts as Linux."""
    if sys.platform == "win32":
        return "windows"
    return "macos" if sys.platform == "darwin" else "linux"


def is_windows() -> bool:
    return system() == "windows"


# --- processes -----------------------------------------------------------------------------------------------------


def venv_python(venv: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return venv / "Scripts" / "python.exe" if is_windows() else venv / "bin" / "python"


def become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Let `command` take the place of this process; never returns.

    POSIX replaces the process (same pid, signals arrive directly). Windows cannot: there a child runs, Ctrl+C reaches
    it through the console, and this process ends with its exit status.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if not is_windows():
        os.execve(command[0], list(command), dict(environment))
    child = subprocess.Popen(list(command), env=dict(environment))
    while True:
        try:
            raise SystemExit(child.wait())
        except KeyboardInterrupt:
            # The child got the same Ctrl+C and is leaving; keep waiting for its status.
            continue


def background_options() -> dict[str, Any]:
    """Arguments for `subprocess.Popen` that start a child apart from the terminal's Ctrl+C, below normal priority.

    On POSIX the priority follows with `lower_priority(pid)`, since running code between fork and exec is unsafe in a
    process with threads.
    """
    if is_windows():
        return {"creationflags": _CREATE_NEW_PROCESS_GROUP | _BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}


def lower_priority(pid: int) -> None:
    """Let other programs go before process `pid`; does nothing where that is refused or was done at the start."""
    if is_windows():
        return
    try:
        os.setpriority(os.PRIO_PROCESS, pid, _NICENESS)
    except OSError:
        return


def kill_tree(pid: int) -> None:
    """End a process that was started with `background_options` and all its children, at once and without asking."""
    if is_windows():
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # No such group any more (macOS says "not permitted" for one whose members are all dead).
        return


def process_alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    if pid <= 0:
        return False
    if is_windows():
        answer = subprocess.run(
            ["tasklist", "/FI", f"PID eq {pid}", "/NH", "/FO", "CSV"], capture_output=True, text=True, check=False
        )
        return f'"{pid}"' in answer.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def exit_reason(code: int) -> str:
    """An exit status in words, such as "was killed (often for lack of memory)"."""
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return "was told to stop"
    if not is_windows() and code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "was killed (often for lack of memory)"
    if code < 0:
        try:
            return f"crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"crashed (signal {-code})"
    if is_windows() and code >= 0xC0000000:
        return f"crashed (0x{code:08X})"
    return f"ended with exit code {code}"


def watch_stdin(on_close: Callable[[], None]) -> threading.Thread:
    """Call `on_close` (in a thread of its own) when standard input closes: the leash on which a child is held.

    A parent that dies, however suddenly, closes its end of the pipe. Reads the descriptor itself: a thread that waits
    inside `sys.stdin`'s buffer would hold its lock and break the interpreter's exit.
    """

    def watch() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        on_close()

    thread = threading.Thread(target=watch, name="stdin-leash", daemon=True)
    thread.start()
    return thread


# --- files ---------------------------------------------------------------------------------------------------------


def try_lock(handle: IO[bytes]) -> bool:
    """Take the operating system's lock on an open file without waiting; False where another holds it.

    The system frees it when the file is closed or the process ends, however it ends.
    """
    if is_windows():
        locking = importlib.import_module("msvcrt")
        handle.seek(_LOCK_BYTE)
        try:
            locking.locking(handle.fileno(), locking.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    locking = importlib.import_module("fcntl")
    try:
        locking.flock(handle.fileno(), locking.LOCK_EX | locking.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(handle: IO[bytes]) -> None:
    """Free what `try_lock` took."""
    if is_windows():
        locking = importlib.import_module("msvcrt")
        handle.seek(_LOCK_BYTE)
        locking.locking(handle.fileno(), locking.LK_UNLCK, 1)
        return
    locking = importlib.import_module("fcntl")
    locking.flock(handle.fileno(), locking.LOCK_UN)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """While the block runs, others see that a process works on `path`, a file or folder that is there (`is_claimed`).

    The system ends it with the process, however that ends. The name may change meanwhile. Where the system has no such
    locks (Windows, some network disks) nothing happens.
    """
    if is_windows():
        yield
        return
    locking = importlib.import_module("fcntl")
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            locking.flock(handle, locking.LOCK_SH | locking.LOCK_NB)
        yield
    finally:
        os.close(handle)


def is_claimed(path: Path) -> bool | None:
    """Whether a process works on `path`; None where the system cannot tell. Raises OSError where it is gone."""
    if is_windows():
        return None
    locking = importlib.import_module("fcntl")
    handle = os.open(path, os.O_RDONLY)
    try:
        locking.flock(handle, locking.LOCK_EX | locking.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False


def cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The folder where this system keeps a program's caches, Easel's own name at its end; it may not exist yet."""
    env = os.environ if environment is None else environment
    if is_windows():
        base = env.get("LOCALAPPDATA")
        return Path(base) / "Easel" / "Cache" if base else Path.home() / "AppData" / "Local" / "Easel" / "Cache"
    if system() == "macos":
        return Path.home() / "Library" / "Caches" / "Easel"
    base = env.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "easel"


# --- network -------------------------------------------------------------------------------------------------------


@contextmanager
def claimed_port(host: str, port: int) -> Iterator[bool]:
    """Whether this process could listen on the port just now; held while the `with` block runs.

    POSIX lets a server take a port again right after its last connections closed (SO_REUSEADDR); on Windows the same
    option would share a port that is in use, so exclusive use is asked for instead.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if is_windows():
            probe.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR), 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except (OSError, OverflowError):
            yield False
            return
        yield True


# --- processors ----------------------------------------------------------------------------------------------------


def physical_cores() -> int:
    """Cores that this process may really compute on: no hyper-threads, no more than its affinity and quota allow."""
    logical = _allowed_processors()
    if is_windows():
        found = _windows_cores()
    elif system() == "macos":
        found = _macos_cores()
    else:
        found = _linux_cores(Path("/sys/devices/system/cpu"))
        quota = _linux_quota(Path("/sys/fs/cgroup/cpu.max"))
        found = min(found or logical, quota or logical)
    return max(1, min(found or logical, logical))


def _allowed_processors() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    if allowed is not None:
        return max(1, len(allowed(0)))
    return os.cpu_count() or 1


def _linux_cores(root: Path) -> int:
    """Distinct cores among the processors that this process may use; 0 where the kernel does not tell."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores: set[str] = set()
    for processor in sorted(allowed(0)) if allowed is not None else range(os.cpu_count() or 1):
        try:
            siblings = (root / f"cpu{processor}" / "topology" / "thread_siblings_list").read_text().strip()
        except OSError:
            return 0
        cores.add(siblings)
    return len(cores)


def _linux_quota(file: Path) -> int:
    """Whole processors that a container's quota allows; 0 where there is none."""
    try:
        quota, period = file.read_text().split()
        return 0 if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 0


def _macos_cores() -> int:
    try:
        answer = subprocess.run(["sysctl", "-n", "hw.physicalcpu"], capture_output=True, text=True, check=False)
        return int(answer.stdout.strip() or 0)
    except (OSError, ValueError):
        return 0


def _windows_cores() -> int:
    kernel = getattr(ctypes, "windll", None)
    if kernel is None:
        return 0
    size = ctypes.c_ulong(0)
    kernel.kernel32.GetLogicalProcessorInformation(None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not kernel.kernel32.GetLogicalProcessorInformation(buffer, ctypes.byref(size)):
        return 0
    return count_windows_cores(buffer.raw[: size.value])


def count_windows_cores(table: bytes) -> int:
    """Entries of kind "processor core" (0) in a table of SYSTEM_LOGICAL_PROCESSOR_INFORMATION.

    An entry is: mask (pointer size), kind (4 bytes), padding, 16 bytes of details.
    """
    pointer = struct.calcsize("P")
    entry = 32 if pointer == 8 else 24
    kinds = (struct.unpack_from("<I", table, at + pointer)[0] for at in range(0, len(table) - entry + 1, entry))
    return sum(1 for kind in kinds if kind == 0)


def trim_heap() -> bool:
    """Give memory that was freed but not returned back to the operating system; whether the system has a way to.

    glibc keeps freed memory for itself, so a process that dropped a model would go on looking as large as with it.
    """
    if system() != "linux":
        return False
    import ctypes

    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        # musl and others have no such call.
        return False
    return True


class MappedFiles:
    """Where files are mapped into this process' memory, as it was when this was made; nowhere but on Linux."""

    def __init__(self) -> None:
        self._ranges = sorted(_mapped_ranges()) if system() == "linux" else []
        self._advise: Any = getattr(ctypes.CDLL(None), "madvise", None) if self._ranges else None

    def holds(self, address: int, nbytes: int) -> bool:
        """Whether all these bytes are of mapped files."""
        at = bisect.bisect_right(self._ranges, (address, sys.maxsize)) - 1
        return at >= 0 and address + nbytes <= self._ranges[at][1]

    def forget(self, address: int, nbytes: int) -> bool:
        """Let whole pages of a mapped file go from this process; whether they went.

        They stay in the system's own cache, and come back when they are read again. What this process has written into
        them would be lost: for weights that are only read.
        """
        start, end = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE, (address + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if start >= end or self._advise is None or not self.holds(address, nbytes):
            return False
        return bool(self._advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED) == 0)


def _mapped_ranges() -> Iterator[tuple[int, int]]:
    """Of /proc/self/maps, the (first, last + 1) addresses that have a file behind them."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        place, _, _, _, inode, *path = line.split(maxsplit=5)
        if inode != "0" and path and path[0].startswith("/"):
            start, end = place.split("-")
            yield int(start, 16), int(end, 16)
