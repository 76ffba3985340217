"""Events: numbered, resumable, never blocked by a slow client."""

from __future__ import annotations

import asyncio
import threading

from engine.protocol.events import JobProgressed, LibraryChanged, PreviewMade
from engine.protocol.jobs import Progress
from engine.server.events import PREVIEW_BACKLOG, EventHub


def library(n: int) -> LibraryChanged:
    return LibraryChanged(models=n)


def preview(step: int) -> PreviewMade:
    return PreviewMade(job_id="j", job_index=0, step=step, jpeg="")


def test_events_of_many_threads_are_numbered_without_gaps_and_arrive_in_order() -> None:
    async def listen() -> list[int]:
        hub = EventHub()
        seen: list[int] = []
        started = asyncio.Event()

        async def read() -> None:
            stream = hub.listen()
            started.set()
            async for event in stream:
                seen.append(event.seq)
                if len(seen) == 400:
                    return

        reader = asyncio.create_task(read())
        await started.wait()
        await asyncio.sleep(0)
        threads = [threading.Thread(target=lambda: [hub.publish(library(i)) for i in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(reader, 20)
        return seen

    assert sorted(asyncio.run(listen())) == list(range(1, 401))


def test_a_client_that_was_away_gets_what_it_missed_and_the_newest_preview() -> None:
    async def resume() -> list[str]:
        hub = EventHub()
        hub.publish(library(1))
        hub.publish(library(2))
        hub.publish(preview(1))
        hub.publish(preview(2))
        hub.publish(JobProgressed(job_id="j", progress=Progress()))
        stream = hub.listen(after=1)
        return [f"{event.kind}{event.seq}" for event in [await anext(stream) for _ in range(3)]]

    assert asyncio.run(resume()) == ["library2", "preview4", "progress5"]


def test_a_slow_client_loses_previews_but_nothing_else() -> None:
    async def slow() -> tuple[int, int]:
        hub = EventHub()
        stream = hub.listen()
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        for step in range(500):
            hub.publish(preview(step))
            hub.publish(library(step))
        hub.close()
        events = [await first] + [event async for event in stream]
        return sum(e.kind == "preview" for e in events), sum(e.kind == "library" for e in events)

    previews, others = asyncio.run(slow())
    assert others == 500
    assert previews <= PREVIEW_BACKLOG + 2


def test_the_preview_of_a_finished_picture_is_forgotten() -> None:
    async def listen() -> list[str]:
        hub = EventHub()
        hub.publish(preview(1))
        hub.forget_preview("j", 0)
        stream = hub.listen()
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        hub.publish(library(1))
        return [(await task).kind]

    assert asyncio.run(listen()) == ["library"]
