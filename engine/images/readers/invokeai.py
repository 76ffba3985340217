"""InvokeAI: JSON under `invokeai_metadata`."""

from __future__ import annotations

from typing import Any

from engine.images.carrier import Carrier
from engine.images.draft import Draft, Lookups, adapter_tag, as_number, as_text
from engine.images.restoration import restore
from engine.images.safe_json import load_object
from engine.protocol.commands import Recipe

_SAMPLERS = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "deis": "DEIS",
    "dpmpp_2s": "DPM++ 2S a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m": "DPM++ 3M",
    "dpmpp_sde": "DPM++ SDE",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "kdpm_2": "DPM2",
    "kdpm_2_a": "DPM2 a",
    "lcm": "LCM",
    "lms": "LMS",
    "pndm": "PLMS",
    "tcd": "TCD",
    "unipc": "UniPC",
}
_LOST = {
    "controlnets": "ControlNet units, whose pictures are not stored in the file",
    "ipAdapters": "IP-Adapters",
    "t2iAdapters": "T2I-Adapters",
    "refiner_model": "the refiner",
    "hrf_enabled": "the second pass (high resolution fix)",
    "init_image": "the picture that it was made from",
    "strength": "the strength of a picture-to-picture run",
    "canvas_v2_metadata": "the canvas",
    "regions": "regional prompts",
}


class InvokeReader:
    """Prompts are in compel's syntax; clip skip counts from 0."""

    dialect = "invokeai"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None where `invokeai_metadata` is missing."""
        text = carrier.texts.get("invokeai_metadata")
        if text is None:
            return None
        record = load_object(text, "InvokeAI's record")
        scheduler = as_text(record.get("scheduler"))
        karras = scheduler.endswith("_k")
        plain = scheduler.removesuffix("_k")
        tags, adapters = _adapters(record.get("loras"))
        skip = as_number(record.get("clip_skip"))
        model = record.get("model")
        draft = Draft(
            prompt=" ".join([as_text(record.get("positive_prompt")), *tags]).strip(),
            negative=as_text(record.get("negative_prompt")),
            syntax="compel",
            steps=record.get("steps"),
            guidance=record.get("cfg_scale"),
            seed=record.get("seed"),
            width=record.get("width") or carrier.width,
            height=record.get("height") or carrier.height,
            sampler=_SAMPLERS.get(plain, plain),
            schedule="Karras" if karras else "Automatic" if plain else "",
            model=_model_text(model, "name") or _model_text(model, "model_name"),
            vae=_model_text(record.get("vae"), "name") or _model_text(record.get("vae"), "model_name"),
            clip_skip=None if skip is None else round(min(max(skip, 0), 100)) + 1,
            rng="cpu" if record.get("rand_device", "cpu") == "cpu" else "gpu",
            adapters=adapters,
        )
        draft.lost = [words for key, words in _LOST.items() if record.get(key)]
        return restore(draft, self.dialect, text, lookups)


def _adapters(rows: Any) -> tuple[list[str], list[tuple[str, str]]]:
    tags: list[str] = []
    adapters: list[tuple[str, str]] = []
    for row in rows[:100] if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        model = row.get("model") or row.get("lora")
        name = _model_text(model, "name") or _model_text(model, "model_name")
        weight = as_number(row.get("weight"))
        if name:
            tags.append(adapter_tag(name, 1.0 if weight is None else weight))
            adapters.append((name, ""))
    return tags, adapters


def _model_text(model: Any, key: str) -> str:
    return as_text(model.get(key)) if isinstance(model, dict) else ""
