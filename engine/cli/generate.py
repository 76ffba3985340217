"""`launch.py generate "PROMPT"`: a picture without a browser.

Where a studio runs on the data folder, the job goes to it over REST and shows up in its history; otherwise an engine
runs in this process.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from engine.client.base import EngineClient
from engine.client.data_lock import DataLock, current_holder
from engine.errors import AccessError, EngineLostError, GenerationError, StorageError, StudioError, from_wire
from engine.launcher.command_parser import CommandParser
from engine.protocol.commands import GetJob, LocateImage, SubmitJob
from engine.protocol.events import JobChanged, JobNoticed, JobProgressed
from engine.protocol.jobs import FINISHED, ErrorView, ImageView, JobView, Progress
from engine.protocol.specs import GenerationSpec, OutputOptions
from engine.settings import Settings, load_settings

_FORMATS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
_POLL_SECONDS = 0.4


@dataclass(frozen=True)
class Request:
    """What was asked for: the spec, and where copies of the pictures go (None: only into outputs/)."""

    spec: GenerationSpec
    out: Path | None
    settings: Settings


def main(arguments: list[str] | None = None) -> int:
    """The process entry; prints the file of each picture on standard output, everything else on standard error."""
    try:
        request = parse(sys.argv[1:] if arguments is None else arguments)
        for file in asyncio.run(_generate(request)):
            sys.stdout.write(f"{file}\n")
        return 0
    except StudioError as error:
        sys.stderr.write(f"\rEasel: {error} [{error.code}]\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return 130


def parse(arguments: list[str]) -> Request:
    """The command line as a request. Ranges are the engine's to check, so that each has its own sentence."""
    parser = CommandParser("generate", description="Make a picture without a browser.")
    parser.add_argument("prompt", help="what to paint")
    parser.add_argument("--negative", help="what to keep out")
    for name in ("steps", "width", "height", "seed", "clip-skip"):
        parser.add_argument(f"--{name}", type=int, metavar="N")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="pictures (1)")
    parser.add_argument("--guidance", type=float, metavar="X")
    for name in ("sampler", "schedule", "model", "vae"):
        parser.add_argument(f"--{name}", metavar="NAME")
    parser.add_argument("--out", type=Path, metavar="FILE", help="copy the picture to this file (.png, .webp, .jpg)")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--data", metavar="FOLDER")
    found = parser.parse_args(arguments)
    output = OutputOptions()
    if found.out is not None:
        kind = _FORMATS.get(found.out.suffix.lower())
        if kind is None:
            parser.error("--out needs a file name that ends in .png, .webp, .jpg or .jpeg")
        output = OutputOptions.model_validate({"format": kind})
    spec = GenerationSpec(
        prompt=found.prompt,
        negative_prompt=found.negative,
        steps=found.steps,
        width=found.width,
        height=found.height,
        seed=found.seed,
        clip_skip=found.clip_skip,
        count=found.count,
        guidance=found.guidance,
        sampler=found.sampler,
        schedule=found.schedule,
        model=found.model,
        vae=found.vae,
        output=output,
    )
    return Request(spec, found.out, load_settings(found.config, data=found.data))


async def _generate(request: Request) -> list[Path]:
    holder = current_holder(request.settings.state_dir)
    if holder is not None and holder.url:
        files = await _in_studio(request, holder.url)
    else:
        with DataLock(request.settings.state_dir) as lock:
            lock.acquire("")
            files = await _in_this_process(request)
    return [_copy(file, request.out, at, len(files)) for at, file in enumerate(files)]


# --- here ----------------------------------------------------------------------------------------------------------


async def _in_this_process(request: Request) -> list[Path]:
    from engine.server.local import LocalEngineClient

    _show("Loading the engine…")
    client = LocalEngineClient(request.settings)
    try:
        view = await _follow(client, await client.call(SubmitJob(spec=request.spec)))
        images = _images_of(view)
        return [Path((await client.call(LocateImage(image_name=image.name))).path) for image in images]
    finally:
        await client.close()


async def _follow(client: EngineClient, job: JobView) -> JobView:
    """Show progress until the job is finished; its last view."""
    async for event in client.events(after=0):
        if isinstance(event, JobProgressed) and event.job_id == job.id:
            _show_progress(event.progress)
        elif isinstance(event, JobNoticed) and event.job_id == job.id:
            _show(event.notice.message, keep=True)
        elif isinstance(event, JobChanged) and event.job.id == job.id and event.job.status in FINISHED:
            break
    return await client.call(GetJob(job_id=job.id))


# --- in a running studio -------------------------------------------------------------------------------------------


async def _in_studio(request: Request, url: str) -> list[Path]:
    async with httpx.AsyncClient(base_url=url, timeout=30.0, trust_env=False) as http:
        try:
            body = request.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
            view = await _ask(http, "POST", "/api/v1/jobs", body)
            said = 0
            while view["status"] not in FINISHED:
                await asyncio.sleep(_POLL_SECONDS)
                view = await _ask(http, "GET", f"/api/v1/jobs/{view['id']}")
                _show_progress(Progress.model_validate(view["progress"]))
                for notice in view["notices"][said:]:
                    _show(str(notice["message"]), keep=True)
                said = len(view["notices"])
        except httpx.HTTPError as error:
            raise EngineLostError(
                "engine_lost", f"The studio at {url} does not answer ({error}).", "Look at its window, and try again."
            ) from error
    if view["status"] != "done":
        raise _failure(view["status"], ErrorView.model_validate(view["error"]) if view.get("error") else None)
    _show("", keep=True)
    return [request.settings.outputs_dir / image["name"] for image in view["images"]]


async def _ask(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await http.request(method, path, json=body)
    try:
        reply = answer.json()
    except ValueError:
        reply = None
    if answer.status_code in (401, 403) and not (isinstance(reply, dict) and "error" in reply):
        raise AccessError("login_required", "The running studio asks for a login.", "Use its page instead.")
    if not isinstance(reply, dict):
        raise GenerationError("generation_failed", f"The studio answered {answer.status_code}.", "Look at its log.")
    if answer.status_code >= 400:
        raise from_wire(reply)
    return reply


# --- both ----------------------------------------------------------------------------------------------------------


def _images_of(view: JobView) -> tuple[ImageView, ...]:
    _show("", keep=True)
    if view.status != "done":
        raise _failure(view.status, view.error)
    return view.images


def _failure(status: str, error: ErrorView | None) -> StudioError:
    if error is not None:
        return from_wire({"error": error.model_dump()})
    return GenerationError("generation_failed", f"The job was {status}.", "Try again.")


def _copy(file: Path, out: Path | None, at: int, count: int) -> Path:
    """Copy a picture to where it was asked for; further pictures of one job get a number."""
    if out is None:
        return file
    target = out if count == 1 else out.with_name(f"{out.stem}-{at + 1}{out.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    except OSError as error:
        raise StorageError(
            "disk_error", f"{target} cannot be written: {error.strerror or error}.", f"The picture is in {file}."
        ) from error
    return target


def _show_progress(progress: Progress) -> None:
    left = "" if progress.eta_seconds is None else f", about {progress.eta_seconds:.0f} s left"
    steps = f" step {progress.step} of {progress.steps}" if progress.steps else ""
    _show(f"{progress.stage}{steps}, {progress.fraction:.0%}{left}")


def _show(text: str, *, keep: bool = False) -> None:
    """One moving line on a terminal; elsewhere only what is to be kept."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if keep and text else ""))
    elif keep and text:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
