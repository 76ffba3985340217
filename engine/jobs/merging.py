"""MergeErrand: a recipe of the merge studio, run module by module between the evaluations of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.jobs.errands import ErrandStep
from engine.jobs.running import Running
from engine.merge.files import RecipeFiles
from engine.merge.run import run
from engine.protocol.merge import AnyRecipe
from engine.store.store import Store

RECIPE: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


class MergeErrand:
    """The payload has `recipe`, `file` (the path to make) and `replace`; `report` comes to it at the end.

    Args:
        files: what a recipe's names stand for now. made: called with the finished file.
    """

    kind = "merge"

    def __init__(self, store: Store, files: Callable[[AnyRecipe], RecipeFiles], made: Callable[[Path], None]) -> None:
        self._store = store
        self._files = files
        self._made = made

    def run(self, running: Running) -> Iterator[ErrandStep]:
        """See `Errand`."""
        payload: dict[str, Any] = dict(running.claim.job.payload or {})
        recipe = RECIPE.validate_python(payload["recipe"])
        out = Path(payload["file"])
        out.parent.mkdir(parents=True, exist_ok=True)
        steps = run(recipe, self._files(recipe), out, replace=bool(payload["replace"]))
        try:
            for progress in steps:
                if progress.report is not None:
                    payload["report"] = progress.report.model_dump(mode="json")
                yield ErrandStep("merging", min(progress.fraction, 0.99))
        finally:
            # Canceled or broken off: whatever was half-written goes.
            close = getattr(steps, "close", None)
            if close is not None:
                close()
        self._store.jobs.set_payload(running.job_id, payload)
        self._store.jobs.set_task(running.job_id, running.index, status="done")
        self._made(out)
