"""SwarmUI: JSON with `sui_image_params`, in PNG `parameters` or EXIF UserComment."""

from __future__ import annotations

from typing import Any

from engine.images.carrier import Carrier
from engine.images.draft import Draft, Lookups, adapter_tag, as_number, as_text
from engine.images.readers.comfy_names import model_name, titles
from engine.images.restoration import restore
from engine.images.safe_json import load_object
from engine.images.writer import INFOTEXT_KEY
from engine.protocol.commands import Recipe

_HANDLED = frozenset(
    (
        "prompt", "negativeprompt", "model", "seed", "steps", "cfgscale", "width", "height", "sampler", "scheduler",
        "vae", "loras", "loraweights", "loratencweights", "clipstopatlayer", "images", "aspectratio", "swarm_version",
        "batchsize", "automaticvae", "original_prompt", "date", "generation_time", "sidelength", "resolution",
    )
)  # fmt: skip


class SwarmReader:
    """SwarmUI drives ComfyUI, so names and noise are ComfyUI's.

    `sui_models` holds hashes of the files' data sections; no other tool shows those, so models are found by name.
    """

    dialect = "swarmui"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None unless the text is SwarmUI's JSON."""
        text = carrier.texts.get(INFOTEXT_KEY, "")
        if not text.lstrip().startswith("{") or "sui_image_params" not in text:
            return None
        record = load_object(text, "SwarmUI's record")
        values = record.get("sui_image_params")
        if not isinstance(values, dict):
            return None
        values = {str(key).lower().replace(" ", ""): value for key, value in values.items()}
        sampler, schedule = titles(as_text(values.get("sampler")), as_text(values.get("scheduler")))
        tags, adapters = _adapters(values)
        draft = Draft(
            prompt=" ".join([as_text(values.get("prompt")), *tags]).strip(),
            negative=as_text(values.get("negativeprompt")),
            steps=values.get("steps"),
            guidance=values.get("cfgscale"),
            seed=values.get("seed"),
            width=values.get("width") or carrier.width,
            height=values.get("height") or carrier.height,
            sampler=sampler,
            schedule=schedule,
            model=model_name(as_text(values.get("model"))),
            vae="" if values.get("automaticvae") else model_name(as_text(values.get("vae"))),
            clip_skip=_clip_skip(values.get("clipstopatlayer")),
            adapters=adapters,
        )
        draft.unknown = sorted(key[:60] for key in values if key not in _HANDLED)
        return restore(draft, self.dialect, text, lookups)


def _adapters(values: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    names, weights, text_weights = (_listed(values.get(key)) for key in ("loras", "loraweights", "loratencweights"))
    tags: list[str] = []
    for place, name in enumerate(names[:100]):
        unet = as_number(weights[place]) if place < len(weights) else None
        text = as_number(text_weights[place]) if place < len(text_weights) else None
        tags.append(adapter_tag(model_name(name), 1.0 if unet is None else unet, text))
    return tags, [(model_name(name), "") for name in names[:100]]


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [str(part) for part in value if isinstance(part, (str, int, float))] if isinstance(value, list) else []


def _clip_skip(value: Any) -> int | None:
    number = as_number(value)
    return None if number is None or number >= 0 else round(-number)
