"""Admission: the edge where a spec is checked and completed, before anything is stored or loaded.

What comes out has every field set: it is what will run, what is stored, and what is written into the picture.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.conditioning import grammar
from engine.conditioning.adapter_tags import AdapterTag
from engine.errors import EngineLostError, SpecError
from engine.images.names import check_pattern
from engine.jobs.control_admission import ControlAdmission
from engine.jobs.extension_work import ExtensionWork
from engine.jobs.picture_size import checked_side, size_advice
from engine.jobs.stack_admission import StackAdmission
from engine.library.defaults import layered
from engine.library.library import Library, ModelEntry
from engine.library.styles import StyleFile, apply_styles
from engine.protocol.commands import TokenCount
from engine.protocol.library import ModelDefaults
from engine.protocol.notices import Notice
from engine.protocol.specs import (
    BATCH_RANGE,
    CLIP_SKIP_RANGE,
    COUNT_RANGE,
    GUIDANCE_RANGE,
    LARGEST_SIDE,
    PROMPT_LIMIT,
    SEED_RANGE,
    SPEC_SCHEMA,
    STEPS_RANGE,
    UPSCALE_CHOICES,
    GenerationSpec,
)
from engine.sampling import table

Value = TypeVar("Value")
# As engine.conditioning.encode, which needs torch.
CHUNK, MAX_CHUNKS = 75, 64


@dataclass(frozen=True)
class Admitted:
    """A spec that can run, with what was decided on the way."""

    spec: GenerationSpec
    notices: tuple[Notice, ...]
    model: ModelEntry


class Admission:
    """Checks and completes specs against the library, the sampler table and styles.csv.

    Args:
        count: tokens of a prompt for a model; long ones are looked at before they wait in the queue. None: they are
            refused when they are read.
        extensions: their prompt passes.
        room: raises OutOfMemoryError for a completed spec of which not even one picture fits into memory.
    """

    def __init__(
        self,
        library: Library,
        styles: StyleFile,
        controls: ControlAdmission,
        count: Callable[[str, str | None], TokenCount] | None = None,
        extensions: ExtensionWork | None = None,
        room: Callable[[GenerationSpec], None] = lambda spec: None,
    ) -> None:
        self._library = library
        self._controls = controls
        self._count = count
        self._styles = styles
        self._stacks = StackAdmission(library)
        self._extensions = extensions
        self._room = room

    def admit(self, spec: GenerationSpec) -> Admitted:
        """Complete `spec`.

        Raises:
            SpecError: with the code of the first thing that is wrong.
            ModelFileError: the named model's file cannot be used.
            OutOfMemoryError: on a machine without a GPU, for what does not fit whatever is given up for it.
        """
        if spec.schema_ != SPEC_SCHEMA:
            raise SpecError(
                "bad_request",
                f"This request has schema {spec.schema_}.",
                f"This Easel understands schema {SPEC_SCHEMA}.",
            )
        notices: list[Notice] = []
        model = self._library.find_model(spec.model)
        defaults = _merged(model.view.defaults, model.family.defaults)
        prompt, negative, tags = self._prompts(spec, model, notices)
        stack = self._stacks.admit(spec, tags, model, notices)
        prompt = self._worded(stack.prompt_with_words(prompt, notices), negative, spec, notices)
        stack.advise(spec, notices)
        defaults = _with_quick(defaults, stack.quick, spec)
        sampler, schedule = self._sampler(spec, defaults)
        if spec.vae is not None:
            self._library.find_vae(spec.vae)
        steps = _within("steps", "steps_out_of_range", _first(spec.steps, defaults.steps, 20), STEPS_RANGE)
        self._advise(sampler, steps, notices)
        check_pattern(spec.output.name_pattern)
        done = spec.model_copy(
            update={
                "prompt": prompt,
                "negative_prompt": negative,
                "styles": (),
                "model": model.view.id,
                "steps": steps,
                "guidance": _within(
                    "guidance", "guidance_out_of_range", _first(spec.guidance, defaults.guidance, 7.0), GUIDANCE_RANGE
                ),
                "sampler": sampler,
                "schedule": schedule,
                "width": checked_side("width", _first(spec.width, defaults.width, 512)),
                "height": checked_side("height", _first(spec.height, defaults.height, 512)),
                "seed": _within("seed", "seed_out_of_range", _first(spec.seed, None, draw_seed()), SEED_RANGE),
                "count": _within("number of pictures", "count_out_of_range", spec.count, COUNT_RANGE),
                "batch_size": _within("batch size", "count_out_of_range", spec.batch_size, BATCH_RANGE),
                "clip_skip": _within(
                    "clip skip", "bad_request", _first(spec.clip_skip, defaults.clip_skip, 1), CLIP_SKIP_RANGE
                ),
                "adapters": stack.rows,
                "controls": self._controls.admit(spec, model, steps, notices),
                **self._enlarging(spec, defaults, notices),
            }
        )
        advice = size_advice((done.width or 0, done.height or 0), (defaults.width or 512, defaults.height or 512))
        if advice is not None:
            notices.append(advice)
        self._room(done)
        self._library.hash_first(entry.path for entry in stack.entries if not entry.view.hash)
        return Admitted(done, tuple(notices), model)

    def _enlarging(self, spec: GenerationSpec, defaults: ModelDefaults, notices: list[Notice]) -> dict[str, Any]:
        """By how much and with which file the finished picture is enlarged."""
        factor = _first(spec.upscale, defaults.upscale, 1)
        if factor == 1:
            return {"upscale": 1, "upscaler": None}
        width = _first(spec.width, defaults.width, 512)
        height = _first(spec.height, defaults.height, 512)
        try:
            upscaler = self.upscaler_for(width, height, factor, spec.upscaler)
        except SpecError as error:
            if spec.upscale is not None or error.code != "upscaler_unknown":
                raise
            # Only the model's own default asked for it.
            notices.append(Notice(code="setting_unsupported", message=str(error), level="warning"))
            return {"upscale": 1, "upscaler": None}
        return {"upscale": factor, "upscaler": upscaler}

    def upscaler_for(self, width: int, height: int, factor: int, name: str | None) -> str:
        """The id of the upscaler that makes a picture of that size (px) `factor` times as large.

        Raises:
            SpecError: `bad_request`, `size_out_of_range`, `upscaler_unknown`. ModelFileError: it cannot be used.
        """
        if factor not in UPSCALE_CHOICES[1:]:
            raise SpecError("bad_request", f"A picture is enlarged 2 or 4 times, not {factor}.", "Choose one of them.")
        if max(width, height) * factor > LARGEST_SIDE:
            raise SpecError(
                "size_out_of_range",
                f"{width} × {height} px enlarged {factor} times is more than {LARGEST_SIDE} px.",
                "Enlarge less, or begin with a smaller picture.",
            )
        usable = {file.id: file for file in self._library.files("upscaler") if not file.problem}
        if name is not None and name in usable:
            return name
        if name is None and usable:
            return next(iter(usable))
        what = f"There is no upscaler “{name[:100]}”" if name is not None else "There is no upscaler file"
        hint = f"There is {', '.join(usable)}." if usable else "Put one into models/upscalers."
        raise SpecError("upscaler_unknown", f"{what}, so no picture can be enlarged.", hint)

    def _sampler(self, spec: GenerationSpec, defaults: ModelDefaults) -> tuple[str, str]:
        """The ids of sampler and schedule; titles and A1111's combined names are understood too."""
        wanted = spec.sampler or defaults.sampler or "dpmpp_2m"
        schedule = spec.schedule or (defaults.schedule if spec.sampler is None else None)
        found = table.canonical(wanted, schedule)
        table.check(*found)
        return found

    def _advise(self, sampler: str, steps: int, notices: list[Notice]) -> None:
        view = next(view for view in table.sampler_views() if view.id == sampler)
        low = view.advised_steps[0]
        if steps < low:
            notices.append(
                Notice(
                    code="sampler_advice",
                    message=f"{view.title} is advised from {low} steps up; {steps} may look unfinished.",
                )
            )

    def _prompts(
        self, spec: GenerationSpec, model: ModelEntry, notices: list[Notice]
    ) -> tuple[str, str, list[AdapterTag]]:
        """Both prompts with their styles, and the adapters that were named in the first."""
        prompt = spec.prompt
        negative = spec.negative_prompt
        if negative is None:
            negative = model.default_negative
            if negative:
                notices.append(
                    Notice(code="model_default_used", message=f"{model.view.title} brought its own negative prompt.")
                )
        if spec.styles:
            prompt, negative = apply_styles(self._styles.pick(spec.styles), prompt, negative)
            notices.append(Notice(code="style_applied", message=f"Styles applied: {', '.join(spec.styles)}."))
        if self._extensions is not None and prompt.strip():
            prompt = self._extensions.prompt(prompt, spec.ext, notices)
        for name, text in (("prompt", prompt), ("negative prompt", negative)):
            if len(text) > PROMPT_LIMIT:
                raise _too_long(name, text)
        return self._stacks.cut(prompt, negative, notices)

    def _check_chunks(self, name: str, text: str, model: str | None) -> None:
        """Refuse a text that the text encoder will not take; short ones cannot be it."""
        if self._count is None or len(text) < MAX_CHUNKS * CHUNK:
            return
        try:
            chunks = self._count(text, model).chunks
        except EngineLostError:
            # Torch is still being imported: the text is looked at again when it is read.
            return
        if chunks > MAX_CHUNKS:
            raise SpecError(
                "prompt_too_long",
                f"The {name} fills {chunks} parts of {CHUNK} tokens; the limit is {MAX_CHUNKS}.",
                "Shorten it: the first parts count most.",
            )

    def _worded(self, prompt: str, negative: str, spec: GenerationSpec, notices: list[Notice]) -> str:
        """The prompt as it will be read, after a look at what is said in it."""
        _check_prompt(prompt)
        for name, text in (("prompt", prompt), ("negative prompt", negative)):
            self._check_chunks(name, text, spec.model)
            notices.extend(grammar.parse(text, spec.prompt_syntax).notices)
        return prompt


def draw_seed() -> int:
    """A random seed, 0…2³²−1."""
    return secrets.randbelow(SEED_RANGE[1] + 1)


def _first(asked: Value | None, default: Value | None, last: Value) -> Value:
    for value in (asked, default):
        if value is not None:
            return value
    return last


def _merged(own: ModelDefaults, family: ModelDefaults) -> ModelDefaults:
    """The model's own values, and its family's where it has none."""
    return family.model_copy(update=own.model_dump(exclude_none=True))


def _with_quick(defaults: ModelDefaults, quick: ModelDefaults, spec: GenerationSpec) -> ModelDefaults:
    """The defaults with those of an adapter for few steps; who chose a schedule has chosen the sampling too."""
    if spec.schedule is not None:
        quick = quick.model_copy(update={"sampler": None, "schedule": None})
    return layered(defaults, quick)


def _within(name: str, code: str, value: Any, allowed: tuple[Any, Any]) -> Any:
    low, high = allowed
    if not low <= value <= high:
        raise SpecError(code, f"The {name} must be from {low} to {high}, not {value}.", "Choose a value in that range.")
    return value


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise SpecError("prompt_empty", "The prompt is empty.", "Write what the picture should show.")
    if len(prompt) > PROMPT_LIMIT:
        raise _too_long("prompt", prompt)
    if not any(_says_something(letter) for letter in prompt):
        raise SpecError(
            "prompt_no_words", "The prompt has only punctuation, no words.", "Write what the picture should show."
        )


def _says_something(letter: str) -> bool:
    """Letters, digits and pictographs of any script."""
    return unicodedata.category(letter)[0] in "LN" or unicodedata.category(letter) == "So"


def _too_long(name: str, text: str) -> SpecError:
    return SpecError(
        "prompt_too_long",
        f"The {name} has {len(text):,} characters; the limit is {PROMPT_LIMIT:,}.",
        "Shorten it: a model reads 75 tokens at a time, and the first ones count most.",
    )
