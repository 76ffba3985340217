"""Merges through a client: queued like any job, the file in the library, undone by a delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.client.base import EngineClient
from engine.errors import ConflictError, MergeError, SpecError
from engine.protocol.commands import GetJob, GetStatus, SubmitJob
from engine.protocol.merge import MergeInput, MergeRecipe
from engine.protocol.merge_commands import DeleteMerge, GetMerge, ListMergeMethods, ListMerges, SubmitMerge
from engine.protocol.specs import GenerationSpec
from tests.contract.test_client_contract import Play

RECIPE = MergeRecipe(
    inputs=(MergeInput(name="easel-ink", weight=0.6), MergeInput(name="easel-soft", weight=0.5)), base="starter"
)


async def merged(client: EngineClient, **changes: Any) -> Any:
    while (await client.call(GetStatus())).state != "ready":
        await asyncio.sleep(0.1)
    view = await client.call(SubmitMerge(recipe=RECIPE, **{"file_name": "two of them", **changes}))
    while view.status in ("queued", "running"):
        await asyncio.sleep(0.05)
        view = await client.call(GetMerge(merge_id=view.id))
    return view


def test_a_merge_is_made_used_and_undone(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        methods = await client.call(ListMergeMethods())
        assert "weighted_sum" in [method.id for method in methods.methods]
        view = await merged(client)
        assert view.status == "done", view.error
        assert view.report is not None
        # Exact but for rounding to float16.
        assert view.report.parity is not None
        assert view.report.parity < 1e-3
        assert view.file_id == "two of them"
        assert {each.parity is not None and each.parity < 1e-3 for each in view.report.modules} == {True}
        with pytest.raises(ConflictError):
            await client.call(SubmitMerge(recipe=RECIPE, file_name="two of them"))
        listed = await client.call(ListMerges())
        assert [each.id for each in listed.merges] == [view.id]
        undone = await client.call(DeleteMerge(merge_id=view.id))
        assert undone.file_id == ""
        again = await merged(client)
        assert again.status == "done"

    play(scenario)


def test_a_merge_lets_pictures_pass(play: Play) -> None:
    """A picture that is asked for later is done first: the merge gives way after each layer."""

    async def scenario(client: EngineClient) -> None:
        while (await client.call(GetStatus())).state != "ready":
            await asyncio.sleep(0.1)
        spec = GenerationSpec(prompt="a hill", model="starter", seed=1, steps=1, width=64, height=64)
        # The model is loaded before, so that only evaluations count.
        await _over(client, (await client.call(SubmitJob(spec=spec))).id)
        merge = await client.call(SubmitMerge(recipe=RECIPE, file_name="slow"))
        picture = await client.call(SubmitJob(spec=spec.model_copy(update={"seed": 2, "steps": 4})))
        made, painted = await _over(client, merge.id), await _over(client, picture.id)
        assert (made.status, painted.status) == ("done", "done")
        assert painted.finished_at < made.finished_at

    play(scenario)


async def _over(client: EngineClient, job_id: str) -> Any:
    while (view := await client.call(GetJob(job_id=job_id))).status in ("queued", "running"):
        await asyncio.sleep(0.02)
    return view


def test_what_cannot_be_merged_is_refused_before_anything_is_queued(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        with pytest.raises(MergeError):
            await client.call(SubmitMerge(recipe=RECIPE, file_name="../outside"))
        missing = RECIPE.model_copy(update={"inputs": (MergeInput(name="nobody"),)})
        with pytest.raises(SpecError) as refusal:
            await client.call(SubmitMerge(recipe=missing, file_name="x"))
        assert refusal.value.code == "adapter_unknown"
        assert (await client.call(ListMerges())).merges == ()

    play(scenario)
