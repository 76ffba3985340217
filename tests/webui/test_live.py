"""The live hub: one reader, many pages, nobody waits for anybody.

The engine here is a list of events behind the two methods of EngineClient: what is tested is what becomes of events, in
amounts and orders that a real engine gives only by chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from engine.errors import EngineLostError
from engine.protocol.commands import Command, EngineStatus, GetJob, GetStatus
from engine.protocol.events import (
    EngineStateChanged,
    Event,
    JobChanged,
    JobProgressed,
    LibraryChanged,
    PreviewMade,
    QueueChanged,
)
from engine.protocol.jobs import JobView, Progress
from engine.protocol.specs import GenerationSpec
from webui.live import KEPT_MESSAGES, PREVIEWS_DROPPED_AT, SESSION_LIMIT, LiveHub, LiveSession


class ListedEngine:
    """Gives the events it is told to, to every reader."""

    def __init__(self) -> None:
        self.status = EngineStatus(state="ready", pid=1, device="a CPU")
        self.lost = False
        self.told: list[Event] = []
        self.job: JobView | None = None
        self.readers = 0
        self.attached: list[int | None] = []
        self._news = asyncio.Condition()
        self.noticed = asyncio.Event()

    async def call(self, command: Command[Any]) -> Any:
        if self.lost:
            raise EngineLostError("engine_lost", "It is gone.", "")
        if isinstance(command, GetStatus):
            return self.status.model_copy(update={"last_seq": len(self.told)})
        assert isinstance(command, GetJob)
        assert self.job is not None
        return self.job

    async def tell(self, event: Event) -> None:
        self.told.append(event.model_copy(update={"seq": len(self.told) + 1}))
        async with self._news:
            self._news.notify_all()

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        self.readers += 1
        self.attached.append(after)
        place = after or 0
        while True:
            while place < len(self.told):
                place += 1
                yield self.told[place - 1]
            async with self._news:
                while place >= len(self.told) and not self.lost:
                    await self._news.wait()
            if self.lost:
                self.noticed.set()
                raise EngineLostError("engine_lost", "It is gone.", "")

    async def break_off(self) -> None:
        """Be gone, and wait until the reader has met it."""
        self.lost = True
        async with self._news:
            self._news.notify_all()
        await self.noticed.wait()

    async def close(self) -> None:
        return


def run(test: Callable[[ListedEngine, LiveHub], Awaitable[None]]) -> None:
    async def whole() -> None:
        engine = ListedEngine()
        states: list[str] = []
        hub = LiveHub(engine, lambda status: states.append(status.state))
        hub.states = states  # type: ignore[attr-defined]
        task = asyncio.create_task(hub.run())
        try:
            await asyncio.wait_for(test(engine, hub), 20)
        finally:
            task.cancel()

    asyncio.run(whole())


def preview(job: str = "j", index: int = 0, step: int = 1) -> PreviewMade:
    return PreviewMade(owner="local", job_id=job, job_index=index, step=step, jpeg="")


def view(status: Any = "running", owner: str = "local") -> JobView:
    return JobView(id="j", owner=owner, status=status, spec=GenerationSpec(prompt="x"), created_at=1.0)


async def until(session: LiveSession, count: int) -> list[Any]:
    """The next `count` events."""
    got: list[Any] = []
    while len(got) < count:
        session.resync = False
        got += [message.event for message in await session.take()]
    return got


def test_one_reader_serves_all_pages() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        with hub.session("local") as one, hub.session("local") as two:
            await engine.tell(LibraryChanged(models=3))
            for session in (one, two):
                assert [event.models for event in await until(session, 1)] == [3]
        assert engine.readers == 1
        assert hub.session_count == 0

    run(test)


def test_events_go_to_their_owner_only() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        with hub.session("ada") as ada, hub.session("bob") as bob:
            await engine.tell(JobChanged(owner="ada", job=view(owner="ada")))
            await engine.tell(QueueChanged(positions={"j": 0}))
            assert [event.kind for event in await until(ada, 2)] == ["job", "queue"]
            assert [event.kind for event in await until(bob, 1)] == ["queue"]

    run(test)


def test_a_page_that_does_not_read_keeps_only_the_newest_previews() -> None:
    session = LiveSession("local")
    hub = LiveHub(ListedEngine())
    hub._sessions.add(session)
    for step in range(1, 200):
        hub.publish(preview(index=step % 2, step=step).model_copy(update={"seq": 3 * step}))
        hub.publish(JobProgressed(seq=3 * step + 1, owner="local", job_id="j", progress=Progress(step=step)))
    messages = asyncio.run(session.take())
    previews = [m.event for m in messages if isinstance(m.event, PreviewMade)]
    assert sorted(event.step for event in previews) == [198, 199]
    assert len(messages) == 3
    assert [m.seq for m in messages] == sorted(m.seq for m in messages)


def test_previews_give_way_to_what_must_not_be_lost() -> None:
    session = LiveSession("local")
    hub = LiveHub(ListedEngine())
    hub._sessions.add(session)
    for seq in range(PREVIEWS_DROPPED_AT):
        hub.publish(JobChanged(seq=seq + 1, owner="local", job=view()))
    hub.publish(preview())
    assert not any(message.is_preview for message in asyncio.run(session.take()))


def test_a_page_that_is_hopelessly_behind_is_let_go() -> None:
    session = LiveSession("local")
    hub = LiveHub(ListedEngine())
    hub._sessions.add(session)
    for seq in range(SESSION_LIMIT + 1):
        hub.publish(JobChanged(seq=seq + 1, owner="local", job=view()))
    assert session.ended
    assert asyncio.run(session.take()) == []


def test_a_page_that_comes_back_gets_what_it_missed() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        with hub.session("local") as first:
            for number in range(5):
                await engine.tell(JobChanged(owner="local", job=view()))
                await until(first, 1)
                del number
        with hub.session("local", after=3) as back:
            assert [message.seq for message in await back.take()] == [4, 5]
        with hub.session("other", after=0) as other:
            assert await other.take(0.01) == []
        with hub.session("local", after=2**62) as far:
            assert await far.take(0.01) == []

    run(test)


def test_what_is_kept_is_bounded() -> None:
    hub = LiveHub(ListedEngine())
    for seq in range(KEPT_MESSAGES + 50):
        hub.publish(JobChanged(seq=seq + 1, owner="local", job=view()))
        hub.publish(preview())
    assert len(hub._kept) == KEPT_MESSAGES


def test_a_broken_stream_is_taken_up_where_it_broke_and_pages_start_over() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        with hub.session("local") as session:
            await engine.tell(LibraryChanged(models=1))
            await until(session, 1)
            session.resync = False
            await engine.break_off()
            engine.lost = False
            await engine.tell(LibraryChanged(models=2))
            while not session.resync:
                assert all(m.event.kind == "library" for m in await session.take())
            assert engine.attached[-1] == 1

    run(test)


def test_the_engines_states_are_told_once_each() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        with hub.session("local") as session:
            for state in ("warming", "ready", "ready", "restarting", "ready"):
                await engine.tell(EngineStateChanged(state=state, message="words"))  # type: ignore[arg-type]
                await until(session, 1)
            await asyncio.sleep(0)
            assert hub.states == ["ready", "warming", "ready", "restarting", "ready"]  # type: ignore[attr-defined]
            told = hub.status()
            assert (told.state, told.message, told.device, told.last_seq) == ("ready", "words", "a CPU", 5)
            assert session.resync

    run(test)


def test_waiting_for_a_job_ends_with_it() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        engine.job = view("running")
        waiter = asyncio.create_task(hub.wait_finished("j", "local"))
        while hub.session_count == 0:
            await asyncio.sleep(0)
        engine.job = view("done")
        await engine.tell(JobChanged(owner="local", job=engine.job))
        assert (await waiter).status == "done"

    run(test)


def test_waiting_for_a_job_outlives_the_engine() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        engine.job = view("running")
        waiter = asyncio.create_task(hub.wait_finished("j", "local"))
        while hub.session_count == 0:
            await asyncio.sleep(0)
        await engine.break_off()
        assert not waiter.done()
        engine.job = view("done")
        engine.lost = False
        assert (await waiter).status == "done"

    run(test)


def test_closing_ends_every_page() -> None:
    async def test(engine: ListedEngine, hub: LiveHub) -> None:
        with hub.session("local") as session:
            taking = asyncio.create_task(session.take())
            hub.close()
            assert await taking == []
            assert session.ended
        with hub.session("local") as late:
            assert late.ended

    run(test)
