"""Comparisons through a client: one job, one grid, numbers that are true; cancel; refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.client.base import EngineClient
from engine.errors import SpecError
from engine.protocol.commands import GetStatus, ListJobs
from engine.protocol.comparisons import (
    CancelComparison,
    CompareAdapters,
    CompareMerge,
    GetComparison,
    ListComparisons,
)
from engine.protocol.merge import MergeInput, MergeRecipe
from engine.protocol.merge_commands import GetMerge, SubmitMerge
from engine.protocol.specs import GenerationSpec
from tests.contract.test_client_contract import Play

SPEC = GenerationSpec(prompt="x", model="starter", seed=7, steps=2, width=64, height=64)


async def ready(client: EngineClient) -> None:
    while (await client.call(GetStatus())).state != "ready":
        await asyncio.sleep(0.1)


async def finished(client: EngineClient, view: Any) -> Any:
    while view.status in ("queued", "running"):
        await asyncio.sleep(0.05)
        view = await client.call(GetComparison(comparison_id=view.id))
    return view


def test_adapters_stand_beside_each_other_in_one_picture(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        view = await client.call(
            CompareAdapters(
                adapters=("easel-ink", "easel-blob"), prompts=("a castle", "a boat"), weights=(0.5, 1.0), spec=SPEC
            )
        )
        view = await finished(client, view)
        assert view.status == "done", view.error
        assert view.image is not None
        # None, two weights each, and one without its words each.
        assert [row.role for row in view.plan.rows].count("with_words") == 4
        assert [row.role for row in view.plan.rows].count("without_words") == 2
        assert view.report is not None
        assert [len(line) for line in view.report.cells] == [2] * len(view.plan.rows)
        assert all(cell for line in view.report.cells for cell in line)
        assert view.report.rows[0].change == 0.0
        assert all(row.change > 0.0 for row in view.report.rows[1:])
        found = {each.adapter: each for each in view.report.side_effects}
        assert set(found) == {"easel-ink", "easel-blob"}
        ink = found["easel-ink"]
        assert ink.weight == 1.0
        assert ink.share == pytest.approx(ink.without_words / ink.with_words)
        jobs = (await client.call(ListJobs(limit=100))).jobs
        assert sorted({job.kind for job in jobs}) == ["comparison", "generate"]
        assert len(jobs) == 1 + 2 * len(view.plan.rows)
        listed = await client.call(ListComparisons())
        assert [each.id for each in listed.comparisons] == [view.id]

    play(scenario)


def test_a_merge_stands_beside_its_inputs(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        inputs = (MergeInput(name="easel-ink", weight=0.6), MergeInput(name="easel-soft", weight=0.5))
        merge = await client.call(SubmitMerge(recipe=MergeRecipe(inputs=inputs), file_name="pair"))
        while merge.status in ("queued", "running"):
            await asyncio.sleep(0.05)
            merge = await client.call(GetMerge(merge_id=merge.id))
        view = await client.call(CompareMerge(merge_id=merge.id, prompts=("a castle",), spec=SPEC))
        view = await finished(client, view)
        assert view.status == "done", view.error
        assert [row.role for row in view.report.rows] == ["stacked", "merged", "alone", "alone"]
        merged, *alone = view.report.rows[1:]
        # float16 in the file moves the picture less than any of the inputs does.
        assert merged.decibels is None or merged.decibels > 40.0
        assert all(row.decibels < 40.0 for row in alone)
        assert view.merge_id == merge.id

    play(scenario)


def test_cancel_stops_the_pictures_that_wait(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        slow = SPEC.model_copy(update={"steps": 30, "width": 256, "height": 256})
        prompts = ("a castle", "a boat", "a fish")
        view = await client.call(CompareAdapters(adapters=("easel-ink",), prompts=prompts, spec=slow))
        while view.status == "queued":
            await asyncio.sleep(0.02)
            view = await client.call(GetComparison(comparison_id=view.id))
        await client.call(CancelComparison(comparison_id=view.id))
        for _ in range(400):
            active = (await client.call(ListJobs(active=True))).jobs
            if not active:
                break
            await asyncio.sleep(0.05)
        assert not active
        view = await client.call(GetComparison(comparison_id=view.id))
        assert (view.status, view.image, view.report) == ("canceled", None, None)

    play(scenario)


def test_what_cannot_be_compared_is_refused_before_anything_is_queued(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        good: dict[str, Any] = {"adapters": ("easel-ink",), "prompts": ("a castle",), "spec": SPEC}
        many = tuple(f"a castle {place}" for place in range(9))
        for changes in (
            {"adapters": ()},
            {"adapters": tuple(f"a{place}" for place in range(13))},
            {"prompts": (" ",)},
            {"prompts": many},
            {"weights": (11.0,)},
            {"weights": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)},
        ):
            with pytest.raises(SpecError) as refusal:
                await client.call(CompareAdapters(**{**good, **changes}))
            assert refusal.value.code == "comparison_out_of_range"
        with pytest.raises(SpecError) as refusal:
            await client.call(CompareAdapters(**{**good, "adapters": ("nobody",)}))
        assert refusal.value.code == "adapter_unknown"
        for changes, told in (
            ({"adapters": ("easel-ink",) * 13}, "takes 1 to 12 adapters, not 13. Choose fewer."),
            (
                {"adapters": ("easel-ink", "EASEL-INK")},
                "“easel-ink” stands in the comparison twice. Name each only once.",
            ),
            ({"weights": (0.5, 1.0, 0.5)}, "The weight 0.5 stands in the comparison twice. Name each only once."),
            ({"weights": (11.0,)}, "A weight must be from −10 to 10. 0.5 to 1 suit most."),
            ({"adapters": ()}, "takes 1 to 12 adapters, not 0. Choose at least one."),
        ):
            with pytest.raises(SpecError) as refusal:
                await client.call(CompareAdapters(**{**good, **changes}))
            assert told in str(refusal.value)
        assert (await client.call(ListJobs())).jobs == ()

    play(scenario)
