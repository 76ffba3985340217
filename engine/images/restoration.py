"""A draft becomes a spec: the checks, the roundings and the look-ups, and a notice for all that does not fit."""

from __future__ import annotations

from typing import Any

from engine.conditioning.adapter_tags import AdapterTag, cut_tags, plain_number, read_tag
from engine.errors import SpecError
from engine.images.control_units import FoundUnit
from engine.images.draft import INFOTEXT_LIMIT, Draft, Lookups, as_number, clean_text
from engine.protocol.commands import Recipe
from engine.protocol.notices import Notice, NoticeCode
from engine.protocol.specs import (
    ADAPTER_WEIGHT_RANGE,
    CLIP_SKIP_RANGE,
    CONTROL_WEIGHT_RANGE,
    GUIDANCE_RANGE,
    PROMPT_LIMIT,
    SEED_RANGE,
    SIZE_MULTIPLE,
    SIZE_RANGE,
    STEPS_RANGE,
    UPSCALE_CHOICES,
    AdapterRef,
    ControlUnit,
    GenerationSpec,
)

MOST_ADAPTERS = 100


def restore(draft: Draft, source: str, infotext: str, lookups: Lookups) -> Recipe:
    """The recipe of a draft that a tool called `source` wrote. Never raises for odd values: they become notices."""
    return _Restoration(draft, source, lookups).recipe(infotext)


class _Restoration:
    """One pass over a draft, collecting notices."""

    def __init__(self, draft: Draft, source: str, lookups: Lookups) -> None:
        self.draft, self.source, self.lookups = draft, source, lookups
        self.notices: list[Notice] = []

    def recipe(self, infotext: str) -> Recipe:
        draft = self.draft
        sampler, schedule = self._sampling()
        prompt, tags = cut_tags(draft.prompt)
        steps = self._whole("steps", draft.steps, STEPS_RANGE)
        spec = GenerationSpec(
            prompt=self._prompt(prompt, "prompt"),
            negative_prompt=self._prompt(draft.negative, "negative prompt"),
            prompt_syntax=draft.syntax,
            model=self._model(),
            vae=self._vae(),
            steps=steps,
            guidance=self._number("guidance", draft.guidance, GUIDANCE_RANGE),
            sampler=sampler,
            schedule=schedule,
            width=self._size("width", draft.width),
            height=self._size("height", draft.height),
            seed=self._seed(),
            clip_skip=1 if draft.clip_skip is None else self._whole("clip skip", draft.clip_skip, CLIP_SKIP_RANGE),
            upscale=self._upscale(),
            adapters=self._adapters(tags, steps),
            controls=tuple(unit for found in self.draft.controls if (unit := self._control(found)) is not None),
        )
        self._embeddings()
        self._noise()
        self._rest()
        return Recipe(
            spec=spec,
            source=self.source,
            infotext=clean_text(infotext[:INFOTEXT_LIMIT]),
            notices=tuple(self.notices),
        )

    def _tell(self, code: NoticeCode, message: str) -> None:
        self.notices.append(Notice(code=code, message=message, level="warning"))

    def _changed(self, name: str, value: Any, to: str) -> None:
        self._tell("value_clamped", f"The picture's {name}, {_short(value)}, was changed to {to}.")

    def _not_a_number(self, name: str, value: Any) -> None:
        self._tell("setting_unsupported", f"The picture's {name}, “{_short(value)}”, is not a number and was left out.")

    def _prompt(self, text: str, name: str) -> str:
        if len(text) > PROMPT_LIMIT:
            self._tell("value_clamped", f"The {name} was cut to {PROMPT_LIMIT} characters.")
        return clean_text(text[:PROMPT_LIMIT])

    def _number(self, name: str, value: Any, limits: tuple[float, float]) -> float | None:
        if value is None or value == "":
            return None
        number = as_number(value)
        if number is None:
            self._not_a_number(name, value)
            return None
        kept = min(max(number, limits[0]), limits[1])
        if kept != number:
            self._changed(name, value, f"{plain_number(kept)}, the nearest possible")
        return kept

    def _whole(self, name: str, value: Any, limits: tuple[int, int]) -> int | None:
        number = self._number(name, value, limits)
        return None if number is None else round(number)

    def _size(self, name: str, value: Any) -> int | None:
        size = self._whole(name, value, SIZE_RANGE)
        if size is None or size % SIZE_MULTIPLE == 0:
            return size
        kept = max(SIZE_RANGE[0], size // SIZE_MULTIPLE * SIZE_MULTIPLE)
        self._changed(name, size, f"{kept}, a multiple of {SIZE_MULTIPLE}")
        return kept

    def _seed(self) -> int | None:
        value = self.draft.seed
        if value is None or value == "":
            return None
        try:
            # By way of int, as a float would lose the low digits of a 64-bit seed.
            seed = int(value[:40] if isinstance(value, str) else value)
        except (ValueError, TypeError, OverflowError):
            self._not_a_number("seed", value)
            return None
        if seed < 0:
            return None
        if seed > SEED_RANGE[1]:
            kept = seed % (SEED_RANGE[1] + 1)
            # torch's CPU generator seeds itself with the low 32 bits only, so this is the same noise.
            self._changed("seed", seed, f"{kept}, which makes the same noise")
            return kept
        return seed

    def _upscale(self) -> int:
        """Of a picture that does not say so it is known that it was not enlarged."""
        asked = self._number("enlargement", self.draft.upscale, (1.0, 8.0))
        if asked is None:
            return 1
        kept = min(UPSCALE_CHOICES, key=lambda choice: abs(choice - asked))
        if kept != asked:
            self._changed("enlargement", self.draft.upscale, f"{kept} times, the nearest possible")
        return kept

    def _sampling(self) -> tuple[str | None, str | None]:
        sampler, schedule = self.draft.sampler.strip()[:100], self.draft.schedule.strip()[:100]
        if not sampler:
            return None, None
        canonical = (self.source == "a1111" and self.lookups.canonical_a1111) or self.lookups.canonical
        if canonical is None:
            return clean_text(sampler), clean_text(schedule) or None
        try:
            return canonical(sampler, schedule)
        except SpecError as error:
            name = f"{sampler} {schedule}".strip()
            self._tell(
                "setting_unsupported",
                f"The sampler “{name}” is not available here; the model's default is used. {error.hint}".strip(),
            )
            return None, None

    def _model(self) -> str | None:
        name, known_hash = self.draft.model.strip()[:300], self.draft.model_hash.strip().lower().removeprefix("0x")[:64]
        if not name and not known_hash:
            return None
        if self.lookups.find_model is None:
            return clean_text(name) or None
        found = self.lookups.find_model(name, known_hash)
        if found is None:
            shown = f"“{name}”" if name else f"the model with hash {known_hash}"
            self._tell(
                "model_default_used",
                f"The picture was made with {shown}, which is not in the library.",
            )
        return found

    def _vae(self) -> str | None:
        name = self.draft.vae.strip()[:300]
        if name.lower() in ("", "none", "automatic"):
            return None
        if self.lookups.find_vae is None:
            return clean_text(name)
        found = self.lookups.find_vae(name)
        if found is None:
            self._tell("setting_unsupported", f"The VAE “{name}” is not in the library; the model's own is used.")
        return found

    def _adapters(self, tags: list[AdapterTag], steps: int | None) -> tuple[AdapterRef, ...]:
        """The tags as rows of the stack: under the library's ids, where it is asked and has them."""
        hashes = {name: known_hash for name, known_hash in self.draft.adapters if known_hash}
        rows: list[AdapterRef] = []
        missing: list[str] = []
        for tag in tags[:MOST_ADAPTERS]:
            ref = read_tag(tag, steps=steps, text_first=self.draft.text_first).ref
            find = self.lookups.find_adapter
            found = clean_text(ref.name) if find is None else find(ref.name, hashes.get(ref.name, ""))
            if found is None:
                missing.append(ref.name)
                continue
            # What the picture's prompt does not say was not in it.
            changes: dict[str, Any] = {"name": found, "add_trigger_words": False}
            changes["unet_weight"] = self._weight(ref.name, ref.unet_weight)
            if ref.text_weight is not None:
                changes["text_weight"] = self._weight(ref.name, ref.text_weight)
            if ref.start >= ref.end or ref.end > 1:
                self._tell("setting_unsupported", f"The steps of “{_short(ref.name)}” cannot be read; it is on in all.")
                changes |= {"start": 0.0, "end": 1.0}
            rows.append(ref.model_copy(update=changes))
        if missing:
            names = ", ".join(f"“{_short(name)}”" for name in missing[:10])
            self._tell("adapter_skipped", f"Not in the library: {names}. The picture will look different without.")
        return tuple(rows)

    def _control(self, found: FoundUnit) -> ControlUnit | None:
        """The unit under the library's ids; switched off where its picture is not here."""
        unit, label, find = found.unit, found.label, self.lookups.find_control
        if find is None or unit.kind == "reference":
            model: str | None = clean_text(unit.model)
        else:
            model = find(unit.model, found.model_hash.lower())
        if model is None:
            self._tell("setting_unsupported", f"Not restored: {label}, which is not in the library.")
            return None
        changes: dict[str, Any] = {"model": model, **self._preprocessing(found)}
        low, high = CONTROL_WEIGHT_RANGE
        changes["weight"] = min(max(unit.weight, low), high)
        if changes["weight"] != unit.weight:
            self._changed(f"weight of {label}", plain_number(unit.weight), plain_number(changes["weight"]))
        if not 0 <= unit.start < unit.end <= 1:
            self._tell("setting_unsupported", f"The range of {label} cannot be read; it works from start to end.")
            changes |= {"start": 0.0, "end": 1.0}
        kept = bool(unit.image) and (self.lookups.has_asset is None or self.lookups.has_asset(unit.image))
        if not kept:
            self._tell("setting_unsupported", f"{label} is switched off: its picture is not stored in the file.")
            changes |= {"image": "", "muted": True}
        return unit.model_copy(update=changes)

    def _preprocessing(self, found: FoundUnit) -> dict[str, Any]:
        unit, find = found.unit, self.lookups.find_preprocessor
        if find is None or unit.kind != "controlnet":
            return {}
        known = find(unit.preprocessor)
        if known is None:
            message = f"{found.label}: its preprocessor is not known here; the picture is taken as the hint."
            self._tell("setting_unsupported", message)
            return {"preprocessor": "none", "parameters": {}}
        told = zip(known[1], found.thresholds, strict=False)
        given = {name: value for name, value in unit.parameters.items() if name in known[1]}
        return {
            "preprocessor": known[0],
            "parameters": given | {name: value for name, value in told if value >= 0},
        }

    def _embeddings(self) -> None:
        """Tell which words of the prompts have no vectors here, or others."""
        find = self.lookups.find_embedding
        if find is None:
            return
        missing: list[str] = []
        for name, known_hash in self.draft.embeddings[:MOST_ADAPTERS]:
            found = find(name, known_hash.lower())
            if found is None:
                missing.append(name)
            elif found.casefold() != name.casefold():
                self._tell("embedding_skipped", f"The embedding “{_short(name)}” is called “{_short(found)}” here.")
        if missing:
            names = ", ".join(f"“{_short(name)}”" for name in missing[:10])
            self._tell(
                "embedding_skipped", f"Embeddings that are not in the library: {names}. The words are only text."
            )

    def _weight(self, name: str, value: float) -> float:
        kept = min(max(value, ADAPTER_WEIGHT_RANGE[0]), ADAPTER_WEIGHT_RANGE[1])
        if kept != value:
            self._changed(f"weight of “{_short(name)}”", plain_number(value), plain_number(kept))
        return kept

    def _noise(self) -> None:
        where = self.draft.rng.strip().lower()
        if where == "cpu":
            return
        if where:
            said = (
                "The picture's noise was made on a GPU; Easel's is made on the CPU, so the seed gives another picture."
            )
        else:
            said = (
                "The picture does not say where its noise was made. A1111 makes it on the GPU unless told otherwise, "
                "Easel on the CPU, so the same seed may give another picture."
            )
        self._tell("setting_unsupported", said)

    def _rest(self) -> None:
        for words in self.draft.lost[:20]:
            self._tell("setting_unsupported", f"Not restored: {words}.")
        if self.draft.unknown:
            names = ", ".join(_short(name) for name in self.draft.unknown[:20])
            more = f" and {len(self.draft.unknown) - 20} more" if len(self.draft.unknown) > 20 else ""
            message = f"Settings that Easel does not know were left out: {names}{more}."
            self.notices.append(Notice(code="setting_unsupported", message=message))


def _short(value: Any) -> str:
    text = clean_text(str(value)[:200]) if not isinstance(value, int) or abs(value) < 10**100 else "a very large number"
    return text if len(text) <= 60 else text[:57] + "…"
