"""A1111's infotext: writing it from a spec, reading a spec from it. See docs/file-formats.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from engine.conditioning.adapter_tags import cut_tags, plain_number, tag_name, write_tag
from engine.images.control_units import control_keys, control_pairs, read_controls
from engine.images.draft import Canonical, Draft, Lookups, clean_text
from engine.images.infotext_grammar import MAX_INFOTEXT, NEGATIVE, NEGATIVE_KEY, PROMPT_KEY, parse_infotext, write_pairs
from engine.images.restoration import restore
from engine.protocol.commands import Recipe
from engine.protocol.library import SamplerView
from engine.protocol.specs import GenerationSpec

HASH_LENGTH = 10
LORA_HASH_LENGTH = 12


def write_infotext(
    spec: GenerationSpec,
    *,
    model_title: str,
    model_hash: str,
    version: str,
    samplers: Sequence[SamplerView] = (),
    hashes: dict[str, str] | None = None,
    adapters: Mapping[str, tuple[str, str]] | None = None,
    embeddings: Mapping[str, str] | None = None,
    controls: Mapping[str, str] | None = None,
) -> str:
    """The infotext of the one picture that the resolved `spec` makes.

    Args:
        model_title: the model's file name without suffix (its id), which other tools look up.
        model_hash: SHA-256 of the model file in hex, of any length; "" while it is not known.
        samplers: the sampler table's views, for A1111's titles; ids that are not there are written as they are.
        hashes: further entries for Civitai's `Hashes`, such as {"vae": "…"}.
        adapters: by the names of the spec's rows, SHA-256 and AutoV3 in hex, "" while they are not known.
        embeddings: names of the textual inversions in the prompts → SHA-256 of their files in hex.
        controls: ids of the ControlNets → SHA-256 of their files in hex.
    """
    sampler, schedule = _titles(spec, samplers)
    short_hash = model_hash.lower().removeprefix("0x")[:HASH_LENGTH]
    lora_hashes, civitai = _adapter_hashes(spec, adapters or {})
    inversions = {_plain_name(name): digest.lower() for name, digest in (embeddings or {}).items() if digest}
    civitai |= {f"embed:{name}": digest[:HASH_LENGTH] for name, digest in inversions.items()}
    known = ({"model": short_hash} if short_hash else {}) | civitai | (hashes or {})
    pairs: list[tuple[str, object | None]] = [
        ("Steps", spec.steps),
        ("Sampler", sampler),
        ("Schedule type", schedule),
        ("CFG scale", None if spec.guidance is None else plain_number(spec.guidance)),
        ("Seed", spec.seed),
        ("Size", f"{spec.width}x{spec.height}" if spec.width and spec.height else None),
        ("Model hash", short_hash or None),
        ("Model", model_title or None),
        ("VAE", spec.vae),
        ("Clip skip", spec.clip_skip if (spec.clip_skip or 1) > 1 else None),
        ("RNG", "CPU"),
        ("Lora hashes", lora_hashes or None),
        *control_pairs(spec.controls, controls or {}),
        ("TI hashes", ", ".join(f"{name}: {digest[:LORA_HASH_LENGTH]}" for name, digest in inversions.items()) or None),
        ("Postprocess upscale by", spec.upscale if (spec.upscale or 1) > 1 else None),
        ("Postprocess upscaler", spec.upscaler if (spec.upscale or 1) > 1 else None),
    ]
    line = write_pairs((key, str(value)) for key, value in pairs if value is not None)
    if known:
        # Raw, not quoted: Civitai looks for the bare object.
        line += f", Hashes: {json.dumps(known, separators=(',', ':'), ensure_ascii=False)}"
    line += ", " + write_pairs([("Version", f"Easel {version}")])
    negative = f"\n{NEGATIVE} {spec.negative_prompt}" if spec.negative_prompt else ""
    return f"{_tagged_prompt(spec)}{negative}\n{line}".strip()


def spec_from_infotext(text: str, *, canonical: Canonical | None = None, lookups: Lookups | None = None) -> Recipe:
    """The recipe that an infotext holds; without one (a plain prompt, say) a `Recipe` with no spec and source "".

    `canonical` is short for `Lookups(canonical=…)`.

    Raises:
        SpecError: `image_unreadable` when the text is longer than 1 MiB.
    """
    fields = parse_infotext(text)
    if len(fields) == 2 and not fields[NEGATIVE_KEY]:
        return Recipe(infotext=clean_text(text[:MAX_INFOTEXT]))
    from_easel = fields.get("Version", "").startswith("Easel")
    source = "easel" if from_easel else "a1111"
    return restore(draft_from_fields(fields), source, text, lookups or Lookups(canonical=canonical))


def draft_from_fields(fields: dict[str, str]) -> Draft:
    """Settings out of parsed infotext. A missing clip skip is 1, as in A1111; a missing RNG stays unsaid."""
    draft = Draft(
        prompt=fields.get(PROMPT_KEY, ""),
        negative=fields.get(NEGATIVE_KEY, ""),
        steps=fields.get("Steps"),
        guidance=fields.get("CFG scale"),
        seed=fields.get("Seed"),
        width=fields.get("Size-1"),
        height=fields.get("Size-2"),
        sampler=fields.get("Sampler", ""),
        schedule=fields.get("Schedule type") or fields.get("Scheduler", ""),
        model=fields.get("Model", ""),
        model_hash=fields.get("Model hash", ""),
        vae=fields.get("VAE", ""),
        clip_skip=fields.get("Clip skip"),
        upscale=fields.get("Postprocess upscale by"),
        rng=fields.get("RNG", ""),
    )
    draft.adapters = adapters_in(draft.prompt, fields.get("Lora hashes", ""), fields.get("Hashes", ""))
    draft.embeddings = embeddings_in(fields.get("TI hashes", ""), fields.get("Hashes", ""))
    # Easel names two different weights, so only other writers' order matters.
    draft.text_first = True
    handled = {name for name in fields if name in _RESTORED}
    for words, keys in _LOST.items():
        present = [name for name in fields if name.startswith(keys)]
        if present:
            draft.lost.append(f"{words} ({', '.join(present[:6])})")
            handled.update(present)
    draft.controls = read_controls(fields)
    handled |= control_keys(fields)
    draft.unknown = [name for name in fields if name not in handled]
    return draft


def adapters_in(prompt: str, hashes: str = "", civitai: str = "") -> list[tuple[str, str]]:
    """(name, hash) of the adapters that a prompt's `<lora:…>` tags name.

    `hashes` is A1111's `Lora hashes` text, `civitai` the JSON text of `Hashes`, asked where the first has none.
    """
    known = _listed(civitai, "lora:") | _short_hashes(hashes)
    names = dict.fromkeys(tag.name for tag in cut_tags(prompt)[1])
    return [(name, known.get(name, "")) for name in names]


def embeddings_in(hashes: str = "", civitai: str = "") -> list[tuple[str, str]]:
    """(name, hash) of the textual inversions that A1111's `TI hashes`, or Civitai's `Hashes`, name."""
    return list((_listed(civitai, "embed:") | _short_hashes(hashes)).items())


def adapters_of(infotext: str) -> list[tuple[str, str]]:
    """(name, hash) of the adapters that an infotext names."""
    fields = parse_infotext(infotext)
    return adapters_in(fields[PROMPT_KEY], fields.get("Lora hashes", ""), fields.get("Hashes", ""))


def _short_hashes(text: str) -> dict[str, str]:
    """A1111's "name: hash, name: hash"."""
    found: dict[str, str] = {}
    for entry in text.split(","):
        name, _, digest = entry.rpartition(":")
        if name.strip():
            found[name.strip()] = digest.strip()
    return found


def _listed(civitai: str, prefix: str) -> dict[str, str]:
    """What Civitai's `Hashes` has under a prefix."""
    try:
        listed = json.loads(civitai or "{}")
    except (ValueError, RecursionError):
        return {}
    rows = listed.items() if isinstance(listed, dict) else ()
    return {
        name[len(prefix) :]: digest
        for name, digest in rows
        if name.lower().startswith(prefix) and isinstance(digest, str)
    }


_RESTORED = frozenset(
    (
        PROMPT_KEY, NEGATIVE_KEY, "Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Seed", "Size-1",
        "Size-2", "Size", "Model hash", "Model", "VAE hash", "VAE", "Clip skip", "RNG", "Lora hashes", "TI hashes",
        "Hashes", "Version", "User", "Lora weights", "Downcast alphas_cumprod",
        "Postprocess upscale by", "Postprocess upscaler",
    )
)  # fmt: skip
_LOST: dict[str, tuple[str, ...]] = {
    "the second pass of hires fix": ("Hires ",),
    "the strength of a picture-to-picture run": (
        "Denoising strength", "Image CFG scale", "Conditional mask weight", "Init image hash",
    ),
    "inpainting": ("Mask ", "Inpaint ", "Masked ", "Masking ", "Soft inpainting"),
    "variations": ("Variation seed", "Seed resize from"),
    "the refiner": ("Refiner",),
    "face restoration": ("Face restoration",),
    "the detailer": ("ADetailer",),
    "tiling": ("Tiling", "Tiled "),
    "noise options": (
        "ENSD", "Eta", "Sigma ", "Schedule max sigma", "Schedule min sigma", "Schedule rho", "Discard penultimate",
    ),
    "guidance options": ("NGMS", "Skip Early CFG", "Dynamic thresholding", "Mimic ", "CFG Rescale", "Cads ", "FreeU"),
    "speed options": ("Token merging", "FP8 weight", "Cache FP16"),
    "the prompt's wildcards": ("Template", "Negative Template", "Wildcard "),
}  # fmt: skip


def _titles(spec: GenerationSpec, samplers: Sequence[SamplerView]) -> tuple[str | None, str | None]:
    for view in samplers:
        if view.id == spec.sampler:
            schedule = next((entry.title for entry in view.schedules if entry.id == spec.schedule), spec.schedule)
            return view.title, schedule
    return spec.sampler, spec.schedule


def _tagged_prompt(spec: GenerationSpec) -> str:
    tags = [write_tag(row) for row in spec.adapters if row.enabled]
    return " ".join([spec.prompt, *tags] if spec.prompt else tags)


def _plain_name(name: str) -> str:
    """A name that does not end an entry of `TI hashes`."""
    return name.replace(":", "").replace(",", "").strip()


def _adapter_hashes(spec: GenerationSpec, known: Mapping[str, tuple[str, str]]) -> tuple[str, dict[str, str]]:
    """A1111's `Lora hashes` ("name: 12 hex, …") and Civitai's entries ("lora:NAME": 10 hex) of the rows that are on."""
    short: dict[str, str] = {}
    civitai: dict[str, str] = {}
    for row in spec.adapters:
        sha256, auto_v3 = known.get(row.name, ("", ""))
        name = tag_name(row)
        if row.enabled and auto_v3:
            short[name] = auto_v3[:LORA_HASH_LENGTH]
        if row.enabled and sha256:
            civitai[f"lora:{name}"] = sha256[:HASH_LENGTH]
    return ", ".join(f"{name}: {digest}" for name, digest in short.items()), civitai
