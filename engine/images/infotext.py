"""A1111's infotext: the grammar, writing it from a spec, reading a spec from it.

    infotext := prompt-lines ["\\nNegative prompt: " negative-lines] "\\n" pairs
    pairs    := key ": " value {", " key ": " value}        one line, at least three pairs, else it is prompt

A value is quoted with JSON's rules where it contains a comma, a line feed or a colon. See docs/file-formats.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from engine.conditioning.adapter_tags import cut_tags, plain_number, tag_name, write_tag
from engine.images.control_units import control_keys, control_pairs, read_controls
from engine.images.draft import Canonical, Draft, Lookups, clean_text
from engine.images.safe_json import unreadable
from engine.protocol.commands import Recipe
from engine.protocol.library import SamplerView
from engine.protocol.specs import GenerationSpec

MAX_INFOTEXT = 2**20
MIN_PAIRS = 3
HASH_LENGTH = 10
LORA_HASH_LENGTH = 12
PROMPT_KEY, NEGATIVE_KEY = "Prompt", "Negative prompt"
_NEGATIVE = "Negative prompt:"

# The known pattern is `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`. This one finds the same pairs, but only
# tries each run of key characters once, so that a hostile text of a megabyte takes linear time.
_PAIR = re.compile(r'(?<![\w \-/])[ \-/]*+(\w[\w \-/]++):\s*+("(?:\\.|[^\\"])++"|[^,]*+)(?:,|$)')
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
# Civitai's raw JSON object, which the grammar above would tear apart at its commas.
_HASHES = re.compile(r"(?:^|,)\s{0,8}Hashes:\s{0,8}(\{[^{}]{0,100000}\})(?=,|$)")


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
    negative = f"\n{_NEGATIVE} {spec.negative_prompt}" if spec.negative_prompt else ""
    return f"{_tagged_prompt(spec)}{negative}\n{line}".strip()


def write_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """`key: value` pairs joined by ", "; a pair whose value is its key is written as the bare key."""
    return ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in pairs)


def quote(value: str) -> str:
    """`value`, as a JSON string where it holds a comma, a line feed or a colon, or would not be read back bare."""
    bare = not any(mark in value for mark in ",\n:") and value == value.strip() and not value.startswith('"')
    return value if bare else json.dumps(value, ensure_ascii=False)


def unquote(value: str) -> str:
    """The reverse of `quote`; text that is not proper JSON is kept as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        decoded = json.loads(value, strict=False)
    except ValueError:
        return value
    return decoded if isinstance(decoded, str) else value


def parse_infotext(text: str) -> dict[str, str]:
    """The fields of an infotext: `Prompt`, `Negative prompt`, and the pairs under their own keys.

    Values of the form WxH become `key-1` and `key-2`; Civitai's `Hashes` is kept as its JSON text. A last line with
    fewer than three pairs belongs to the prompt.

    Raises:
        SpecError: `image_unreadable` when the text is longer than 1 MiB.
    """
    if len(text) > MAX_INFOTEXT:
        raise unreadable("the text is too long.")
    lines = [line.removesuffix("\r") for line in text.strip().split("\n")]
    fields: dict[str, str] = {}
    pairs, hashes = _pairs(lines[-1])
    if len(pairs) >= MIN_PAIRS:
        lines.pop()
        for key, value in pairs:
            _keep(fields, key, value)
        if hashes:
            fields["Hashes"] = hashes
    prompt, negative = _prompts(lines)
    return {PROMPT_KEY: prompt, NEGATIVE_KEY: negative, **fields}


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
    return draft_from_fields(fields).to_recipe(source, text, lookups or Lookups(canonical=canonical))


def draft_from_fields(fields: dict[str, str]) -> Draft:
    """Settings out of parsed infotext. Missing fields take A1111's defaults (noise from the GPU, clip skip 1)."""
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
        rng=fields.get("RNG", "GPU"),
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


def _pairs(line: str) -> tuple[list[tuple[str, str]], str]:
    """Pairs of a line, and the raw `Hashes` object ("" where there is none), which is taken out first."""
    hashes = ""
    found = _HASHES.search(line)
    if found and _is_json(found.group(1)):
        hashes = found.group(1)
        line = line[: found.start()] + line[found.end() :]
    return [(match.group(1).strip(), match.group(2).strip()) for match in _PAIR.finditer(line)], hashes


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _keep(fields: dict[str, str], key: str, raw: str) -> None:
    value = unquote(raw)
    size = _SIZE.fullmatch(value)
    if size:
        fields[f"{key}-1"], fields[f"{key}-2"] = size.groups()
    elif key not in (PROMPT_KEY, NEGATIVE_KEY):
        fields[key] = value


def _prompts(lines: Sequence[str]) -> tuple[str, str]:
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in lines:
        if line.lstrip().startswith(_NEGATIVE):
            rest = line.lstrip()[len(_NEGATIVE) :].removeprefix(" ")
            negative = [rest] if negative is None else [*negative, rest]
        elif negative is None:
            prompt.append(line)
        else:
            negative.append(line)
    return "\n".join(prompt), "\n".join(negative or [])
