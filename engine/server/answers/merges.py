"""Answers of the merge studio. What needs torch is imported when it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, TypeAdapter

from engine.errors import AccessError, ConflictError, NotFoundError, SpecError
from engine.jobs.queue import JobQueue
from engine.library.library import Library
from engine.protocol.jobs import FINISHED
from engine.protocol.library import FileView
from engine.protocol.merge import AnyRecipe, BakeRecipe, CheckpointRecipe, MergeRecipe
from engine.protocol.merge_commands import (
    CancelMerge,
    DeleteMerge,
    EditAdapter,
    GetMerge,
    ListMergeMethods,
    ListMerges,
    MergeList,
    MergeView,
    PreviewMerge,
    SubmitMerge,
)
from engine.protocol.merge_reports import MergePreview, MergeProgress, MergeReport, MethodList
from engine.protocol.specs import GenerationSpec
from engine.server.dispatch import Answers
from engine.store.jobs import JobRecord
from engine.store.store import Store

if TYPE_CHECKING:
    from engine.merge.files import RecipeFiles
    from engine.merge.methods.base import MergeMethod

RECIPE: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


class MergeAnswers:
    """Merges are jobs of kind "merge"; their results lie in the user's own model folders.

    Args:
        models: the folder with `loras/` and `checkpoints/`. starter: the starter's folder.
        bin_folder: where undone results go. methods: the merge methods there are, those of extensions included.
    """

    def __init__(
        self,
        queue: JobQueue,
        store: Store,
        library: Library,
        models: Path,
        starter: Path,
        bin_folder: Path,
        changed: Callable[[], None],
        methods: Callable[[], Mapping[str, MergeMethod]],
    ) -> None:
        self._queue, self._store, self._library = queue, store, library
        self._models, self._starter, self._bin, self._changed = models, starter, bin_folder, changed
        self._methods = methods
        # Owner → their newest question for a preview.
        self._previews: dict[str, object] = {}

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            SubmitMerge: self.submit,
            GetMerge: self.get,
            ListMerges: self.list,
            CancelMerge: self.cancel,
            DeleteMerge: self.delete,
            ListMergeMethods: self.methods,
            PreviewMerge: self.preview,
            EditAdapter: self.edit,
        }

    def submit(self, command: SubmitMerge) -> MergeView:
        """Check what can be checked before any weight is read, and queue it."""
        if (known := self._store.jobs.submitted(command.owner, command.request_id)) is not None:
            return self._view(self._record(known.id, command.owner))
        file = self._file(command.file_name, command.recipe)
        from engine.merge.ready import require_ready
        from engine.merge.writer import refuse_taken

        refuse_taken(file, replace=command.replace)
        recipe = self._with_base(command.recipe, command.usual_base)
        require_ready(recipe, files_of(self._library, recipe), self._methods())
        payload: dict[str, JsonValue] = {
            "recipe": recipe.model_dump(mode="json", by_alias=True),
            "file": str(file),
            "replace": command.replace,
        }
        spec = GenerationSpec(prompt=f"{recipe.task}: {command.file_name}")
        job = self._queue.submit_errand("merge", spec, payload, owner=command.owner, request_id=command.request_id)
        return self._view(self._store.jobs.get(job.id, command.owner))

    def get(self, command: GetMerge) -> MergeView:
        """One merge."""
        return self._view(self._record(command.merge_id, command.owner))

    def list(self, command: ListMerges) -> MergeList:
        """The owner's merges."""
        records = self._store.jobs.of_kind("merge", command.owner, command.limit)
        return MergeList(merges=tuple(self._view(record) for record in records))

    def cancel(self, command: CancelMerge) -> MergeView:
        """Stop it."""
        self._record(command.merge_id, command.owner)
        self._queue.cancel(command.merge_id, command.owner, None)
        return self._view(self._record(command.merge_id, command.owner))

    def delete(self, command: DeleteMerge) -> MergeView:
        """Undo a finished merge: its result goes to the bin."""
        record = self._record(command.merge_id, command.owner)
        if record.status not in FINISHED:
            raise ConflictError("in_use", "This merge is still running.", "Cancel it instead.")
        made = Path(str((record.payload or {}).get("file", "")))
        if record.status == "done" and made.exists():
            from engine.merge.beside import beside

            self._bin.mkdir(parents=True, exist_ok=True)
            for each in (made, *([] if made.is_dir() else beside(made))):
                shutil.move(each, self._bin / f"{record.id}-{each.name}")
            self._library.refresh()
            self._changed()
        return self._view(record)

    def methods(self, command: ListMergeMethods) -> MethodList:
        """The ways in which adapters can become one."""
        return MethodList(methods=tuple(method.view for method in self._methods().values()))

    def preview(self, command: PreviewMerge) -> MergePreview:
        """What a recipe would make, from some of its modules, on the caller's thread: it reads its own files and
        touches no loaded model, so pictures go on meanwhile. A page that asks again gets the newer one only."""
        from engine.merge.analysis import previewing

        recipe = self._with_base(command.recipe, command.usual_base)
        if not isinstance(recipe, MergeRecipe):
            raise SpecError(
                "bad_request", f"There is nothing to look at before a {recipe.task}.", "Run it: its report says it all."
            )
        turn = self._previews[command.owner] = object()
        seen = MergePreview(family="", modules=0, sampled=0, size_bytes=0, loss=0.0)
        steps = previewing(recipe, files_of(self._library, recipe), modules=command.modules, methods=self._methods())
        with closing(steps):
            for each in steps:
                seen = each
                if self._previews.get(command.owner) is not turn:
                    break
        return seen

    def edit(self, command: EditAdapter) -> FileView:
        """Change what an adapter's file says of itself; its data stays."""
        from engine.merge.edit import edit_metadata

        entry = self._library.adapters.find(command.adapter_id)
        if not entry.path.resolve().is_relative_to(self._models.resolve()):
            raise AccessError(
                "not_allowed",
                f"{entry.path.name} belongs to Easel or to another studio and stays as it is.",
                "Copy it to models/loras and edit the copy.",
            )
        edit_metadata(entry.path, command.metadata)
        self._library.refresh()
        self._changed()
        found = next(view for view in self._library.files("adapter") if view.id == entry.view.id)
        return found

    # --- inside ----------------------------------------------------------------------------------------------------

    def _record(self, merge_id: str, owner: str) -> JobRecord:
        record = self._store.jobs.get(merge_id, owner)
        if record.kind != "merge":
            raise NotFoundError("job_unknown", "There is no such merge.", "It may be a job that makes pictures.")
        return record

    def _file(self, name: str, recipe: AnyRecipe) -> Path:
        """Where the result goes."""
        from engine.merge.recipe_checks import require_name

        name = require_name(name)
        if not isinstance(recipe, BakeRecipe | CheckpointRecipe):
            return self._models / "loras" / f"{name}.safetensors"
        models = [recipe.model] if isinstance(recipe, BakeRecipe) else [each.name for each in recipe.inputs]
        folder = any(self._library.find_model(model).path.is_dir() for model in models[:1])
        return self._models / "checkpoints" / (name if folder else f"{name}.safetensors")

    def _with_base(self, recipe: AnyRecipe, usual: str | None) -> AnyRecipe:
        """The recipe with the usual model as its base, where the files do not say for which family they are, or do not
        have the shapes that are usual there (files made from the starter's)."""
        if recipe.task not in ("merge", "convert") or recipe.base is not None:
            return recipe
        names = [recipe.input] if recipe.task == "convert" else [each.name for each in recipe.inputs]
        entries = [self._library.adapters.find(name) for name in names]
        # The starter's adapters say the family of its shapes' kin, but fit the starter alone.
        own = all(entry.path.is_relative_to(self._starter) for entry in entries)
        if own:
            return recipe.model_copy(update={"base": "starter"})
        from engine.merge.prepared import fit_their_family

        if any(entry.view.family for entry in entries) and fit_their_family([entry.path for entry in entries]):
            return recipe
        return recipe.model_copy(update={"base": usual or self._library.default_model() or None})

    def _view(self, record: JobRecord) -> MergeView:
        payload = record.payload or {}
        report = MergeReport.model_validate(payload["report"]) if payload.get("report") else None
        made = Path(str(payload.get("file", "")))
        file_id = ""
        if record.status == "done" and made.exists():
            file_id = next(
                (entry.view.id for entry in self._library.adapters.entries if entry.path == made),
                next((entry.view.id for entry in self._library.models() if entry.path == made), ""),
            )
        return MergeView(
            id=record.id,
            name=made.stem,
            status=record.status,
            recipe=RECIPE.validate_python(payload["recipe"]),
            progress=self._progress(record, report),
            report=report,
            error=record.error,
            file_id=file_id,
            created_at=record.created_at,
            finished_at=record.finished_at,
        )

    def _progress(self, record: JobRecord, report: MergeReport | None) -> MergeProgress:
        told = self._queue.view(record).progress
        return MergeProgress(fraction=told.fraction, stage=told.stage, seconds_left=told.eta_seconds, report=report)


def files_of(library: Library, recipe: AnyRecipe) -> RecipeFiles:
    """What a recipe's names stand for in the library. Raises SpecError, ModelFileError."""
    from engine.merge.files import RecipeFiles, names_of

    adapters, models = names_of(recipe)
    return RecipeFiles(
        {name: library.path_of("adapter", name) for name in adapters},
        {name: library.find_model(name) for name in models},
    )
