"""MergeErrand: a recipe of the merge studio, run module by module between the evaluations of pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.adapters.lifecycle import AdapterState, Transition
from engine.jobs.errands import ErrandStep
from engine.jobs.running import Running
from engine.merge.files import RecipeFiles
from engine.merge.made import made_already
from engine.merge.methods.base import MergeMethod
from engine.merge.run import run
from engine.protocol.merge import AnyRecipe
from engine.protocol.notices import Notice
from engine.store.store import Store

RECIPE: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)
_FOUND = Notice(
    code="resumed",
    message="The work was broken off just after the file was made; it is whole, and only its report is lost.",
)


class MergeErrand:
    """The payload has `recipe`, `file` (the path to make) and `replace`; `report` comes to it at the end.

    Args:
        files: what a recipe's names stand for now. methods: the merge methods there are. made: called with the file.
    """

    kind = "merge"

    def __init__(
        self,
        store: Store,
        files: Callable[[AnyRecipe], RecipeFiles],
        methods: Callable[[], Mapping[str, MergeMethod]],
        made: Callable[[Path], None],
    ) -> None:
        self._store = store
        self._files = files
        self._methods = methods
        self._made = made

    def run(self, running: Running) -> Iterator[ErrandStep]:
        """See `Errand`."""
        payload: dict[str, Any] = dict(running.claim.job.payload or {})
        recipe = RECIPE.validate_python(payload["recipe"])
        out = Path(payload["file"])
        out.parent.mkdir(parents=True, exist_ok=True)
        files = self._files(recipe)
        if not payload["replace"] and made_already(recipe, files, out):
            # No such file was there when the job was accepted, so an earlier try of it gave the file its name.
            if not payload.get("report"):
                self._store.jobs.add_notice(running.job_id, _FOUND)
            self._finish(running, out)
            return
        steps = run(recipe, files, out, replace=bool(payload["replace"]), methods=self._methods())
        whole = False
        try:
            for progress in steps:
                if progress.report is not None:
                    # The file has its name now: no cancel may come between it and the end of the job.
                    payload["report"] = progress.report.model_dump(mode="json")
                    continue
                yield ErrandStep("merging", min(progress.fraction, 0.99))
            whole = True
        finally:
            # Canceled or broken off: whatever was half-written goes.
            close = getattr(steps, "close", None)
            if close is not None:
                close()
            if not whole:
                self._tell(running, out, "error")
        self._store.jobs.set_payload(running.job_id, payload)
        self._finish(running, out)

    def _finish(self, running: Running, out: Path) -> None:
        self._store.jobs.set_task(running.job_id, running.index, status="done")
        self._made(out)
        self._tell(running, out, "active")

    def _tell(self, running: Running, out: Path, after: AdapterState) -> None:
        """Keep the step in the log of adapters' lives, as of those on a stack: `merging` → `active`, or → `error`."""
        step = Transition(out.stem, "merging", after, time.time())
        told: dict[str, Any] = {"adapter": out.stem, "steps": [asdict(step)]}
        self._store.events.append("adapter", told, running.job_id)
