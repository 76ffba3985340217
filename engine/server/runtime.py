"""Runtime: the composition root. Everything is built here, by constructor; nothing calls a global.

What needs no torch (store, library, queue, admission) stands at once, so that the engine answers and accepts jobs while
the worker's half (`engine.server.workshop`) is still importing torch on its own thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.client.data_lock import DataLock
from engine.control.annotators import AnnotatorFiles
from engine.errors import EngineLostError, StudioError
from engine.extension_folder import guard
from engine.images.added_reader import AddedReader
from engine.images.assets import AssetStore
from engine.images.disk import remove_leftovers
from engine.jobs.admission import Admission
from engine.jobs.board import Board
from engine.jobs.control_admission import ControlAdmission, kept_reference
from engine.jobs.extension_work import ExtensionWork
from engine.jobs.faults import as_studio_error
from engine.jobs.plans import Plans
from engine.jobs.pulse import Pulse
from engine.jobs.queue import JobQueue
from engine.jobs.recovery import recover
from engine.jobs.room import Room
from engine.jobs.snapshots import SnapshotStore
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.library.previews import CoverFolder
from engine.library.roots import make_own_folders
from engine.library.styles import StyleFile
from engine.memory.desk import MemoryDesk
from engine.metrics.registry import Metrics
from engine.protocol.adapters import StackReport
from engine.protocol.commands import LOCAL_OWNER, CheckStack, PreviewHint, TokenCount
from engine.protocol.controls import HintView
from engine.protocol.events import FaultReported, LibraryChanged
from engine.protocol.jobs import ErrorView
from engine.server.answers.adapters import AdapterAnswers
from engine.server.answers.comparisons import ComparisonAnswers
from engine.server.answers.controls import ControlAnswers
from engine.server.answers.engine import EngineAnswers
from engine.server.answers.history import HistoryAnswers
from engine.server.answers.jobs import JobAnswers
from engine.server.answers.library import LibraryAnswers
from engine.server.answers.memory import MemoryAnswers
from engine.server.answers.merges import MergeAnswers
from engine.server.answers.pictures import PictureAnswers
from engine.server.dispatch import Dispatch
from engine.server.events import EventHub
from engine.server.extension_halves import ExtensionHalves
from engine.server.gallery import Gallery
from engine.server.state import StateMachine
from engine.settings import ROOT, Settings
from engine.store.store import open_store

log = logging.getLogger("easel.engine")

VERSION = "0.1.0"
BIN_DAYS = 30
DAY = 86_400.0
IMPORT_ALLOWANCE = 300.0
LOCK_PATIENCE = 30.0


class Runtime:
    """One engine. `start()` once, `stop()` once.

    Args:
        extensions: the folder of extensions; None loads none (safe mode).

    Raises:
        StorageError, ConflictError: the data folder cannot be used.
    """

    def __init__(self, settings: Settings, *, extensions: Path | None = ROOT / "extensions") -> None:
        self.settings = settings
        self.extensions = ExtensionHalves(extensions, settings.extensions.disabled, self._extension_values)
        self.extension_work = ExtensionWork(guard, awaited=self.extensions.expected)
        self.events = EventHub()
        self.state = StateMachine(self.events.publish)
        self.pulse = Pulse()
        self.metrics = Metrics()
        # An engine whose studio was killed may still be finishing its last evaluation: two never write one store.
        self._lock = DataLock(settings.state_dir, "engine.lock")
        self._lock.acquire("", patience=LOCK_PATIENCE)
        try:
            self.store = open_store(settings.state_dir)
        except StudioError:
            self._lock.release()
            raise
        make_own_folders(settings)
        self.library = Library(settings, self.store.library)
        self.gallery = Gallery(self.library, self.store, CoverFolder(settings.state_dir / "previews"))
        self.library.watch(self.library_changed)
        self.assets = AssetStore(settings.state_dir)
        self.controls = ControlShelf(self.library)
        self.annotators = AnnotatorFiles([settings.models_dir / "annotators", settings.starter_dir / "annotators"])
        self.styles = StyleFile(settings.data_dir / "styles.csv")
        self.snapshots = SnapshotStore(settings.state_dir / "snapshots")
        self.board = Board()
        remove_leftovers(settings.outputs_dir)
        # The command line may be merging into these meanwhile. Adapters in inner folders are edited where they lie.
        for folder in ("loras", "checkpoints"):
            remove_leftovers(settings.models_dir / folder, older_than=3600.0, below=folder == "loras")
        recover(self.store, self.snapshots, settings.outputs_dir)
        self.queue = JobQueue(self.store, self.board, self.metrics, self.events.publish)
        self.memory = MemoryDesk(
            self.store,
            self.library,
            level=settings.memory.level,
            pool_gb=settings.memory.pool_gb,
            wake=self.queue.wake,
            settings=settings.memory,
            report=self._report,
        )
        self.plans = Plans(self.memory)
        self.dispatch = self._answers()
        self._stop_worker: Callable[[], None] | None = None
        self._worker_thread: threading.Thread | None = None
        self._count_tokens: Callable[[str, str | None], TokenCount] | None = None
        self._check_stack: Callable[[CheckStack], StackReport] | None = None
        self._preview_hint: Callable[[PreviewHint], HintView] | None = None
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether this engine is about to end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin to work: the queue is taken up, and a thread imports torch and becomes the worker."""
        self.queue.load()
        self.state.move("warming", "Looking at the model folders.")
        self._worker_thread = threading.Thread(target=self._become_worker, name="easel-worker", daemon=True)
        self._worker_thread.start()
        threading.Thread(target=self._housekeeping, name="easel-housekeeping", daemon=True).start()

    def stop(self) -> None:
        """End after the present evaluation; what is in progress is kept as snapshots."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self.state.move("stopping", "Stopping.")
        if self._stop_worker is not None:
            self._stop_worker()
        if self._worker_thread is not None:
            self._worker_thread.join(timeout=20)
        self.memory.care.close()
        self.library.close()
        self.events.close()
        self.store.close()
        self._lock.release()

    # --- threads ---------------------------------------------------------------------------------------------------

    def _become_worker(self) -> None:
        """The process entry of the worker's half: a fault here is told, since nothing would run."""
        try:
            with self.pulse.allow(IMPORT_ALLOWANCE):
                # First, since the folders are looked at with the kinds of files that extensions bring.
                self.extensions.load()
                hosts = self.extensions.hosts
                self.extension_work.settle(
                    (each for host in hosts for each in host.prompt_passes),
                    (each for host in hosts for each in host.post_processors),
                    (each for host in hosts for each in host.step_hooks),
                )
                self.library.refresh()
                self._follow_library()
                self.events.publish(LibraryChanged(models=len(self.library.models())))
                self.state.move("warming", "Loading the image libraries.")
                # Importing torch takes seconds: the engine answers meanwhile.
                from engine.server.workshop import Workshop

                workshop = Workshop(self)
            self._count_tokens = workshop.count_tokens
            self._check_stack = workshop.check_stack
            self._preview_hint = workshop.preview_hint
            self._stop_worker = workshop.worker.stop
            if self._stopping.is_set():
                return
            workshop.worker.run()
        except Exception as error:
            log.exception("the worker could not go on")
            fault = as_studio_error(error)
            self.state.move("failed", str(fault))
            self.events.publish(FaultReported(error=ErrorView(code=fault.code, message=fault.message, hint=fault.hint)))

    def _housekeeping(self) -> None:
        """Once a day: empty the old part of the bin, copy the database. Hashes files in between."""
        self.library.start_hashing(self._hashed)
        while not self._stopping.is_set():
            try:
                for name in self.store.history.purge(time.time() - BIN_DAYS * DAY):
                    (self.settings.state_dir / "bin" / name).unlink(missing_ok=True)
                self.store.backup()
            except (StudioError, OSError):
                log.exception("housekeeping failed; the next try is tomorrow")
            self._stopping.wait(DAY)

    def library_changed(self) -> None:
        """In the thread that looked at the folders."""
        self._follow_library()
        self.events.publish(LibraryChanged(models=len(self.library.models()), message="The model folders changed."))

    def _follow_library(self) -> None:
        """The text index follows at once, so that no search has to wait for it."""
        try:
            self.gallery.sync()
        except StudioError:
            log.exception("the words of the adapters could not be entered; the next search tries again")

    def _hashed(self, name: str) -> None:
        self.events.publish(LibraryChanged(models=len(self.library.models()), message=f"{name} was hashed."))

    # --- composition -----------------------------------------------------------------------------------------------

    def _answers(self) -> Dispatch:
        settings, publish = self.settings, self.events.publish
        reference = partial(kept_reference, self.assets, settings.engine.reference_image)
        controls = ControlAdmission(self.controls, self.annotators, self.assets.path, reference)
        admission = Admission(
            self.library,
            self.styles,
            controls,
            self._tokens,
            self.extension_work,
            Room(self.memory, self.library, self.plans).check,
        )
        self.admission = admission
        return Dispatch(
            [
                JobAnswers(admission, self.queue, self.store).answers(),
                LibraryAnswers(self.library, self.styles, publish).answers(),
                AdapterAnswers(
                    self.library, self.gallery, self.store, changed=self.library_changed, check=self._stack_report
                ).answers(),
                ControlAnswers(self.controls, self.annotators, self.library, self._hint).answers(),
                PictureAnswers(self.assets, self.library, self._tokens, self._added_readers).answers(),
                MemoryAnswers(self.memory, self.queue, self.store, self.library, admission).answers(),
                MergeAnswers(
                    self.queue,
                    self.store,
                    self.library,
                    settings.models_dir,
                    settings.starter_dir,
                    settings.state_dir / "bin",
                    self.library_changed,
                    self.extensions.merge_methods,
                ).answers(),
                ComparisonAnswers(admission, self.queue, self.store, self.library).answers(),
                HistoryAnswers(self.store, settings.outputs_dir, settings.state_dir / "bin", publish).answers(),
                EngineAnswers(
                    self.state,
                    self.queue,
                    self.store,
                    self.metrics,
                    lambda: self.events.last_seq,
                    self.memory.bytes_held,
                    self.extensions.tell,
                ).answers(),
            ]
        )

    def _extension_values(self, extension: str) -> dict[str, Any]:
        """config.toml's values for it, and over them what the person saved on the Settings tab."""
        saved = self.store.values.get(LOCAL_OWNER, f"ext.{extension}")
        return {**self.settings.extensions.values.get(extension, {}), **(saved if isinstance(saved, dict) else {})}

    def _added_readers(self) -> list[AddedReader]:
        return [reader for host in self.extensions.hosts for reader in host.metadata_readers]

    def _report(self, error: StudioError) -> None:
        self.events.publish(FaultReported(error=ErrorView(code=error.code, message=error.message, hint=error.hint)))

    def _tokens(self, prompt: str, model: str | None) -> TokenCount:
        if self._count_tokens is None:
            raise _warming_up()
        return self._count_tokens(prompt, model)

    def _hint(self, command: PreviewHint) -> HintView:
        if self._preview_hint is None:
            raise _warming_up()
        return self._preview_hint(command)

    def _stack_report(self, command: CheckStack) -> StackReport:
        if self._check_stack is None:
            raise _warming_up()
        return self._check_stack(command)


def _warming_up() -> EngineLostError:
    """The answer to what needs torch, while that is being imported."""
    return EngineLostError("engine_starting", "The engine is still warming up.", "Try again in a few seconds.")
