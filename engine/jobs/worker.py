"""Worker: the one thread that touches torch.

Each turn: drop what was canceled → admit what waits → choose the group to serve → one UNet evaluation for all of it →
previews and snapshots → decode and save what is finished. A picture in progress is a value, so every turn may serve
other pictures than the last one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from PIL.Image import Image

from engine.errors import GenerationError, OutOfMemoryError, StudioError
from engine.jobs.board import Board
from engine.jobs.chores import Chores
from engine.jobs.controls import LentControls
from engine.jobs.enlarging import Enlarger
from engine.jobs.errands import Errand, RunningErrand
from engine.jobs.faults import BACKOFF_SECONDS, MAX_TRIES, as_studio_error, is_transient
from engine.jobs.finishing import Finisher
from engine.jobs.previews import Previewer
from engine.jobs.pulse import Pulse
from engine.jobs.queue import Claim, JobQueue
from engine.jobs.recovery import resumed_notice
from engine.jobs.rungs import Rungs
from engine.jobs.running import RunningPicture
from engine.jobs.schedule import Group
from engine.jobs.snapshots import SnapshotStore
from engine.jobs.turns import Turns
from engine.jobs.workbench import Workbench
from engine.memory.desk import MemoryDesk
from engine.memory.ladder import Stage
from engine.metrics.registry import Metrics
from engine.pipeline.decode import decode
from engine.pipeline.denoise import Stopped, tick
from engine.pipeline.encode import begin, resume
from engine.protocol.events import Event, JobProgressed
from engine.protocol.notices import Notice
from engine.store.store import Store

log = logging.getLogger("easel.worker")

# A loaded file may take this long on a slow disk before the worker counts as hung.
LOAD_ALLOWANCE = 900.0
# One step of an errand: a large picture enlarged on a slow CPU, a module of a merge.
ERRAND_ALLOWANCE = 600.0
IDLE_WAIT = 1.0
# One tile of a large picture on a busy CPU.
ENLARGE_ALLOWANCE = 120.0
# A job for another model waits this long for the present one's pictures before no more of those are admitted.
SWITCH_PATIENCE = 20.0


class Worker(threading.Thread):
    """Runs until `stop()`. `warm` is called first, on this thread (it imports torch and opens the default model)."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        board: Board,
        store: Store,
        bench: Workbench,
        finisher: Finisher,
        enlarger: Enlarger,
        memory: MemoryDesk,
        errands: Sequence[Errand],
        chores: Chores,
        previewer: Previewer,
        snapshots: SnapshotStore,
        pulse: Pulse,
        metrics: Metrics,
        publish: Callable[[Event], None],
        warm: Callable[[], None],
        max_batch: int,
        snapshot_interval: float,
    ) -> None:
        super().__init__(name="easel-worker", daemon=True)
        self._queue, self._board, self._store = queue, board, store
        self._bench, self._finisher, self._previewer = bench, finisher, previewer
        self._enlarger = enlarger
        self._memory = memory
        self._chores = chores
        self._errands = {errand.kind: errand for errand in errands}
        self._errand: RunningErrand | None = None
        self._snapshots, self._pulse, self._metrics = snapshots, pulse, metrics
        self._publish, self._warm = publish, warm
        self._max_batch, self._snapshot_interval = max_batch, snapshot_interval
        self._pictures: list[RunningPicture] = []
        self._turns = Turns()
        self._rungs = Rungs()
        self._tries: dict[str, int] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end after this turn; running pictures are kept as snapshots."""
        self._stopping.set()
        self._queue.wake()

    def run(self) -> None:
        """The loop."""
        with self._pulse.allow(LOAD_ALLOWANCE):
            self._warm()
        while not self._stopping.is_set():
            self._pulse.beat()
            self._memory.attend()
            self._drop_canceled()
            self._admit()
            with self._pulse.allow(ERRAND_ALLOWANCE):
                busy = self._chores.serve()
            if self._pictures:
                self._serve()
            if self._errand is not None:
                self._advance_errand(self._errand)
            elif not self._pictures and not busy:
                self._bench.rest()
                self._queue.wait(min(IDLE_WAIT, self._queue.next_retry() or IDLE_WAIT))
        for picture in self._pictures:
            self._keep(picture)
        if self._errand is not None:
            self._errand.close()
        self._bench.close()

    # --- taking work in --------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Start as many waiting pictures as fit beside the ones in progress."""
        if len(self._pictures) >= self._max_batch:
            return
        for claim in self._queue.waiting():
            if len(self._pictures) >= self._max_batch:
                return
            if claim.job.kind != "generate":
                if self._errand is None and self._queue.claim(claim):
                    self._begin_errand(claim)
                continue
            same_model = self._bench.holds(claim.job.spec)
            if self._pictures and not same_model:
                # Its turn has come: let the others run out rather than add to them for ever.
                if time.time() - claim.job.created_at > SWITCH_PATIENCE:
                    return
                continue
            of_this_job = sum(1 for picture in self._pictures if picture.job_id == claim.job.id)
            if of_this_job >= self._rungs.batch(claim.job.id, claim.job.spec.batch_size) or self._must_wait_alone(
                claim
            ):
                continue
            if self._queue.claim(claim):
                self._start(claim)

    def _must_wait_alone(self, claim: Claim) -> bool:
        """A job that failed in company is tried alone."""
        return bool(self._pictures) and claim.job.id in self._tries

    def _start(self, claim: Claim) -> None:
        """Encode a picture's prompts, or take up its snapshot, and put it among those in progress."""
        job, index = claim.job, claim.task.index
        if job.started_at is not None:
            self._metrics.queue_wait(max(0.0, job.started_at - job.created_at))

        def open_and_begin() -> None:
            if not self._bench.holds(job.spec):
                self._progress(job.id, job.owner, index, stage="loading", steps=job.spec.steps or 0)
                with self._pulse.allow(LOAD_ALLOWANCE):
                    self._bench.open(job.spec)
                self._memory.used(job.spec.model or "")
            self._progress(job.id, job.owner, index, stage="encoding", steps=job.spec.steps or 0)
            with self._pulse.allow(60.0), self._metrics.stage("encode"):
                self._pictures.append(self._begin(claim))

        self._guard([claim], open_and_begin)

    def _begin(self, claim: Claim) -> RunningPicture:
        job, index, image_id = claim.job, claim.task.index, claim.task.image_id
        bundle, cache = self._bench.bundle, self._bench.embeddings
        lent, controls = self._bench.stack(job.spec, job.id), LentControls()
        try:
            with self._pulse.allow(LOAD_ALLOWANCE):
                controls = self._bench.controls(job.spec)
            data = self._snapshots.read(image_id)
            given: dict[str, Any] = {
                "context_id": image_id, "cache": cache, "stack": lent.stack, "controls": controls.controls,
            }  # fmt: skip
            if data is not None:
                context = resume(bundle, job.spec, index, data, **given)
                if context is not None:
                    done = context.evaluations_done
                    self._board.resumed(job.id, done)
                    self._queue.notice(job.id, resumed_notice(done, context.evaluations_total))
                    return RunningPicture(claim, context, lent, controls, counted=done)
            context = begin(bundle, job.spec, index, **given)
        except BaseException:
            lent.close()
            controls.close()
            raise
        for notice in (*lent.notices, *context.notices):
            self._queue.notice(job.id, notice)
        return RunningPicture(claim, context, lent, controls, alone=job.id in self._tries)

    # --- errands ---------------------------------------------------------------------------------------------------

    def _begin_errand(self, claim: Claim) -> None:
        def begin_it() -> None:
            errand = self._errands.get(claim.job.kind)
            if errand is None:
                raise GenerationError(
                    "generation_failed", f"This Easel does not know jobs of kind {claim.job.kind}.", ""
                )
            self._errand = RunningErrand(claim, errand)

        self._guard([claim], begin_it)

    def _advance_errand(self, errand: RunningErrand) -> None:
        """One step of it; whatever happens, it is let go of when it is over."""
        running, over = errand.running, True
        job_id, index = running.job_id, running.index

        def step() -> None:
            nonlocal over
            with self._pulse.allow(ERRAND_ALLOWANCE):
                done = errand.advance()
            if done is None:
                self._queue.saved(job_id, index)
            else:
                over = False
                at = int(done.fraction * 100)
                self._progress(job_id, running.owner, index, stage=done.stage, done=at, total=100)

        if self._queue.is_canceled(job_id, index):
            self._queue.dropped(job_id, index)
        else:
            self._guard([running.claim], step)
        if over:
            errand.close()
            self._errand = None

    # --- advancing -------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """One evaluation for one group; first what only waits to be decoded (again, after a fault)."""
        painted = [picture for picture in self._pictures if picture.context.finished]
        if painted:
            self._finish(painted[:1] if any(picture.alone for picture in painted) else painted)
            return
        groups: dict[object, list[RunningPicture]] = {}
        for picture in self._pictures:
            groups.setdefault(picture.group_key, []).append(picture)
        chosen = self._turns.choose(
            [
                Group(key, max(p.weight for p in members), min(p.claim.job.created_at for p in members))
                for key, members in groups.items()
            ],
            self._bench.bundle.switch_seconds,
        )
        self._advance(groups[chosen.key])

    def _advance(self, group: list[RunningPicture]) -> None:
        began = time.perf_counter()

        def one_evaluation() -> None:
            tick(self._bench.bundle, [picture.context for picture in group], should_stop=self._should_stop(group))

        if not self._guard([picture.claim for picture in group], one_evaluation):
            return
        self._metrics.evaluation(len(group), time.perf_counter() - began)
        finished: list[RunningPicture] = []
        for picture in group:
            context = picture.context
            self._progress(
                picture.job_id,
                picture.owner,
                picture.index,
                stage="denoising",
                step=context.step,
                steps=context.steps,
                done=context.evaluations_done,
                total=context.evaluations_total,
            )
            if context.finished:
                finished.append(picture)
                continue
            self._previewer.show(picture, self._bench.bundle)
            if time.monotonic() - picture.last_snapshot >= self._snapshot_interval > 0:
                self._keep(picture)
        if finished:
            self._finish(finished)

    def _should_stop(self, group: Sequence[RunningPicture]) -> Callable[[], bool]:
        def asked() -> bool:
            self._pulse.beat()
            return self._stopping.is_set() or any(self._queue.is_canceled(p.job_id, p.index) for p in group)

        return asked

    def _keep(self, picture: RunningPicture) -> None:
        """Write a snapshot; a disk that refuses costs only the resume."""
        picture.last_snapshot = time.monotonic()
        try:
            self._snapshots.write(picture.image_id, picture.context.snapshot().to_bytes())
        except StudioError as error:
            self._queue.notice(picture.job_id, Notice(code="setting_unsupported", message=str(error), level="warning"))
        self._count(picture)

    def _count(self, picture: RunningPicture) -> None:
        """Store the evaluations that were really run."""
        fresh = picture.context.evaluations_done - picture.counted
        if fresh:
            self._store.jobs.add_evaluations(picture.job_id, picture.index, fresh)
            picture.counted += fresh

    # --- finishing -------------------------------------------------------------------------------------------------

    def _finish(self, pictures: list[RunningPicture]) -> None:
        """Decode and save."""
        for picture in pictures:
            self._progress(picture.job_id, picture.owner, picture.index, stage="decoding")
        decoded: list[Any] = []

        def decode_all() -> None:
            with self._pulse.allow(300.0), self._metrics.stage("decode"):
                decoded.extend(
                    decode(
                        self._bench.bundle,
                        [picture.context for picture in pictures],
                        should_stop=self._should_stop(pictures),
                        tiled=next((True for picture in pictures if self._rungs.tiled(picture.job_id)), None),
                    )
                )

        if not self._guard([picture.claim for picture in pictures], decode_all, stage="decode"):
            return
        for picture, result in zip(pictures, decoded, strict=True):
            for notice in result.notices:
                self._queue.notice(picture.job_id, notice)
            self._guard([picture.claim], partial(self._save, picture, result.image))

    def _enlarged(self, picture: RunningPicture, image: Image) -> Image:
        """The picture as large as its spec wants it. Raises Stopped where it was canceled meanwhile."""
        spec = picture.claim.job.spec
        if (spec.upscale or 1) == 1 or spec.upscaler is None:
            return image
        self._progress(picture.job_id, picture.owner, picture.index, stage="upscaling")
        asked = self._should_stop([picture])

        def look(_: float) -> None:
            if asked():
                raise Stopped

        with self._pulse.allow(ENLARGE_ALLOWANCE), self._metrics.stage("upscale"):
            return self._enlarger.enlarge(image, spec.upscale or 1, spec.upscaler, look)

    def _save(self, picture: RunningPicture, image: Image) -> None:
        self._count(picture)
        image = self._enlarged(picture, image)
        with self._metrics.stage("save"):
            view = self._finisher.save(picture, image)
        self._let_go(picture)
        self._metrics.picture(view.seconds or 0.0, picture.context.steps)
        self._publish(
            JobProgressed(
                owner=picture.owner, job_id=picture.job_id, progress=self._board.saved(picture.job_id, picture.index)
            )
        )
        self._tries.pop(picture.job_id, None)
        self._rungs.forget(picture.job_id)
        self._queue.saved(picture.job_id, picture.index)

    # --- what can go wrong -----------------------------------------------------------------------------------------

    def _drop_canceled(self) -> None:
        for picture in list(self._pictures):
            if self._queue.is_canceled(picture.job_id, picture.index):
                self._count(picture)
                self._let_go(picture)
                self._snapshots.forget(picture.image_id)
                self._queue.dropped(picture.job_id, picture.index)

    def _let_go(self, picture: RunningPicture) -> None:
        self._pictures.remove(picture)
        picture.lent.close()
        picture.controls.close()
        self._previewer.forget(picture)

    def _guard(self, claims: Sequence[Claim], act: Callable[[], None], stage: Stage = "denoise") -> bool:
        """Run `act` for these pictures; a fault ends or delays their jobs, never the worker. True when it went well."""
        try:
            act()
        except Stopped:
            return False
        except Exception as error:
            log.exception("a job failed")
            self._fault(claims, as_studio_error(error), stage)
            return False
        return True

    def _fault(self, claims: Sequence[Claim], error: StudioError, stage: Stage) -> None:
        together = [picture for picture in self._pictures if picture.claim in claims]
        if len({picture.job_id for picture in together}) > 1:
            # Whose fault it was shows when each goes on alone.
            for picture in together:
                picture.alone = True
            return
        for job_id in {claim.job.id for claim in claims}:
            for picture in [p for p in self._pictures if p.job_id == job_id]:
                # What is done is not done again.
                self._keep(picture)
                self._let_go(picture)
            self._bench.release_memory()
            if isinstance(error, OutOfMemoryError) and error.code == "out_of_memory":
                self._step_down(job_id, stage, together)
                continue
            tries = self._tries.get(job_id, 0) + 1
            self._tries[job_id] = tries
            if is_transient(error) and tries < MAX_TRIES:
                self._queue.notice(
                    job_id, Notice(code="retried", message=f"{error.message} Trying again.", level="warning")
                )
                self._queue.retry(job_id, BACKOFF_SECONDS[tries - 1])
            else:
                self._tries.pop(job_id, None)
                self._queue.fail(job_id, error)

    def _step_down(self, job_id: str, stage: Stage, together: Sequence[RunningPicture]) -> None:
        """After running out of memory: the job goes on from its last step with less, or ends with what would fit."""
        step = self._rungs.climb(job_id, stage, max(1, len(together)))
        self._bench.release_all()
        self._memory.tell("out_of_memory", "Memory ran out; a job goes on with less.")
        if step.error is not None:
            self._rungs.forget(job_id)
            self._queue.fail(job_id, step.error)
            return
        if step.notice is not None:
            self._queue.notice(job_id, step.notice)
        self._queue.retry(job_id, 0.0)

    def _progress(self, job_id: str, owner: str, index: int, **changes: Any) -> None:
        progress = self._board.picture(job_id, index, **changes)
        if progress is not None:
            self._publish(JobProgressed(owner=owner, job_id=job_id, progress=progress))
