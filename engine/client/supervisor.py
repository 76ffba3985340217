"""EngineSupervisor: starts the engine process, watches it, and replaces it when it dies or hangs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import platform
from engine.client.base import EngineClient
from engine.client.engine_log import EngineLog
from engine.client.event_hub import EventHub
from engine.client.http import HttpEngineClient
from engine.client.supervised import SupervisedClient
from engine.errors import EngineLostError, StudioError
from engine.launcher.threads import engine_environment
from engine.protocol.commands import EngineStatus
from engine.protocol.events import EngineState, EngineStateChanged
from engine.settings import ROOT, Settings

PROTOCOL_VERSION = 1
_OUTPUT_LIMIT = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what; seconds.

    Attributes:
        ready: until the ready line, and until the first heartbeat. The engine prints the line before it imports
            anything large, but a cold disk or a virus scanner may take its time.
        stop: from closing its input until an engine that does not leave is killed.
        settled: an engine that lived this long did not fail at starting.
        first_wait, longest_wait: before the second start, doubling up to the longest.
        rapid_failures: so many failures in a row, and the supervisor gives up until it is asked again.
    """

    ready: float = 60.0
    stop: float = 28.0
    settled: float = 30.0
    first_wait: float = 0.25
    longest_wait: float = 15.0
    rapid_failures: int = 6


class EngineSupervisor:
    """Owns the engine process of a studio.

    Args:
        settings: `engine.heartbeat_timeout` is the silence after which an engine counts as hung.
        command: what to start instead of `python -m engine` (for tests).
        config: the settings file that the engine is to read as well.
        safe_mode: the engine loads no extensions.
        patience: waiting times.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str] | None = None,
        *,
        config: Path | None = None,
        safe_mode: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self._settings = settings
        self._command = list(command) if command is not None else _engine_command(settings, config, safe_mode)
        self._patience = patience or Patience()
        self._hub = EventHub()
        self._log = EngineLog(settings.state_dir / "engine.log")
        self._state: EngineState = "starting"
        self._message = "The engine is starting."
        self._fraction: float | None = None
        self._pid = 0
        self._connection: HttpEngineClient | None = None
        self._failure: EngineLostError | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._again = asyncio.Event()
        self.client: EngineClient = SupervisedClient(self._current, self.status, self._hub)

    # --- for the web process ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run an engine, and return at once; the status and the events tell how it goes."""
        if self._task is None:
            self._stopping.clear()
            self._task = asyncio.create_task(self._run(), name="engine-supervisor")

    async def stop(self) -> None:
        """Let the engine finish its step and leave; kill it if it does not. Safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        self._again.set()
        await task
        self._log.close()

    def restart(self) -> None:
        """Replace the running engine, or try again after giving up."""
        self._again.set()

    def status(self) -> EngineStatus:
        """What is known about the engine without asking it; never waits."""
        return EngineStatus(
            state=self._state,
            message=self._message,
            fraction=self._fraction,
            pid=self._pid,
            last_seq=self._hub.last_seq,
        )

    def last_lines(self, count: int = 20) -> list[str]:
        """What the engine printed last; for people at this machine."""
        return self._log.last_lines(count)

    # --- one engine after another ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._again.clear()
            began = time.monotonic()
            reason = await self._one_life()
            self._log.end(reason)
            if self._stopping.is_set():
                break
            if self._again.is_set():
                self._tell("restarting", "The engine is being restarted as asked; the queue is kept.")
                failures = 0
                continue
            failures = 1 if time.monotonic() - began >= self._patience.settled else failures + 1
            if failures >= self._patience.rapid_failures:
                self._give_up(reason, failures)
                await self._again.wait()
                failures = 0
                continue
            self._tell("restarting", f"The engine {reason}. It is being restarted; the queue is kept.")
            wait = min(self._patience.first_wait * 2 ** (failures - 1), self._patience.longest_wait)
            await _wait_for_event(self._again, wait)
        self._tell("stopping", "The studio is closing.")

    async def _one_life(self) -> str:
        """Run one engine to its end; the reason why it ended, as a phrase that follows "The engine"."""
        if self._state != "restarting":
            self._tell("starting", "The engine is starting.")
        self._failure = None
        token = secrets.token_urlsafe(32)
        try:
            process = await self._spawn(token)
        except OSError as error:
            return f"could not be started ({error.strerror or error})"
        self._pid = process.pid
        self._log.begin(process.pid)
        platform.lower_priority(process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        readers = [
            asyncio.create_task(self._read_output(process.stdout, ready)),
            asyncio.create_task(self._read_log(process.stderr)),
        ]
        try:
            return await self._live(process, token, ready)
        finally:
            await self._end(process, readers)

    async def _spawn(self, token: str) -> asyncio.subprocess.Process:
        environment = engine_environment(os.environ, threads=self._settings.engine.threads)
        environment["EASEL_ENGINE_TOKEN"] = token
        environment["PYTHONUNBUFFERED"] = "1"
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_OUTPUT_LIMIT,
            cwd=ROOT,
            env=environment,
            **platform.background_options(),
        )

    async def _live(self, process: asyncio.subprocess.Process, token: str, ready: asyncio.Future[int]) -> str:
        ended = asyncio.create_task(process.wait())
        asked = asyncio.create_task(self._again.wait())
        tasks: list[asyncio.Task[str]] = []
        try:
            first: set[asyncio.Future[Any]] = {ready, ended, asked}
            await asyncio.wait(first, timeout=self._patience.ready, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return "was stopped"
            if ended.done():
                return f"{platform.exit_reason(ended.result())} before it was ready"
            if not ready.done():
                return f"did not say within {self._patience.ready:.0f} s that it is ready"
            if ready.exception() is not None:
                return str(ready.exception())
            client = HttpEngineClient(f"http://127.0.0.1:{ready.result()}", token)
            self._connection, self._failure = client, None
            self._tell("warming", "The engine is loading its libraries.")
            tasks = [asyncio.create_task(self._pump(client)), asyncio.create_task(self._watch(client))]
            await asyncio.wait({ended, asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return "was stopped"
            if ended.done():
                return platform.exit_reason(ended.result())
            return next(task.result() for task in tasks if task.done())
        finally:
            await _cancel(asked, ended, *tasks)
            if self._connection is not None:
                client, self._connection = self._connection, None
                await client.close()

    async def _end(self, process: asyncio.subprocess.Process, readers: list[asyncio.Task[None]]) -> None:
        """Make sure that the process and its children are gone."""
        if self._again.is_set() and process.returncode is None:
            # Wanted: it may finish its step and keep a snapshot.
            assert process.stdin is not None
            process.stdin.close()
            self._tell("stopping", "The engine is finishing its step.")
            await _finished_within(process, self._patience.stop)
        platform.kill_tree(process.pid)
        await process.wait()
        await asyncio.wait(readers, timeout=2.0)
        await _cancel(*readers)
        self._pid = 0

    # --- watching --------------------------------------------------------------------------------------------------

    async def _watch(self, client: HttpEngineClient) -> str:
        """Return when the engine hangs: no answer over HTTP, or an answer that its worker shows no life.

        Silence counts only when it was met several times, so a machine that slept does not look like a hung engine.
        """
        timeout = self._settings.engine.heartbeat_timeout
        pause = min(2.0, timeout / 5)
        allowed, silent_since, misses = max(timeout, self._patience.ready), time.monotonic(), 0
        while True:
            try:
                age = await client.beat(timeout=min(5.0, timeout))
            except StudioError:
                misses += 1
                silence = time.monotonic() - silent_since
                if silence > allowed and misses >= 3:
                    return f"has not answered for {silence:.0f} s"
            else:
                allowed, silent_since, misses = timeout, time.monotonic(), 0
                if age > timeout:
                    return f"hangs (its worker has shown no life for {age:.0f} s)"
            await asyncio.sleep(pause)

    async def _pump(self, client: HttpEngineClient) -> str:
        """Pass the engine's events on; attach again when the stream breaks while the engine lives."""
        seen = 0
        while True:
            try:
                async for event in client.events(after=seen):
                    if event.seq <= seen:
                        continue
                    seen = event.seq
                    if isinstance(event, EngineStateChanged):
                        self._state, self._message, self._fraction = event.state, event.message, event.fraction
                    self._hub.publish(event)
            except StudioError:
                # Whether it died or hangs is for the process and its heartbeat to tell.
                await asyncio.sleep(0.2)
            except ValueError as error:
                return f"sent an event that the studio cannot read ({str(error).splitlines()[0]})"

    async def _read_output(self, stream: asyncio.StreamReader, ready: asyncio.Future[int]) -> None:
        """Take the port out of the ready line; anything else that it prints goes to the log."""
        while line := await _read_line(stream):
            if not ready.done() and line.startswith(b"{"):
                _settle(ready, line)
            else:
                self._log.feed(line)

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(65536):
            self._log.feed(chunk)
        self._log.flush_part()

    # --- telling ---------------------------------------------------------------------------------------------------

    def _tell(self, state: EngineState, message: str) -> None:
        self._state, self._message, self._fraction = state, message, None
        self._hub.publish(EngineStateChanged(at=time.time(), state=state, message=message))

    def _give_up(self, reason: str, failures: int) -> None:
        words = " | ".join(_without_paths(line) for line in self._log.last_lines(5))
        message = f"The engine {reason}, {failures} times in a row." + (f" Its last words: “{words}”." if words else "")
        self._failure = EngineLostError(
            "engine_failed_to_start", message, "See engine.log in the outputs' .easel folder, or run launch.py doctor."
        )
        self._tell("failed", str(self._failure))

    def _current(self) -> EngineClient:
        if self._connection is not None:
            return self._connection
        if self._failure is not None:
            raise self._failure
        if self._state == "starting":
            raise EngineLostError("engine_starting", "The engine is still starting.", "Try again in a moment.")
        raise EngineLostError("engine_lost", self._message, "Try again in a moment.")


def _engine_command(settings: Settings, config: Path | None, safe_mode: bool) -> list[str]:
    command = [sys.executable, "-m", "engine", "--data", str(settings.data_dir), *["--safe-mode"] * safe_mode]
    return command if config is None else [*command, "--config", str(config)]


def _settle(ready: asyncio.Future[int], line: bytes) -> None:
    """Give the port of a ready line to `ready`, or say what is wrong with it."""
    try:
        message = json.loads(line)
        port, protocol = int(message["port"]), int(message["protocol"])
    except (ValueError, KeyError, TypeError):
        ready.set_exception(_Unready("gave a ready line that cannot be read"))
        return
    if protocol == PROTOCOL_VERSION:
        ready.set_result(port)
    else:
        ready.set_exception(_Unready(f"speaks version {protocol} of the protocol, the studio {PROTOCOL_VERSION}"))


class _Unready(RuntimeError):
    """The engine started, but not as the studio needs it."""


def _without_paths(line: str) -> str:
    """A line of a traceback as anybody on the network may read it."""
    return line.replace(str(ROOT), "…").replace(str(Path.home()), "~").strip()


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        # A line beyond the limit; what was too long is dropped.
        return b"\n"


async def _finished_within(process: asyncio.subprocess.Process, seconds: float) -> bool:
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _wait_for_event(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
