"""Fooocus: JSON under `parameters` with `fooocus_scheme` "fooocus". Its other scheme is infotext.

Fooocus itself evaluates these texts as Python. Here numbers are picked out of them by a pattern.
"""

from __future__ import annotations

import re
from typing import Any

from engine.images.carrier import Carrier
from engine.images.draft import Draft, Lookups, adapter_tag, as_number, as_text
from engine.images.readers.comfy_names import model_name, titles
from engine.images.restoration import restore
from engine.images.safe_json import load_object
from engine.images.writer import INFOTEXT_KEY
from engine.protocol.commands import Recipe

_STEPS = {"Quality": 60, "Speed": 30, "Extreme Speed": 8, "Lightning": 4, "Hyper-SD": 4}
_KEYS = ("base_model", "fooocus", "lora_combined_1", "performance", "adm_guidance")


class FooocusReader:
    """Styles and the prompt's expansion are inside `full_prompt`, which is what made the picture."""

    dialect = "fooocus"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None unless the text is Fooocus' JSON."""
        text = carrier.texts.get(INFOTEXT_KEY, "")
        scheme = carrier.texts.get("fooocus_scheme", "")
        if not text.lstrip().startswith("{") or not (scheme == "fooocus" or any(f'"{key}"' in text for key in _KEYS)):
            return None
        record = load_object(text, "Fooocus' record")
        sampler, schedule = titles(as_text(record.get("sampler")), as_text(record.get("scheduler")))
        size = re.findall(r"\d{1,6}", as_text(record.get("resolution"))[:100])
        tags, adapters = _adapters(record)
        vae = as_text(record.get("vae"))
        draft = Draft(
            prompt=" ".join([_prompt(record, "prompt"), *tags]).strip(),
            negative=_prompt(record, "negative_prompt"),
            steps=record.get("steps") or _STEPS.get(as_text(record.get("performance"))),
            guidance=record.get("guidance_scale"),
            seed=record.get("seed"),
            width=size[0] if len(size) == 2 else carrier.width,
            height=size[1] if len(size) == 2 else carrier.height,
            sampler=sampler,
            schedule=schedule,
            model=model_name(as_text(record.get("base_model"))),
            model_hash=as_text(record.get("base_model_hash")),
            vae="" if vae.startswith("Default") else model_name(vae),
            clip_skip=record.get("clip_skip"),
            adapters=adapters,
        )
        for key, words in (("sharpness", "sharpness"), ("adm_guidance", "ADM guidance"), ("freeu", "FreeU")):
            if record.get(key):
                draft.lost.append(words)
        if as_text(record.get("refiner_model")) not in ("", "None"):
            draft.lost.append("the refiner")
        return restore(draft, self.dialect, text, lookups)


def _prompt(record: dict[str, Any], key: str) -> str:
    full = record.get(f"full_{key}")
    if isinstance(full, list) and all(isinstance(line, str) for line in full) and full:
        return ", ".join(full)
    return as_text(record.get(key))


def _adapters(record: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    rows: list[tuple[str, float | None, str]] = []
    listed = record.get("loras")
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, list) and len(row) >= 2:
            rows.append((as_text(row[0]), as_number(row[1]), as_text(row[2]) if len(row) > 2 else ""))
    for key, value in record.items():
        if not rows and key.startswith("lora_combined_"):
            name, _, weight = as_text(value).rpartition(" : ")
            rows.append((name, as_number(weight), ""))
    rows = [(model_name(name), weight, digest) for name, weight, digest in rows[:100] if name]
    tags = [adapter_tag(name, 1.0 if weight is None else weight) for name, weight, _ in rows]
    return tags, [(name, digest) for name, _, digest in rows]
