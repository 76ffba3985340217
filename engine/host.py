"""What the engine half of an extension may add: the whole surface of host API 1, so that its names are settled now.

An extension's `engine_side.py` has `register(host)` and gets an `EngineHost`, which only collects; what was collected
counts when `register` has come back whole. docs/extensions.md lists each method with what it does; a test keeps that
list complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine.control.preprocessors.added import added_preprocessor
from engine.control.preprocessors.base import Parameter, Preprocessor
from engine.errors import SpecError
from engine.extension_folder import guard
from engine.extension_kinds import added_kind
from engine.extension_methods import AddedMethod, added_method
from engine.images.added_reader import AddedReader
from engine.jobs.extension_work import PostProcessor, PromptPass
from engine.library.added_kinds import AddedKind
from engine.pipeline.step_hooks import StepHook, StepRows
from engine.protocol.library import SamplerView
from engine.protocol.specs import GenerationSpec
from engine.sampling.rows import SCHEDULES, Sampler

HOST_API = 1


@dataclass(frozen=True)
class EngineHostMethod:
    """One method of the engine half. `built` False: the name is fixed, the work is not done yet."""

    name: str
    built: bool
    summary: str


ENGINE_METHODS: tuple[EngineHostMethod, ...] = (
    EngineHostMethod("prompt_pass", True, "Change a prompt before it is read."),
    EngineHostMethod("step_hook", True, "Act before and after each UNet call."),
    EngineHostMethod("image_post_processor", True, "Change a picture before it is saved."),
    EngineHostMethod("sampler", True, "A row of the sampler table."),
    EngineHostMethod("preprocessor", True, "A ControlNet preprocessor."),
    EngineHostMethod("adapter_kind", True, "A kind of adapter: detect, read, delta, nbytes."),
    EngineHostMethod("merge_method", True, "A merge method: validate, merge."),
    EngineHostMethod("metadata_reader", True, "Read another program's picture metadata."),
    EngineHostMethod("setting", True, "The value of one of the extension's settings."),
)


class EngineHost:
    """What `register(host)` in `engine_side.py` gets.

    Args:
        extension_id: whose host this is; values of its panel are `spec.ext[extension_id]`.
        values: the settings that the person gave to it, asked for each time.
    """

    api = HOST_API

    def __init__(self, extension_id: str, values: Callable[[], Mapping[str, Any]] = dict) -> None:
        self.id = extension_id
        self._values = values
        self.prompt_passes: list[PromptPass] = []
        self.step_hooks: list[StepHook] = []
        self.post_processors: list[PostProcessor] = []
        self.samplers: list[Sampler] = []
        self.preprocessors: list[Preprocessor] = []
        self.metadata_readers: list[AddedReader] = []
        self.adapter_kinds: list[AddedKind] = []
        self.merge_methods: list[AddedMethod] = []

    @property
    def adds(self) -> tuple[str, ...]:
        """What it adds, in words for its card."""
        return (
            *["a prompt pass"][: len(self.prompt_passes)],
            *["a hook around each step"][: len(self.step_hooks)],
            *["a post-processor"][: len(self.post_processors)],
            *(f"the sampler {row.title}" for row in self.samplers),
            *(f"the preprocessor {row.title}" for row in self.preprocessors),
            *(f"pictures of {reader.dialect}" for reader in self.metadata_readers),
            *(f"adapters of the kind {kind.title}" for kind in self.adapter_kinds),
            *(f"the merge method {method.view.title}" for method in self.merge_methods),
        )

    def prompt_pass(self, transform: Callable[[str, Mapping[str, Any]], str], *, order: int = 500) -> None:
        """`transform(prompt, values) -> prompt` changes every prompt when it is admitted, before tags are read.

        `values` are those of the extension's panel ({} where it has none). It is run again when a picture's settings
        are used again, so a change that is there already has to be left alone. Small orders come first.
        """
        self.prompt_passes.append(PromptPass(self.id, transform, order))

    def step_hook(
        self,
        *,
        before: Callable[[StepRows], Any] | None = None,
        after: Callable[[StepRows, Any], Any] | None = None,
        order: int = 500,
    ) -> None:
        """`before(rows) -> latents | None` and `after(rows, answers) -> answers | None` around each UNet call.

        `rows` is a `StepRows`: a call may hold pictures of several jobs, and `rows.pictures` says which rows are whose.
        """
        self.step_hooks.append(StepHook(self.id, before, after, order))

    def image_post_processor(
        self, process: Callable[[Image.Image, GenerationSpec], Image.Image], *, order: int = 500
    ) -> None:
        """`process(image, spec) -> image` (RGB, any size) changes every picture before it is saved."""
        self.post_processors.append(PostProcessor(self.id, process, order))

    def sampler(self, view: SamplerView, make: Callable[[str, dict[str, Any], int], Any]) -> None:
        """A sampler behind Easel's own.

        Args:
            view: id, title, schedules, advice, as `engine/sampling/rows.py` has them.
            make: (schedule id, the model's scheduler config, the picture's seed) → a scheduler with the interface of
                diffusers' ones: `set_timesteps(steps)`, `timesteps`, `order`, `init_noise_sigma`, `scale_model_input`,
                `step(answer, timestep, latents, return_dict=False)`.

        Raises:
            SpecError: `extension_unusable`, a schedule that does not exist.
        """
        schedules = tuple(schedule.id for schedule in view.schedules)
        if not schedules or not set(schedules) <= set(SCHEDULES):
            raise SpecError(
                "extension_unusable",
                f"The sampler {view.title} names a schedule that Easel does not have.",
                f"Its author can take {', '.join(SCHEDULES)}.",
            )
        self.samplers.append(
            Sampler(
                view.id, view.title, "", schedules, view.advised_steps, view.advice,
                evaluations_per_step=view.evaluations_per_step, stochastic=view.stochastic, own_sigmas=(), make=make,
            )
        )  # fmt: skip

    def preprocessor(
        self,
        name: str,
        run: Callable[[Image.Image, Mapping[str, float]], Image.Image],
        *,
        title: str = "",
        types: Sequence[str] = (),
        options: Sequence[Parameter] = (),
        version: int = 1,
    ) -> None:
        """`run(image, options) -> image` (RGB) makes the hint of a ControlNet unit, in previews and in jobs.

        Args:
            name: unique; small letters, digits, hyphens, underscores.
            types: the ControlNet types that it makes hints for, best first, such as "canny" or "depth".
            options: `engine.control.preprocessors.base.Parameter`s: sliders, whose values `run` gets by name.
            version: hints are kept; they are made anew when it grows.

        Raises:
            SpecError: `extension_unusable`.
        """
        self.preprocessors.append(
            added_preprocessor(name, run, title=title, types=types, options=options, version=version, guard=guard)
        )

    def adapter_kind(self, kind: Any) -> None:
        """Files of this kind are found, reported, stacked, compared and merged as Easel's own are.

        Args:
            kind: an object (or module) with `title`, `names` (the ends of its tensors' names), `detect(dims) -> bool`
                and `read(parts, target) -> ModulePatch`; `engine.adapters.kinds.base.Patch` is a base for patches, and
                `engine.adapters.kinds.lora` an example. Own ends only: those of Easel's kinds are taken.

        Raises:
            SpecError: `extension_unusable`, something of it is missing or taken.
        """
        self.adapter_kinds.append(added_kind(self.id, kind, self.adapter_kinds))

    def merge_method(self, method: Any) -> None:
        """A way in which adapters become one, beside Easel's own in the Merge tab, in REST and on the command line.

        Args:
            method: an object with `view` (`engine.protocol.merge_reports.MethodView`), `validate(recipe)` and
                `merge(shares, options, random) -> Delta`, as `engine/merge/methods/base.py` has them; the files beside
                it are examples. It holds no state: the same recipe makes the same file.

        Raises:
            SpecError: `extension_unusable`, something of it is missing or its id is taken.
        """
        self.merge_methods.append(added_method(self.id, method, self.merge_methods))

    def metadata_reader(self, dialect: str, read: Callable[[Mapping[str, str]], Any]) -> None:
        """Settings out of the pictures of another program.

        Args:
            dialect: the program's name.
            read: from a picture's texts by their keywords to fields of a `GenerationSpec` (a dict); None where the
                picture is not of that program. Asked after Easel's own records, before all other dialects.
        """
        self.metadata_readers.append(AddedReader(self.id, dialect, read, guard))

    def setting(self, name: str, default: Any = None) -> Any:
        """What the person gave to a setting of this extension now; `default` where nothing was given.

        The settings are declared by the web half (`host.settings`); ask while working, not in `register`.
        """
        return self._values().get(name, default)
