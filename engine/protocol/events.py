"""What the engine tells as it happens: a tagged union with increasing `seq`.

Events go to every client; `owner` lets the web process pass a job's events to its owner only. A client that was away
resumes after the last `seq` that it saw. Previews are not kept: a late client gets only the newest.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine.protocol.frozen import Frozen
from engine.protocol.jobs import ErrorView, ImageView, JobView, Progress
from engine.protocol.notices import Notice

EngineState = Literal["starting", "warming", "ready", "stopping", "restarting", "failed"]


class _Event(Frozen):
    """What every event carries: `at` is seconds since the epoch; `owner` None means everybody."""

    seq: int = 0
    at: float = 0.0
    owner: str | None = None


class EngineStateChanged(_Event):
    """The engine's state machine moved. `message` says in plain words what it is doing; `fraction` 0.0–1.0."""

    kind: Literal["engine_state"] = "engine_state"
    state: EngineState
    message: str = ""
    fraction: float | None = None


class JobChanged(_Event):
    """A job was queued, started, finished, failed or canceled: its whole view."""

    kind: Literal["job"] = "job"
    job: JobView


class JobProgressed(_Event):
    """A job moved by a step, or entered another stage."""

    kind: Literal["progress"] = "progress"
    job_id: str
    progress: Progress


class PreviewMade(_Event):
    """A small JPEG of a picture in progress, base64."""

    kind: Literal["preview"] = "preview"
    job_id: str
    job_index: int
    step: int
    jpeg: str


class ImageSaved(_Event):
    """A picture is on the disk and in the history."""

    kind: Literal["image"] = "image"
    image: ImageView


class JobNoticed(_Event):
    """A notice was added to a job."""

    kind: Literal["notice"] = "notice"
    job_id: str
    notice: Notice


class QueueChanged(_Event):
    """The order of the queue: job id → position. Ids only, so it may go to everybody."""

    kind: Literal["queue"] = "queue"
    positions: dict[str, int]


class LibraryChanged(_Event):
    """Files were found, removed or hashed."""

    kind: Literal["library"] = "library"
    models: int = 0
    message: str = ""


class HistoryChanged(_Event):
    """Pictures were deleted, restored, marked or rebuilt."""

    kind: Literal["history"] = "history"
    image_ids: tuple[str, ...] = ()
    action: Literal["deleted", "restored", "changed", "rebuilt"] = "changed"


class FaultReported(_Event):
    """Something failed outside any job."""

    kind: Literal["fault"] = "fault"
    error: ErrorView


Event = Annotated[
    EngineStateChanged
    | JobChanged
    | JobProgressed
    | PreviewMade
    | ImageSaved
    | JobNoticed
    | QueueChanged
    | LibraryChanged
    | HistoryChanged
    | FaultReported,
    Field(discriminator="kind"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
EVENT_KINDS: tuple[str, ...] = (
    "engine_state",
    "job",
    "progress",
    "preview",
    "image",
    "notice",
    "queue",
    "library",
    "history",
    "fault",
)
