"""Commands of the merge studio."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.protocol.commands import Command
from engine.protocol.frozen import Frozen
from engine.protocol.jobs import ErrorView
from engine.protocol.library import FileView
from engine.protocol.merge import AnyRecipe, FileMetadata
from engine.protocol.merge_reports import MergePreview, MergeProgress, MergeReport, MethodList

MergeStatus = Literal["queued", "running", "done", "failed", "canceled"]


class MergeView(Frozen):
    """One merge of the queue or of the history.

    Attributes:
        name: of the file to be made, without suffix. file_id: its id in the library once it is there.
        created_at, finished_at: seconds since the epoch.
    """

    id: str
    name: str
    status: MergeStatus
    recipe: AnyRecipe
    progress: MergeProgress = MergeProgress(fraction=0.0)
    report: MergeReport | None = None
    error: ErrorView | None = None
    file_id: str = ""
    created_at: float = 0.0
    finished_at: float | None = None


class MergeList(Frozen):
    """The owner's merges, newest first."""

    merges: tuple[MergeView, ...] = ()


class SubmitMerge(Command[MergeView]):
    """Check a recipe and queue it. `replace` overwrites a file of that name, otherwise it is refused.

    `usual_base` is the base where neither the recipe names one nor the files say what they are for.
    """

    name = "submit_merge"
    recipe: AnyRecipe
    file_name: str
    replace: bool = False
    usual_base: str | None = None
    request_id: str | None = None


class PreviewMerge(Command[MergePreview]):
    """What the recipe would make: sizes, errors, spectra, cosines. `modules`: how many to look at.

    A newer question of the same owner ends an older one, which is answered with what it has seen so far.
    """

    name = "preview_merge"
    recipe: AnyRecipe
    modules: int = Field(default=24, ge=1, le=2000)
    usual_base: str | None = None


class GetMerge(Command[MergeView]):
    name = "get_merge"
    merge_id: str


class ListMerges(Command[MergeList]):
    name = "list_merges"
    limit: int = Field(default=50, ge=1, le=500)


class CancelMerge(Command[MergeView]):
    """Stop it; nothing of the file is left."""

    name = "cancel_merge"
    merge_id: str


class DeleteMerge(Command[MergeView]):
    """Undo: move the file that a merge made to the bin."""

    name = "delete_merge"
    merge_id: str


class ListMergeMethods(Command[MethodList]):
    name = "list_merge_methods"


class EditAdapter(Command[FileView]):
    """Change what an adapter's file says of itself, in place; its data stays, proven by its AutoV3 hash."""

    name = "edit_adapter"
    adapter_id: str
    metadata: FileMetadata
