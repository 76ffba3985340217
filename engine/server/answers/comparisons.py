"""Answers about comparisons: adapters beside each other, and a merge beside its inputs, as one job of the queue."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from engine.errors import NotFoundError, SpecError
from engine.jobs.admission import Admission
from engine.jobs.queue import JobQueue
from engine.library.library import Library
from engine.protocol.comparisons import (
    MOST_ADAPTERS,
    MOST_PICTURES,
    MOST_PROMPTS,
    MOST_WEIGHTS,
    CancelComparison,
    CompareAdapters,
    ComparedRow,
    CompareMerge,
    ComparisonList,
    ComparisonPlan,
    ComparisonReport,
    ComparisonView,
    GetComparison,
    ListComparisons,
)
from engine.protocol.merge import MergeRecipe
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.server.dispatch import Answers
from engine.store.jobs import JobRecord
from engine.store.store import Store

_LARGEST_WEIGHT = 10.0


class ComparisonAnswers:
    """Comparisons are jobs of kind "comparison"; their grids are pictures of the history."""

    def __init__(self, admission: Admission, queue: JobQueue, store: Store, library: Library) -> None:
        self._admission, self._queue, self._store, self._library = admission, queue, store, library

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            CompareAdapters: self.adapters,
            CompareMerge: self.merge,
            GetComparison: self.get,
            ListComparisons: self.recent,
            CancelComparison: self.cancel,
        }

    def adapters(self, command: CompareAdapters) -> ComparisonView:
        """Adapters × weights down, prompts across; the first line is painted without any."""
        adapters, weights = command.adapters, command.weights
        _require_count(len(adapters), MOST_ADAPTERS, "adapters")
        _require_count(len(weights), MOST_WEIGHTS, "weights")
        within = all(abs(weight) <= _LARGEST_WEIGHT for weight in weights)
        _require(within, "A weight must be from −10 to 10", "0.5 to 1 suit most.")
        _require_once([f"“{self._library.adapters.find(name).view.id}”" for name in adapters])
        _require_once([f"The weight {weight:g}" for weight in weights])
        rows = [ComparedRow(title="Without adapters", role="clean")]
        for name in adapters:
            rows += self._lines(name, weights, command.side_effects)
        return self._submit(command.owner, rows, command.prompts, command.spec, "")

    def merge(self, command: CompareMerge) -> ComparisonView:
        """The stack of the inputs, the merged file, and each input by itself."""
        record = self._store.jobs.get(command.merge_id, command.owner)
        payload = record.payload or {}
        if record.kind != "merge" or record.status != "done":
            raise NotFoundError("job_unknown", "There is no finished merge of that id.", "Choose one from the list.")
        raw = payload["recipe"]
        _require(
            isinstance(raw, dict) and raw.get("task") == "merge",
            "Only merged adapters stand beside their inputs",
            "Choose a merge of adapters.",
        )
        recipe = MergeRecipe.model_validate(raw)
        made = Path(str(payload["file"]))
        merged = next((entry.view.id for entry in self._library.adapters.entries if entry.path == made), "")
        if not merged:
            raise NotFoundError("adapter_unknown", f"{made.name} is not there any more.", "Run the recipe again.")
        refs = _stack_of(recipe)
        rows = [
            ComparedRow(title="Stacked", role="stacked", adapters=refs),
            ComparedRow(title="Merged", role="merged", adapters=(_ref(merged, 1.0),), adapter=merged),
        ]
        if command.alone and len(refs) > 1:
            titles = [self._library.adapters.find(ref.name).view.name for ref in refs]
            rows += [
                ComparedRow(title=f"Only {title}", role="alone", adapters=(ref,), adapter=ref.name)
                for title, ref in zip(titles, refs, strict=True)
            ]
        return self._submit(command.owner, rows, command.prompts, command.spec, command.merge_id)

    def get(self, command: GetComparison) -> ComparisonView:
        """One comparison."""
        return self._view(self._record(command.comparison_id, command.owner))

    def recent(self, command: ListComparisons) -> ComparisonList:
        """The owner's comparisons."""
        records = self._store.jobs.of_kind("comparison", command.owner, command.limit)
        return ComparisonList(comparisons=tuple(self._view(record) for record in records))

    def cancel(self, command: CancelComparison) -> ComparisonView:
        """Stop it."""
        self._record(command.comparison_id, command.owner)
        self._queue.cancel(command.comparison_id, command.owner, None)
        return self._view(self._record(command.comparison_id, command.owner))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _lines(self, name: str, weights: Sequence[float], side_effects: bool) -> list[ComparedRow]:
        entry = self._library.adapters.find(name)
        title, words = entry.view.name, ", ".join(entry.view.trigger_words[:1])
        several = len(weights) > 1
        rows = [
            ComparedRow(
                title=f"{title} {weight:g}" if several else title,
                role="with_words",
                adapters=(_ref(entry.view.id, weight),),
                words=words,
                adapter=entry.view.id,
                weight=weight,
            )
            for weight in weights
        ]
        if side_effects and words:
            strongest = max(weights, key=abs)
            rows.append(
                ComparedRow(
                    title=f"{title}, without “{words}”",
                    role="without_words",
                    adapters=(_ref(entry.view.id, strongest),),
                    adapter=entry.view.id,
                    weight=strongest,
                )
            )
        return rows

    def _submit(
        self, owner: str, rows: list[ComparedRow], prompts: Sequence[str], spec: GenerationSpec, merge_id: str
    ) -> ComparisonView:
        asked = tuple(dict.fromkeys(prompt.strip() for prompt in prompts if prompt.strip()))
        _require_count(len(asked), MOST_PROMPTS, "prompts")
        count = len(rows) * len(asked)
        _require(
            count <= MOST_PICTURES,
            f"These are {count} pictures, and a comparison has at most {MOST_PICTURES}",
            "Leave out some weights, prompts or adapters.",
        )
        seed = spec.seed if spec.seed is not None else secrets.randbelow(2**32)
        plain = spec.model_copy(
            update={"prompt": asked[0], "adapters": (), "seed": seed, "count": 1, "batch_size": 1, "conflicts": "keep"}
        )
        # Everything that can be refused is refused now: the largest stack with every prompt.
        largest = max(rows, key=lambda row: len(row.adapters))
        admitted = None
        for prompt in asked:
            whole = plain.model_copy(update={"prompt": prompt, "adapters": largest.adapters})
            admitted = self._admission.admit(whole)
        for row in rows:
            admitted = self._admission.admit(plain.model_copy(update={"adapters": row.adapters}))
        assert admitted is not None
        resolved = admitted.spec.model_copy(update={"prompt": asked[0], "adapters": ()})
        plan = ComparisonPlan(rows=tuple(rows), prompts=asked, spec=plain)
        payload: dict[str, JsonValue] = {"plan": plan.model_dump(mode="json", by_alias=True), "merge_id": merge_id}
        title = "Comparison: " + " | ".join(asked)
        job = self._queue.submit_errand(
            "comparison", resolved.model_copy(update={"prompt": title}), payload, owner=owner
        )
        return self._view(self._store.jobs.get(job.id, owner))

    def _record(self, comparison_id: str, owner: str) -> JobRecord:
        record = self._store.jobs.get(comparison_id, owner)
        if record.kind != "comparison":
            raise NotFoundError("job_unknown", "There is no such comparison.", "It may be a job of another kind.")
        return record

    def _view(self, record: JobRecord) -> ComparisonView:
        payload: dict[str, Any] = dict(record.payload or {})
        told = self._queue.view(record)
        report = payload.get("report") if record.status == "done" else None
        return ComparisonView(
            id=record.id,
            status=record.status,
            plan=ComparisonPlan.model_validate(payload["plan"]),
            merge_id=str(payload.get("merge_id", "")),
            progress=told.progress,
            report=ComparisonReport.model_validate(report) if report else None,
            image=told.images[0] if told.images else None,
            error=record.error,
            created_at=record.created_at,
            finished_at=record.finished_at,
        )


def _stack_of(recipe: MergeRecipe) -> tuple[AdapterRef, ...]:
    """The inputs as the stack that the merge stands for."""
    total = sum(each.weight for each in recipe.inputs) if recipe.normalise else 1.0
    refs = []
    for each in recipe.inputs:
        text = None if each.text_weight is None else _within(each.text_weight / total)
        refs.append(
            AdapterRef(
                name=each.name,
                unet_weight=_within(each.weight / total),
                text_weight=text,
                blocks=each.blocks,
                add_trigger_words=False,
            )
        )
    return tuple(refs)


def _ref(name: str, weight: float) -> AdapterRef:
    # Words are in the prompt already, or left out on purpose.
    return AdapterRef(name=name, unet_weight=weight, add_trigger_words=False)


def _within(weight: float) -> float:
    return max(-_LARGEST_WEIGHT, min(_LARGEST_WEIGHT, weight))


def _require_count(count: int, most: int, things: str) -> None:
    hint = "Choose fewer." if count > most else "Choose at least one."
    _require(1 <= count <= most, f"A comparison takes 1 to {most} {things}, not {count}", hint)


def _require_once(names: Sequence[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), "")
    _require(not twice, f"{twice} stands in the comparison twice", "Name each only once.")


def _require(holds: bool, what: str, hint: str) -> None:
    if not holds:
        raise SpecError("comparison_out_of_range", f"{what}.", hint)
