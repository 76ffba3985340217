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
from contextlib import nullcontext
from functools import partial
from typing import Any

from PIL.Image import Image

from engine.jobs.board import Board
from engine.jobs.chores import Chores
from engine.jobs.company import Company
from engine.jobs.controls import LentControls
from engine.jobs.enlarging import Enlarger
from engine.jobs.errands import Errand
from engine.jobs.extension_work import ExtensionWork
from engine.jobs.faults import as_studio_error
from engine.jobs.finishing import Finisher
from engine.jobs.in_progress import InProgress
from engine.jobs.levels import LevelKeeper
from engine.jobs.mending import Mending
from engine.jobs.peaks import PeakWatch
from engine.jobs.previews import Previewer
from engine.jobs.pulse import Pulse
from engine.jobs.queue import Claim, JobQueue
from engine.jobs.quiet import QuietTime
from engine.jobs.recovery import resumed_notice
from engine.jobs.running import RunningPicture
from engine.jobs.schedule import Group
from engine.jobs.sideline import ERRAND_ALLOWANCE, Sideline
from engine.jobs.snapshots import SnapshotStore
from engine.jobs.turns import Turns
from engine.jobs.workbench import Workbench
from engine.memory.desk import MemoryDesk
from engine.memory.ladder import Stage
from engine.memory.steps import GenerationStep
from engine.metrics.registry import Metrics
from engine.pipeline.decode import decode
from engine.pipeline.denoise import Stopped, tick
from engine.pipeline.encode import begin, resume
from engine.protocol.events import Event, JobProgressed

log = logging.getLogger("easel.worker")

# A loaded file may take this long on a slow disk before the worker counts as hung.
LOAD_ALLOWANCE = 900.0
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
        bench: Workbench,
        pictures: InProgress,
        finisher: Finisher,
        enlarger: Enlarger,
        memory: MemoryDesk,
        levels: LevelKeeper,
        peaks: PeakWatch,
        quiet: QuietTime,
        errands: Sequence[Errand],
        extensions: ExtensionWork,
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
        self._queue, self._board, self._bench, self._pictures = queue, board, bench, pictures
        self._finisher, self._enlarger, self._previewer = finisher, enlarger, previewer
        self._memory, self._levels, self._peaks, self._quiet = memory, levels, peaks, quiet
        self._chores, self._extensions = chores, extensions
        self._snapshots, self._pulse, self._metrics = snapshots, pulse, metrics
        self._publish, self._warm = publish, warm
        self._max_batch, self._snapshot_interval = max_batch, snapshot_interval
        self._turns, self._company = Turns(), Company()
        self._mending = Mending(queue, bench, pictures, levels)
        self._errands = Sideline(queue, errands, pulse, self._guard, self._progress)
        # With staged loading the pictures in progress go through the stages together: from the first step on nobody
        # joins them.
        self._door_closed = False
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
            self._pictures.drop_canceled()
            self._follow_level()
            self._admit()
            with self._pulse.allow(ERRAND_ALLOWANCE):
                busy = self._chores.serve()
            if self._pictures:
                self._serve()
            self._errands.advance()
            if not self._pictures:
                self._peaks.end()
                self._door_closed = False
            if self._pictures or busy or self._errands.busy:
                self._quiet.ended()
            else:
                self._bench.rest()
                with self._pulse.allow(LOAD_ALLOWANCE):
                    self._quiet.look()
                self._queue.wait(min(IDLE_WAIT, self._queue.next_retry() or IDLE_WAIT))
        for picture in self._pictures:
            self._pictures.keep(picture)
        self._errands.close()
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
                if not self._errands.busy and self._queue.claim(claim):
                    self._peaks.spoil()
                    self._errands.begin(claim)
                continue
            if not self._may_begin(claim):
                continue
            if self._pictures and not self._goes_beside(claim):
                # Its turn has come: let the others run out rather than add to them for ever.
                if time.time() - claim.job.created_at > SWITCH_PATIENCE:
                    return
                continue
            if self._queue.claim(claim):
                self._start(claim)

    def _may_begin(self, claim: Claim) -> bool:
        """Whether a picture may begin now, for its own job's sake; what cannot fit into memory ends here."""
        job = claim.job
        if len(self._pictures.of_job(job.id)) >= self._mending.batch(job.id, job.spec.batch_size):
            return False
        if not self._pictures and (error := self._levels.room.refusal(job.spec)) is not None:
            self._queue.fail(job.id, error)
            return False
        return True

    def _goes_beside(self, claim: Claim) -> bool:
        """Whether a picture can begin while those in progress go on."""
        job, room = claim.job, self._levels.room
        alone = self._mending.failed_before(job.id) or (self._door_closed and self._bench.staged)
        if alone or not self._bench.holds(job.spec):
            return False
        in_company = any(picture.job_id != job.id for picture in self._pictures)
        if in_company and job.priority != "high" and not room.gains(job.spec):
            return False
        return room.joins(job.spec, [picture.claim.job.spec for picture in self._pictures])

    def _start(self, claim: Claim) -> None:
        """Encode a picture's prompts, or take up its snapshot, and put it among those in progress."""
        job, index = claim.job, claim.task.index
        if job.started_at is None and not self._pictures.of_job(job.id):
            self._metrics.queue_wait(max(0.0, time.time() - job.created_at))

        def open_and_begin() -> None:
            beside = len(self._pictures)
            in_progress = [(picture.job_id, picture.claim.job.spec) for picture in self._pictures]
            config = self._levels.begin(job.id, job.spec, in_progress)
            with self._pulse.allow(LOAD_ALLOWANCE):
                if self._bench.holds(job.spec):
                    self._bench.fit(config)
                else:
                    self._progress(job.id, job.owner, index, stage="loading", steps=job.spec.steps or 0)
                    self._bench.expect(waiting.job.spec for waiting in self._queue.waiting())
                    self._bench.open(job.spec, config)
            if not self._pictures.of_job(job.id):
                self._memory.used(job.spec.model or "")
            self._peaks.begin(job.id, self._levels.present, beside)
            self._progress(job.id, job.owner, index, stage="encoding", steps=job.spec.steps or 0)
            # With staged loading, whatever is loaded comes from here on.
            with self._pulse.allow(LOAD_ALLOWANCE if self._bench.staged else 60.0), self._metrics.stage("encode"):
                self._bench.enter(GenerationStep.ENCODE_PROMPT)
                picture = self._begin(claim)
            self._pictures.add(picture)
            # An evaluation of a large picture takes minutes on a CPU: that it paints is told before, not after.
            self._tell_step(picture)

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
                    if done:
                        self._queue.notice(job.id, resumed_notice(done, context.evaluations_total))
                    return RunningPicture(claim, context, lent, controls, counted=done)
            context = begin(bundle, job.spec, index, **given)
        except BaseException:
            lent.close()
            controls.close()
            raise
        for notice in (*lent.notices, *context.notices):
            self._queue.notice(job.id, notice)
        return RunningPicture(claim, context, lent, controls, alone=self._mending.failed_before(job.id))

    def _follow_level(self) -> None:
        """Another level was chosen while pictures are in progress: it holds from the next step on."""
        if not (self._pictures and self._levels.chosen_anew):
            return
        self._peaks.spoil()

        def change() -> None:
            with self._pulse.allow(LOAD_ALLOWANCE):
                self._bench.fit(self._levels.follow(picture.claim.job.spec for picture in self._pictures))

        self._guard([picture.claim for picture in self._pictures], change)

    # --- advancing -------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """One evaluation for one group; first what only waits to be decoded (again, after a fault)."""
        painted, unpainted = self._pictures.painted, self._pictures.unpainted
        # Staged, the UNet stays until the last one needs it no more.
        if painted and not (unpainted and self._bench.staged):
            self._finish(painted[:1] if any(picture.alone for picture in painted) else painted)
            return
        groups = self._company.groups(unpainted)
        chosen = self._turns.choose(
            [
                Group(key, max(p.weight for p in members), min(p.claim.job.created_at for p in members))
                for key, members in groups.items()
            ],
            self._bench.bundle.switch_seconds,
        )
        self._advance(groups[chosen.key])

    def _advance(self, group: list[RunningPicture]) -> None:
        began, trial = time.perf_counter(), self._company.trial(group, self._pictures.unpainted)
        hooks = self._extensions.step_hooks
        self._door_closed = True

        def one_evaluation() -> None:
            contexts = [picture.context for picture in group]
            with self._pulse.allow(LOAD_ALLOWANCE) if self._bench.staged else nullcontext():
                self._bench.enter(GenerationStep.DENOISE)
            tick(self._bench.bundle, contexts, should_stop=self._should_stop(group), hooks=hooks)
            self._bench.after_step()

        if not self._guard([picture.claim for picture in group], one_evaluation):
            return
        self._metrics.evaluation(len(group), time.perf_counter() - began)
        self._company.told(trial, time.perf_counter() - began)
        for notice in hooks.take_notices():
            for picture in group:
                self._queue.notice(picture.job_id, notice)
        finished: list[RunningPicture] = []
        for picture in group:
            self._tell_step(picture)
            if picture.context.finished:
                finished.append(picture)
                continue
            self._previewer.show(picture, self._bench.bundle)
            if time.monotonic() - picture.last_snapshot >= self._snapshot_interval > 0:
                self._pictures.keep(picture)
        if finished and not self._bench.staged:
            self._finish(finished)

    def _should_stop(self, group: Sequence[RunningPicture]) -> Callable[[], bool]:
        def asked() -> bool:
            self._pulse.beat()
            return self._stopping.is_set() or any(self._queue.is_canceled(p.job_id, p.index) for p in group)

        return asked

    # --- finishing -------------------------------------------------------------------------------------------------

    def _finish(self, pictures: list[RunningPicture]) -> None:
        """Decode and save."""
        for picture in pictures:
            self._progress(picture.job_id, picture.owner, picture.index, stage="decoding")
        decoded: list[Any] = []

        def decode_all() -> None:
            with self._pulse.allow(LOAD_ALLOWANCE if self._bench.staged else 300.0), self._metrics.stage("decode"):
                if self._bench.staged:
                    for picture in pictures:
                        picture.let_controls_go()
                self._bench.enter(GenerationStep.DECODE)
                decoded.extend(
                    decode(
                        self._bench.bundle,
                        [picture.context for picture in pictures],
                        should_stop=self._should_stop(pictures),
                        tiled=self._mending.tiled(pictures),
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
        self._pictures.count(picture)
        image = self._enlarged(picture, image)
        with self._metrics.stage("save"):
            view = self._finisher.save(picture, image)
        self._pictures.let_go(picture)
        self._metrics.picture(view.seconds or 0.0, picture.context.steps)
        self._publish(
            JobProgressed(
                owner=picture.owner, job_id=picture.job_id, progress=self._board.saved(picture.job_id, picture.index)
            )
        )
        self._mending.well(picture.job_id)
        self._queue.saved(picture.job_id, picture.index)

    # --- what can go wrong -----------------------------------------------------------------------------------------

    def _guard(self, claims: Sequence[Claim], act: Callable[[], None], stage: Stage = "denoise") -> bool:
        """Run `act` for these pictures; a fault ends or delays their jobs, never the worker. True when it went well."""
        try:
            act()
        except Stopped:
            return False
        except Exception as error:
            log.exception("a job failed")
            self._peaks.spoil()
            self._mending.fault(claims, as_studio_error(error), stage)
            return False
        return True

    def _tell_step(self, picture: RunningPicture) -> None:
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

    def _progress(self, job_id: str, owner: str, index: int, **changes: Any) -> None:
        progress = self._board.picture(job_id, index, **changes)
        if progress is not None:
            self._publish(JobProgressed(owner=owner, job_id=job_id, progress=progress))
