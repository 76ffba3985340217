"""MergeErrand: a recipe of the merge studio, run module by module between the evaluations of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.jobs.errands import ErrandStep
from engine.jobs.running import Running
from engine.merge.files import RecipeFiles
from engine.merge.methods.base import MergeMethod
from engine.merge.run import run
from engine.protocol.merge import AnyRecipe
from engine.store.store import Store

RECIPE: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


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
        steps = run(recipe, self._files(recipe), out, replace=bool(payload["replace"]), methods=self._methods())
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
