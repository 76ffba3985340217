"""Admission of the adapter stack: rows and tags checked, named by their ids, trigger words put into the prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.conditioning.adapter_tags import AdapterTag, broken_tags, cut_tags, read_tag
from engine.errors import AdapterError, ModelFileError, SpecError
from engine.library.adapter_entries import AdapterEntry
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.library.prompt_words import missing_words
from engine.library.speeds import FEW
from engine.protocol.library import ModelDefaults
from engine.protocol.notices import Notice
from engine.protocol.specs import ADAPTER_WEIGHT_RANGE, AdapterRef, GenerationSpec

STRONG = 2.0
MOST_ADAPTERS = 200
# The numbers of A1111's block weights: without and with the blocks that hold no attention.
BLOCK_COUNTS = {"sd1": (17, 26), "sd2": (17, 26), "sdxl": (12, 20)}
FAMILY_TITLES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "sd3": "SD 3", "flux": "Flux"}
SHOWN = 3
# From here on an adapter for few steps would burn the picture.
MANY_STEPS = 12


@dataclass(frozen=True)
class Stack:
    """The rows that will run, by their ids, with what they are.

    `quick` are the values that an adapter for few steps needs, empty where there is none; `quick_title` is its title.
    """

    rows: tuple[AdapterRef, ...] = ()
    entries: tuple[AdapterEntry, ...] = ()
    quick: ModelDefaults = field(default_factory=ModelDefaults)
    quick_title: str = ""

    def prompt_with_words(self, prompt: str, notices: list[Notice]) -> str:
        """The prompt with the trigger words of the rows that are on, each once; those that are there stay alone."""
        for row, entry in zip(self.rows, self.entries, strict=True):
            if not row.enabled or not row.add_trigger_words or (row.unet_weight == 0 and not row.text_weight):
                continue
            added = missing_words(prompt, entry.sure_words)
            if added:
                said = prompt.rstrip(" ,\n")
                prompt = ", ".join([said, *added] if said else added)
                told = ", ".join(f"“{word}”" for word in added)
                was = "was" if len(added) == 1 else "were"
                message = f"{entry.view.title}: {told} {was} added to the prompt, which it was trained with."
                notices.append(Notice(code="trigger_words_added", message=message))
        return prompt

    def advise(self, spec: GenerationSpec, notices: list[Notice]) -> None:
        """Tell what an adapter for few steps changed, or that the person's own values do not fit it."""
        quick = self.quick
        if quick.steps is None or quick.guidance is None:
            self._wonder(spec, notices)
            return
        own_sampler = spec.sampler is not None or spec.schedule is not None
        taken = [] if own_sampler else [f"the sampler {quick.sampler}"]
        taken += [] if spec.steps is not None else [f"{quick.steps} steps"]
        taken += [] if spec.guidance is not None else [f"a guidance of {quick.guidance:g}"]
        if taken:
            message = f"{self.quick_title} is made for few steps: {', '.join(taken)} taken instead of the model's own."
            notices.append(Notice(code="adapter_advice", message=message))
        slow = spec.steps is not None and spec.steps > 2 * quick.steps
        strong = spec.guidance is not None and spec.guidance > quick.guidance + 1
        if slow or strong or (own_sampler and spec.sampler not in (None, quick.sampler)):
            notices.append(
                Notice(
                    code="adapter_advice",
                    message=(
                        f"{self.quick_title} is made for the sampler {quick.sampler}, {quick.steps} steps and a "
                        f"guidance of {quick.guidance:g}; with other values the picture may look burnt or flat."
                    ),
                    level="warning",
                )
            )

    def _wonder(self, spec: GenerationSpec, notices: list[Notice]) -> None:
        """Told where the build of an adapter is that of the ones for few steps, but nothing says which it is."""
        for row, entry in zip(self.rows, self.entries, strict=True):
            many = spec.steps is None or spec.steps > MANY_STEPS
            if row.enabled and row.unet_weight > 0 and entry.facts.speed == FEW and many:
                message = (
                    f"{entry.view.title} is built like the adapters for few steps (LCM, TCD, Hyper-SD), but nothing "
                    "says which it is. Where the picture looks burnt, try the sampler LCM, 4 to 8 steps and a guidance "
                    "of 1 to 2."
                )
                notices.append(Notice(code="adapter_advice", message=message))


@dataclass
class _Rows:
    rows: list[AdapterRef] = field(default_factory=list)
    entries: list[AdapterEntry] = field(default_factory=list)


class StackAdmission:
    """Checks stacks against the library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def cut(self, prompt: str, negative: str, notices: list[Notice]) -> tuple[str, str, list[AdapterTag]]:
        """Both prompts without `<lora:…>` tags, and the tags of the first; those of the other count for nothing."""
        prompt, tags = cut_tags(prompt)
        negative, ignored = cut_tags(negative)
        for broken in (*broken_tags(prompt), *broken_tags(negative))[:SHOWN]:
            message = f"“{broken}” is no whole tag, so it counts as words: a tag ends with “>”, as in <lora:name:0.8>."
            notices.append(Notice(code="adapter_skipped", message=message, level="warning"))
        if ignored:
            names = ", ".join(tag.source[:60] for tag in ignored[:SHOWN])
            message = f"{names} in the negative prompt was left out: adapters go into the prompt."
            notices.append(Notice(code="syntax_removed", message=message, level="warning"))
        return prompt, negative, tags

    def admit(self, spec: GenerationSpec, tags: list[AdapterTag], model: ModelEntry, notices: list[Notice]) -> Stack:
        """The stack of the spec's rows and of the prompt's tags.

        Raises:
            SpecError: `adapter_unknown`, `fraction_out_of_range`, `bad_request` (more than 200).
            AdapterError: `adapter_weight_out_of_range`, `adapter_family_mismatch`, `adapter_blocks_unknown`,
                `adapter_twice`.
            ModelFileError: a file that cannot be used.
        """
        if len(spec.adapters) + len(tags) > MOST_ADAPTERS:
            raise SpecError(
                "bad_request", f"A stack has at most {MOST_ADAPTERS} adapters.", "Merge some, or take some out."
            )
        found = _Rows()
        for row in spec.adapters:
            self._take(row, spec, model, found, notices)
        _refuse_twice(found)
        if tags:
            self._take_tags(spec, tags, model, found, notices)
        self._advise_list(model, found.entries, notices)
        quick = self._quick(found)
        return Stack(tuple(found.rows), tuple(found.entries), *quick)

    def _take(
        self, row: AdapterRef, spec: GenerationSpec, model: ModelEntry, found: _Rows, notices: list[Notice]
    ) -> AdapterEntry | None:
        """Add one row. Rows that are off are kept while they can be named, and never refused."""
        try:
            entry = self._library.adapters.find(row.name)
            if row.enabled:
                check_row(row, entry, model, notices)
        except (SpecError, ModelFileError) as error:
            unknown = error.code in ("adapter_unknown", "model_file_missing")
            if row.enabled and not (unknown and spec.on_missing == "skip"):
                raise
            notices.append(
                Notice(
                    code="adapter_skipped",
                    message=f"The adapter “{row.name[:100]}” was skipped: {error.message}",
                    level="warning" if row.enabled else "info",
                )
            )
            return None
        if row.enabled and (remark := self._library.adapters.remark(row.name, entry)):
            notices.append(Notice(code="adapter_advice", message=remark))
        found.rows.append(row.model_copy(update={"name": entry.view.id}))
        found.entries.append(entry)
        return entry

    def _take_tags(
        self, spec: GenerationSpec, tags: list[AdapterTag], model: ModelEntry, found: _Rows, notices: list[Notice]
    ) -> None:
        # Numbers of steps in a tag are of the steps as asked for; an adapter for few steps is not known yet here.
        steps = spec.steps or model.view.defaults.steps or model.family.defaults.steps
        stacked = {row.name for row in found.rows if row.enabled}
        taken: list[str] = []
        for tag in tags:
            read = read_tag(tag, steps=steps)
            if read.late is not None:
                raise SpecError(
                    "fraction_out_of_range",
                    f"“{tag.name[:100]}” would start after step {read.late}, and the picture has {steps}.",
                    "Let it start earlier, or take more steps.",
                )
            before = len(found.rows)
            entry = self._take(read.ref, spec, model, found, notices)
            if entry is None:
                continue
            if entry.view.id in stacked:
                del found.rows[before:], found.entries[before:]
                message = f"{entry.view.title} is in the stack already; {tag.source[:80]} changed nothing."
                notices.append(Notice(code="adapter_from_prompt", message=message))
                continue
            stacked.add(entry.view.id)
            taken.append(entry.view.title)
            if read.unknown:
                parts = ", ".join(f"“{part[:40]}”" for part in read.unknown[:SHOWN])
                message = f"Easel does not know {parts} in {tag.source[:80]}; the rest of it counts."
                notices.append(Notice(code="syntax_removed", message=message, level="warning"))
            if read.ordered and read.ref.text_weight is not None:
                message = (
                    f"{tag.source[:80]} was read as UNet {read.ref.unet_weight:g}, text encoder "
                    f"{read.ref.text_weight:g}; write te= and unet= where you mean it the other way round."
                )
                notices.append(Notice(code="adapter_from_prompt", message=message))
        if taken:
            message = f"Taken from the prompt into the stack: {', '.join(taken)}."
            notices.append(Notice(code="adapter_from_prompt", message=message))

    def _advise_list(self, model: ModelEntry, entries: list[AdapterEntry], notices: list[Notice]) -> None:
        """`supported_loras` of the catalogue is advice: what else is in the stack is told, not refused."""
        listed = model.view.supported_loras
        others = [entry.view.title for entry in entries if listed and entry.view.id not in listed]
        if others:
            message = f"config.toml lists other adapters for {model.view.title}; not among them: {', '.join(others)}."
            notices.append(Notice(code="adapter_advice", message=message))

    def _quick(self, found: _Rows) -> tuple[ModelDefaults, str]:
        for row, entry in zip(found.rows, found.entries, strict=True):
            if row.enabled and row.unet_weight > 0 and entry.view.quick is not None:
                return entry.view.quick, entry.view.title
        return ModelDefaults(), ""


def _refuse_twice(found: _Rows) -> None:
    seen: set[str] = set()
    for row, entry in zip(found.rows, found.entries, strict=True):
        if row.enabled and row.name in seen:
            raise AdapterError(
                "adapter_twice",
                f"{entry.view.title} stands in the stack twice.",
                "Change the weight of the first one instead.",
            )
        if row.enabled:
            seen.add(row.name)


def check_row(row: AdapterRef, entry: AdapterEntry, model: ModelEntry, notices: list[Notice]) -> None:
    """Weights, fractions, family and block weights of one row.

    Raises:
        AdapterError, SpecError: what is wrong, by the adapter's title.
    """
    title = entry.view.title
    weights = [row.unet_weight] if row.text_weight is None else [row.unet_weight, row.text_weight]
    for weight in [*weights, *row.blocks]:
        if not ADAPTER_WEIGHT_RANGE[0] <= weight <= ADAPTER_WEIGHT_RANGE[1]:
            raise AdapterError(
                "adapter_weight_out_of_range",
                f"The weight of “{title}” must be from −10 to 10, not {weight:g}.",
                "0.5 to 1 suits most adapters.",
            )
    strongest = max(weights, key=abs)
    if abs(strongest) > STRONG:
        message = f"{title} at {strongest:g} is far above what adapters are made for; the picture may break."
        notices.append(Notice(code="adapter_advice", message=message, level="warning"))
    _check_span(row, title)
    family = entry.view.family
    if family and family != model.view.family:
        raise AdapterError(
            "adapter_family_mismatch",
            f"“{title}” was made for {FAMILY_TITLES.get(family, family)}, and the model {model.view.title} is "
            f"{FAMILY_TITLES.get(model.view.family, model.view.family)}.",
            "Take it out of the stack, or choose a model of its family.",
        )
    counts = BLOCK_COUNTS.get(model.view.family, ())
    if row.blocks and len(row.blocks) not in counts:
        raise AdapterError(
            "adapter_blocks_unknown",
            f"“{title}” has {len(row.blocks)} block weights; "
            f"{FAMILY_TITLES.get(model.view.family, model.view.family)} takes {' or '.join(map(str, counts))}.",
            "Send one for each block, or none.",
        )


def _check_span(row: AdapterRef, title: str) -> None:
    for name, value in (("start", row.start), ("end", row.end)):
        if not 0 <= value <= 1:
            near = f"Did you mean {value / 100:g}?" if 1 < value <= 100 else "0.0 is the first step, 1.0 the last."
            raise SpecError(
                "fraction_out_of_range",
                f"The {name} of “{title}” is a fraction of the steps, from 0.0 to 1.0, not {value:g}.",
                near,
            )
    if row.start >= row.end:
        start = "there too" if row.start == row.end else f"only at {row.start:g}"
        raise SpecError(
            "fraction_out_of_range",
            f"“{title}” would end at {row.end:g} of the steps and start {start}.",
            "The start must be smaller than the end.",
        )
