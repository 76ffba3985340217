"""Jobs and pictures to fill a store with."""

from __future__ import annotations

import time
import uuid
from typing import Any

from engine.protocol.jobs import ImageView
from engine.protocol.specs import GenerationSpec
from engine.store.jobs import JobRecord, TaskRecord


def new_job(owner: str = "ann", *, count: int = 1, **changes: Any) -> JobRecord:
    """A queued job of `count` pictures."""
    job_id = changes.pop("id", None) or uuid.uuid4().hex
    values: dict[str, Any] = {
        "kind": "generate",
        "stages": ("encode", "denoise", "decode"),
        "status": "queued",
        "spec": GenerationSpec(prompt="a red fox", model="starter", seed=7, count=count),
        "priority": "normal",
        "notices": (),
        "error": None,
        "created_at": time.time(),
        "started_at": None,
        "finished_at": None,
        "attempts": 0,
        "evaluations": 0,
        "request_id": None,
        "tasks": tuple(TaskRecord(job_id, index, "queued", uuid.uuid4().hex) for index in range(count)),
    }
    return JobRecord(id=job_id, owner=owner, **(values | changes))


def new_image(prompt: str = "a red fox", *, created_at: float | None = None, **changes: Any) -> ImageView:
    """A finished picture."""
    image_id = changes.pop("id", None) or uuid.uuid4().hex
    name = changes.pop("name", f"starter_{image_id}.png")
    spec = GenerationSpec(
        prompt=prompt, negative_prompt=changes.pop("negative", ""), model=changes.pop("model", "starter")
    )
    values: dict[str, Any] = {
        "job_id": uuid.uuid4().hex,
        "job_index": 0,
        "name": name,
        "url": f"/outputs/{name}",
        "seed": 7,
        "width": 128,
        "height": 128,
        "created_at": time.time() if created_at is None else created_at,
        "spec": spec,
        "infotext": f"{prompt}\nSteps: 20, Sampler: Euler, Seed: 7",
        "seconds": 1.5,
    }
    return ImageView(id=image_id, **(values | changes))


def image_of(job: JobRecord, index: int = 0, **changes: Any) -> ImageView:
    """The finished picture of a job's task."""
    return new_image(job.spec.prompt, id=job.tasks[index].image_id, job_id=job.id, job_index=index, **changes)
