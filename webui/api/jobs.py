"""/api/v1/jobs: submit, look, cancel."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from engine.protocol.commands import CancelJob, CheckSpec, GetJob, JobList, ListJobs, SubmitJob
from engine.protocol.jobs import JobStatus, JobView
from engine.protocol.specs import GenerationSpec
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of, reply, web

router = APIRouter(prefix="/api/v1", tags=["jobs"])
Priority = Literal["high", "normal", "relaxed"]


@router.post("/jobs", status_code=202, responses={202: {"model": JobView}}, openapi_extra=takes("GenerationSpec"))
async def submit_job(
    request: Request,
    priority: Priority = "normal",
    request_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Queue a job. Answers as soon as it is stored; watch it at `GET /api/v1/jobs/{id}` or in the events.

    `request_id` makes a repeated submit answer the same job.
    """
    spec = await read_model(request, GenerationSpec)
    command = SubmitJob(owner=owner_of(request), spec=spec, priority=priority, request_id=request_id)
    view = await web(request).call(command)
    answer = reply(request, view, 202)
    answer.headers["Location"] = f"/api/v1/jobs/{view.id}"
    return answer


@router.post("/check", responses={200: {"model": JobView}}, openapi_extra=takes("GenerationSpec"))
async def check_spec(request: Request) -> Response:
    """What a job would be: every field filled in, and the notices. Nothing is queued."""
    spec = await read_model(request, GenerationSpec)
    return await ask(request, CheckSpec(owner=owner_of(request), spec=spec))


@router.get("/jobs", responses={200: {"model": JobList}})
async def list_jobs(
    request: Request,
    active: bool = False,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """My jobs, newest first; `active=true` keeps queued and running ones, in the order of the queue."""
    command = ListJobs(owner=owner_of(request), active=active, status=status, limit=limit)
    return await ask(request, command)


@router.get("/jobs/{job_id}", responses={200: {"model": JobView}})
async def get_job(request: Request, job_id: str) -> Response:
    """One job: `status` is queued, running, done, failed or canceled."""
    return await ask(request, GetJob(owner=owner_of(request), job_id=job_id))


@router.delete("/jobs/{job_id}", responses={200: {"model": JobView}})
async def cancel_job(
    request: Request, job_id: str, image: Annotated[int | None, Query(ge=0, le=10_000)] = None
) -> Response:
    """Cancel a job, or with `image` skip one picture of it. What is finished stays."""
    return await ask(request, CancelJob(owner=owner_of(request), job_id=job_id, job_index=image))
