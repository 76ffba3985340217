"""Workshop: the half of the engine that needs torch, built on the worker's thread."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.control.hints import HintFolder
from engine.errors import StudioError
from engine.jobs.adapters import AdapterShop
from engine.jobs.chores import Chores
from engine.jobs.comparing import ComparisonErrand
from engine.jobs.controls import ControlShop
from engine.jobs.enlarging import EnlargeErrand, Enlarger
from engine.jobs.finishing import Finisher
from engine.jobs.hints import HintShop
from engine.jobs.in_progress import InProgress
from engine.jobs.levels import LevelKeeper
from engine.jobs.measuring import MeasureErrand
from engine.jobs.merging import MergeErrand
from engine.jobs.peaks import PeakWatch
from engine.jobs.previews import Previewer
from engine.jobs.quiet import QuietTime
from engine.jobs.workbench import Workbench
from engine.jobs.worker import Worker
from engine.memory.meter import ProcessMeter
from engine.memory.offload import TorchMover
from engine.memory.optimizer import MemoryOptimizer
from engine.memory.pool import ModelPool
from engine.protocol.commands import PreviewHint
from engine.protocol.controls import HintView
from engine.protocol.events import FaultReported
from engine.protocol.jobs import ErrorView
from engine.protocol.specs import GenerationSpec
from engine.server.answers.merges import files_of
from engine.server.stack_checker import StackChecker
from engine.server.tokens import TokenCounter

if TYPE_CHECKING:
    from engine.server.runtime import Runtime

log = logging.getLogger("easel.engine")


class Workshop:
    """Builds the worker out of the runtime's parts."""

    def __init__(self, runtime: Runtime) -> None:
        # After the guard in engine.loading, which must come before transformers.
        import torch

        settings = runtime.settings
        if settings.engine.threads:
            torch.set_num_threads(settings.engine.threads)
        self._runtime = runtime
        self._library = runtime.library
        self._device = pick_device(torch, settings.engine.device)
        runtime.state.device = device_in_words(torch, self._device)
        dtype = pick_dtype(torch, settings.engine.dtype, self._device)
        pool = ModelPool(on_change=runtime.memory.changed, mover=TorchMover(self._device))
        meter = ProcessMeter(self._device)
        runtime.memory.attach(pool, meter, device=self._device, dtype=dtype)
        levels = LevelKeeper(
            runtime.memory,
            runtime.library,
            device=self._device,
            cleanup_each_step=settings.memory.cleanup_each_step,
            notice=runtime.queue.notice,
            plans=runtime.plans,
        )
        optimizer = MemoryOptimizer(
            resources=runtime.memory.resources(), meter=meter, device=self._device, compute=getattr(torch, dtype)
        )
        hint_folder = HintFolder(settings.state_dir / "hints", runtime.assets)
        self._hints = HintShop(pool, hint_folder, runtime.annotators, self._device)
        self._chores = Chores(runtime.queue.wake)
        self._bench = Workbench(
            pool,
            runtime.library,
            AdapterShop(
                pool,
                runtime.store,
                partial(runtime.library.path_of, "adapter"),
                storage=settings.memory.adapter_storage,
            ),
            ControlShop(pool, runtime.controls, self._hints, runtime.library.find_model),
            device=self._device,
            dtype=dtype,
            optimizer=optimizer,
            resting=lambda: levels.resting,
        )
        from engine.server.runtime import VERSION

        finisher = Finisher(
            store=runtime.store,
            queue=runtime.queue,
            library=runtime.library,
            snapshots=runtime.snapshots,
            outputs=settings.outputs_dir,
            name_pattern=settings.paths.name_pattern,
            version=VERSION,
            publish=runtime.events.publish,
            extensions=runtime.extension_work,
        )
        enlarger = Enlarger(pool, partial(runtime.library.path_of, "upscaler"), self._device)
        previewer = Previewer(settings.engine.preview_interval, runtime.events.publish, runtime.events.forget_preview)
        pictures = InProgress(runtime.store, runtime.queue, runtime.snapshots, previewer)
        self.worker = Worker(
            queue=runtime.queue,
            board=runtime.board,
            bench=self._bench,
            pictures=pictures,
            finisher=finisher,
            enlarger=enlarger,
            memory=runtime.memory,
            levels=levels,
            peaks=PeakWatch(runtime.memory, self._bench, meter, device=self._device),
            quiet=QuietTime(runtime.memory, self._bench, runtime.library),
            errands=(
                EnlargeErrand(enlarger, finisher, self._picture_path),
                self._merge_errand(),
                self._comparison_errand(finisher),
                self._measure_errand(pictures, meter),
            ),
            extensions=runtime.extension_work,
            chores=self._chores,
            previewer=previewer,
            snapshots=runtime.snapshots,
            pulse=runtime.pulse,
            metrics=runtime.metrics,
            publish=runtime.events.publish,
            warm=self._warm,
            max_batch=settings.engine.max_batch,
            snapshot_interval=settings.engine.snapshot_interval,
        )
        runtime.memory.care.keep("prompts", self._bench.embeddings)
        runtime.memory.care.keep("hints", self._bench.embedded_hints)
        runtime.memory.ahead.attach(self._chores.post, self._bench.load_ahead)
        self.count_tokens = TokenCounter(runtime.library).count
        self.check_stack = StackChecker(runtime.library).check

    def preview_hint(self, command: PreviewHint) -> HintView:
        """The hint of a unit. A network of a preprocessor runs on the worker's thread, all else on the caller's."""
        size = (command.width, command.height) if command.width and command.height else None
        request = self._hints.request(
            command.image, command.preprocessor, command.parameters, command.resolution, size, command.resize
        )
        found = self._hints.find(request)
        if found is not None or not self._hints.needs_weights(request):
            return found or self._hints.make(request)
        return self._chores.run(partial(self._hints.make, request))

    def _merge_errand(self) -> MergeErrand:
        library = self._runtime.library

        def made(file: Path) -> None:
            library.refresh()
            self._runtime.library_changed()

        return MergeErrand(
            self._runtime.store, partial(files_of, library), self._runtime.extensions.merge_methods, made
        )

    def _comparison_errand(self, finisher: Finisher) -> ComparisonErrand:
        runtime = self._runtime
        return ComparisonErrand(runtime.store, runtime.queue, runtime.admission, finisher, runtime.settings.outputs_dir)

    def _measure_errand(self, pictures: InProgress, meter: ProcessMeter) -> MeasureErrand:
        runtime = self._runtime
        return MeasureErrand(
            runtime.store,
            runtime.memory,
            self._bench,
            runtime.library,
            runtime.queue,
            pictures,
            meter,
            runtime.pulse,
            device=self._device,
            stopping=lambda: runtime.stopping,
        )

    def _picture_path(self, image_id: str, owner: str) -> Path:
        return self._runtime.settings.outputs_dir / self._runtime.store.history.get(image_id, owner).name

    def _warm(self) -> None:
        """Open the default model, so that the first picture does not wait for it. A missing one is told, not fatal."""
        state = self._runtime.state
        try:
            entry = self._library.find_model(None)
            state.move("warming", f"Loading {entry.view.title}.")
            self._bench.open(GenerationSpec(model=entry.view.id))
        except StudioError as error:
            log.warning("the default model could not be loaded: %s", error)
            self._runtime.events.publish(
                FaultReported(error=ErrorView(code=error.code, message=error.message, hint=error.hint))
            )
        self._warm_pinned()
        state.move("ready", "Ready.")

    def _warm_pinned(self) -> None:
        """Models that were pinned are there again from the start; one that cannot be is told."""
        for model in self._runtime.memory.pinned_models:
            try:
                entry = self._library.find_model(model)
                self._runtime.state.move("warming", f"Loading {entry.view.title}, which is pinned.")
                self._bench.load_ahead(entry, pin=True)
            except StudioError as error:
                log.warning("the pinned model %s could not be loaded: %s", model, error)
                self._runtime.memory.tell("refused", f"{model} is pinned and could not be loaded: {error.message}")


def pick_device(torch: Any, wanted: str) -> str:
    """The torch device name: as asked, or the best that is there."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def pick_dtype(torch: Any, wanted: str, device: str) -> str:
    """The torch dtype name: as asked, or bfloat16 on a GPU (float16 before Ampere and on Apple's), float32 on a CPU."""
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "float16" if device == "mps" else "float32"


def device_in_words(torch: Any, device: str) -> str:
    """Such as "CPU, 4 threads" or a GPU's name."""
    if device == "cuda":
        return str(torch.cuda.get_device_name(0))
    if device == "mps":
        return "Apple GPU"
    return f"CPU, {torch.get_num_threads()} threads"
