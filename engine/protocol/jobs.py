"""Jobs and pictures as the clients see them."""

from __future__ import annotations

from typing import Literal

from engine.protocol.frozen import Frozen
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

JobStatus = Literal["queued", "running", "done", "failed", "canceled"]
Stage = Literal["waiting", "loading", "encoding", "denoising", "decoding", "upscaling", "merging", "saving", "finished"]
FINISHED: tuple[JobStatus, ...] = ("done", "failed", "canceled")


class ErrorView(Frozen):
    """A `StudioError` as a value."""

    code: str
    message: str
    hint: str = ""


class ImageView(Frozen):
    """One finished picture. `url` is relative to the studio; `created_at` is seconds since the epoch, UTC.

    `job_index` is its place in the job (0-based); `spec` is the resolved spec that makes this very picture alone.
    """

    id: str
    job_id: str
    job_index: int
    name: str
    url: str
    seed: int
    width: int
    height: int
    created_at: float
    spec: GenerationSpec
    infotext: str = ""
    favourite: bool = False
    tags: tuple[str, ...] = ()
    seconds: float | None = None


class Rebuilt(Frozen):
    """A rebuild of the history: `count` are new, `returned` came back from the bin, `removed` lost their file."""

    count: int = 0
    returned: int = 0
    removed: int = 0


class Progress(Frozen):
    """How far a job is. `fraction` 0.0–1.0 over all its pictures; `eta_seconds` None while unknown.

    `step` of `steps` belongs to the picture that is furthest behind among those running.
    """

    stage: Stage = "waiting"
    fraction: float = 0.0
    step: int = 0
    steps: int = 0
    images_done: int = 0
    eta_seconds: float | None = None


class JobView(Frozen):
    """A job as its owner sees it. `position` is its place in the queue (0 = next), None once it runs."""

    id: str
    owner: str
    kind: str = "generate"
    status: JobStatus
    spec: GenerationSpec
    progress: Progress = Progress()
    position: int | None = None
    images: tuple[ImageView, ...] = ()
    notices: tuple[Notice, ...] = ()
    error: ErrorView | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    evaluations: int = 0
    attempts: int = 0
