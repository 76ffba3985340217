"""The supervisor against real processes that die, hang, stay mute or will not leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from engine import platform
from engine.client.supervisor import EngineSupervisor, Patience
from engine.errors import EngineLostError
from engine.protocol.commands import GetStatus, ListModels
from engine.protocol.events import EngineStateChanged
from engine.settings import Settings, parse_settings

ODD_ENGINE = Path(__file__).parents[2] / "support" / "odd_engine.py"
QUICK = Patience(ready=20.0, stop=10.0, settled=30.0, first_wait=0.05, longest_wait=0.1, rapid_failures=3)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGSTOP and SIGKILL are POSIX")


def settings_in(folder: Path, heartbeat: float = 1.0) -> Settings:
    return parse_settings({"paths": {"data": str(folder)}, "engine": {"heartbeat_timeout": heartbeat, "threads": 2}})


@asynccontextmanager
async def supervised(
    folder: Path, mode: str, patience: Patience = QUICK, heartbeat: float = 1.0
) -> AsyncIterator[EngineSupervisor]:
    command = [sys.executable, str(ODD_ENGINE), mode, str(folder / "starts")]
    supervisor = EngineSupervisor(settings_in(folder, heartbeat), command, patience=patience)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def states(
    supervisor: EngineSupervisor, until: Callable[[list[EngineStateChanged]], bool]
) -> list[EngineStateChanged]:
    """Engine states as a listener sees them from the beginning, up to the one that satisfies `until`."""
    seen: list[EngineStateChanged] = []
    async with asyncio.timeout(40):
        async for event in supervisor.client.events(after=0):
            assert isinstance(event, EngineStateChanged)
            seen.append(event)
            if until(seen):
                break
    assert [event.seq for event in seen] == sorted({event.seq for event in seen})
    return seen


def is_ready(seen: list[EngineStateChanged]) -> bool:
    return seen[-1].state == "ready"


def ready_again(seen: list[EngineStateChanged]) -> bool:
    return [event.state for event in seen].count("ready") == 2


def starts(folder: Path) -> int:
    return len((folder / "starts").read_bytes())


def test_a_steady_engine_becomes_ready_answers_and_leaves_when_its_input_closes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, "steady") as supervisor:
            with pytest.raises(EngineLostError) as early:
                await supervisor.client.call(ListModels())
            assert early.value.code == "engine_starting"
            seen = await states(supervisor, is_ready)
            assert [event.state for event in seen] == ["starting", "warming", "warming", "ready"]
            status = supervisor.status()
            assert (status.state, status.message) == ("ready", "I am ready.")
            answer = await supervisor.client.call(GetStatus())
            assert answer.queued == 3
            assert answer.last_seq == seen[-1].seq
            assert answer.pid == status.pid
            if sys.platform != "darwin":
                assert os.getpriority(os.PRIO_PROCESS, status.pid) == 5 + os.getpriority(os.PRIO_PROCESS, 0)
        assert not platform.process_alive(status.pid)
        assert starts(tmp_path) == 1
        log = (tmp_path / "outputs" / ".easel" / "engine.log").read_text()
        assert "a library says hello" in log

    asyncio.run(scenario())


def test_a_killed_engine_is_replaced_and_events_go_on_with_growing_numbers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, "steady", heartbeat=30) as supervisor:
            await states(supervisor, is_ready)
            first = supervisor.status().pid
            os.kill(first, signal.SIGKILL)
            seen = await states(supervisor, ready_again)
            restarting = next(event for event in seen if event.state == "restarting")
            assert "was killed" in restarting.message
            assert "queue is kept" in restarting.message
            assert supervisor.status().pid != first
            assert (await supervisor.client.call(GetStatus())).state == "ready"

    asyncio.run(scenario())


def test_a_stopped_engine_is_noticed_by_its_silence_and_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, "steady") as supervisor:
            await states(supervisor, is_ready)
            first = supervisor.status().pid
            os.kill(first, signal.SIGSTOP)
            seen = await states(supervisor, ready_again)
            assert any("has not answered for" in event.message for event in seen)
            assert not platform.process_alive(first)

    asyncio.run(scenario())


def test_an_engine_whose_worker_hangs_is_replaced_although_it_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, "stuck") as supervisor:
            seen = await states(supervisor, lambda seen: seen[-1].state == "restarting")
            assert "its worker has shown no life for 99 s" in seen[-1].message
            (log,) = tmp_path.rglob("engine.log")
            assert "it hangs (its worker has shown no life for 99 s)" in log.read_text(encoding="utf-8")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("exit", "ended with exit code 3 before it was ready, 3 times in a row. Its last words: “cannot start in"),
        ("mute", "did not say within 1 s that it is ready"),
        ("garbled", "gave a ready line that cannot be read"),
        ("foreign", "speaks version 99 of the protocol, the studio 1"),
        ("dies", "ended with exit code 7, 3 times in a row. Its last words: “a library says hello | the last straw”."),
    ],
)
def test_after_some_rapid_failures_it_gives_up_and_says_why(tmp_path: Path, mode: str, words: str) -> None:
    patience = Patience(ready=1.0 if mode == "mute" else 20.0, first_wait=0.02, longest_wait=0.05, rapid_failures=3)

    async def scenario() -> None:
        async with supervised(tmp_path, mode, patience, heartbeat=30) as supervisor:
            seen = await states(supervisor, lambda seen: seen[-1].state == "failed")
            assert words in seen[-1].message
            assert str(Path(__file__).parents[3]) not in seen[-1].message, "no absolute path of this machine"
            assert starts(tmp_path) == 3
            with pytest.raises(EngineLostError) as failed:
                await supervisor.client.call(ListModels())
            assert failed.value.code == "engine_failed_to_start"
            assert (await supervisor.client.call(GetStatus())).state == "failed"

    asyncio.run(scenario())


def test_a_command_that_does_not_exist_is_a_failure_not_a_crash(tmp_path: Path) -> None:
    async def scenario() -> None:
        supervisor = EngineSupervisor(settings_in(tmp_path), [str(tmp_path / "no-python")], patience=QUICK)
        await supervisor.start()
        seen = await states(supervisor, lambda seen: seen[-1].state == "failed")
        assert "could not be started (No such file or directory)" in seen[-1].message
        await supervisor.stop()

    asyncio.run(scenario())


def test_it_tries_again_when_asked_after_giving_up(tmp_path: Path) -> None:
    patience = Patience(ready=20.0, first_wait=0.02, rapid_failures=1)

    async def scenario() -> None:
        async with supervised(tmp_path, "once", patience) as supervisor:
            await states(supervisor, lambda seen: seen[-1].state == "failed")
            supervisor.restart()
            await states(supervisor, is_ready)
            assert starts(tmp_path) == 2

    asyncio.run(scenario())


def test_a_running_engine_is_replaced_when_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, "steady", heartbeat=30) as supervisor:
            await states(supervisor, is_ready)
            first = supervisor.status().pid
            supervisor.restart()
            await states(supervisor, ready_again)
            assert supervisor.status().pid != first

    asyncio.run(scenario())


def test_an_engine_that_will_not_leave_is_killed(tmp_path: Path) -> None:
    patience = Patience(ready=20.0, stop=0.2)

    async def scenario() -> None:
        async with supervised(tmp_path, "stubborn", patience, heartbeat=30) as supervisor:
            await states(supervisor, is_ready)
            pid = supervisor.status().pid
        assert not platform.process_alive(pid)

    asyncio.run(scenario())


def test_two_listeners_see_the_same_events(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, "steady", heartbeat=30) as supervisor:
            one, two = await asyncio.gather(states(supervisor, is_ready), states(supervisor, is_ready))
            assert one == two

    asyncio.run(scenario())


def test_the_engine_leaves_when_the_process_that_holds_the_leash_is_killed(tmp_path: Path) -> None:
    """Kill -9 of the web process: nobody can tell the engine, its input just closes."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.engine.client.test_supervisor import is_ready, states, supervised\n"
        "async def main():\n"
        "    async with supervised(Path(sys.argv[1]), 'steady', heartbeat=30) as supervisor:\n"
        "        await states(supervisor, is_ready)\n"
        "        print(supervisor.status().pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )

    async def scenario() -> None:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
        )
        assert parent.stdout is not None
        engine = int(await parent.stdout.readline())
        assert platform.process_alive(engine)
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(20):
            while platform.process_alive(engine):
                with suppress(ChildProcessError):
                    # In a container without an init process the orphan may become this process's child.
                    os.waitpid(engine, os.WNOHANG)
                await asyncio.sleep(0.05)

    asyncio.run(scenario())
