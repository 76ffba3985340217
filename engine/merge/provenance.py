"""What a made file says of itself: kohya's and ModelSpec's metadata, its inputs, and its recipe.

Keys: kohya's `ss_*` and `sshs_*`; https://github.com/Stability-AI/ModelSpec; `easel.recipe` is ours (JSON).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from engine.library.adapter_words import training_tags, trigger_words, written_words
from engine.protocol.frozen import Frozen
from engine.protocol.merge import FileMetadata

RECIPE_KEY = "easel.recipe"
SOURCES_KEY = "easel.sources"
_ARCHITECTURES = {
    "sd1": ("sd_v1", "stable-diffusion-v1"),
    "sd2": ("sd_v2", "stable-diffusion-v2-512"),
    "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
}
_FIELDS = {
    "title": "modelspec.title",
    "author": "modelspec.author",
    "description": "modelspec.description",
    "license": "modelspec.license",
    "usage_hint": "modelspec.usage_hint",
    "thumbnail": "modelspec.thumbnail",
}


def said(metadata: FileMetadata) -> dict[str, str]:
    """The keys of what a person gave; "" for what is to be taken away, nothing for what is left open."""
    found = {key: getattr(metadata, name) for name, key in _FIELDS.items() if getattr(metadata, name) is not None}
    if found.get("modelspec.thumbnail"):
        found["modelspec.thumbnail"] = _data_url(found["modelspec.thumbnail"])
    if metadata.trigger_words is not None:
        found |= written_words(metadata.trigger_words)
    if metadata.tags is not None:
        found["modelspec.tags"] = ", ".join(metadata.tags)
    return found


def adapter_metadata(
    *,
    name: str,
    family: str,
    recipe: Frozen,
    given: FileMetadata,
    sources: Sequence[tuple[str, str, Mapping[str, str]]],
    ranks: Sequence[int],
    alphas: Sequence[float] = (),
    network: str = "networks.lora",
) -> dict[str, str]:
    """The metadata of a made adapter, without the hash.

    Args:
        name: of the file, without suffix. ranks, alphas: of its modules.
        sources: of each input its title, its AutoV3 hash (hex) and its own metadata.
    """
    version, architecture = _ARCHITECTURES.get(family, ("", ""))
    rank = str(ranks[0]) if len(set(ranks)) == 1 else "Dynamic"
    alpha = f"{alphas[0]:g}" if len(set(alphas)) == 1 else rank
    now = datetime.now(UTC)
    found = {
        "ss_v2": str(family == "sd2"),
        "ss_base_model_version": version,
        "ss_network_module": network,
        "ss_network_dim": rank,
        "ss_network_alpha": alpha,
        "ss_output_name": name,
        "ss_training_finished_at": f"{now.timestamp():.0f}",
        "ss_tag_frequency": _tags(sources),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora" if architecture else "",
        "modelspec.implementation": "diffusers",
        "modelspec.title": name,
        "modelspec.date": now.replace(microsecond=0, tzinfo=None).isoformat(),
        "modelspec.merged_from": ", ".join(title for title, _, _ in sources),
        **written_words(_words(sources)),
        **provenance(recipe, [(title, digest) for title, digest, _ in sources]),
        **said(given),
    }
    return {key: value for key, value in found.items() if value}


def provenance(recipe: Frozen, sources: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The recipe as JSON, and the hash of each input."""
    return {
        RECIPE_KEY: recipe_text(recipe),
        SOURCES_KEY: json.dumps([{"name": title, "auto_v3": digest} for title, digest in sources], ensure_ascii=False),
    }


def recipe_text(recipe: Frozen) -> str:
    """The recipe as it stands in a file (JSON)."""
    # A picture need not be in the file twice.
    return recipe.model_dump_json(by_alias=True, exclude={"metadata": {"thumbnail"}})


def with_hash(metadata: Mapping[str, str], auto_v3: str) -> dict[str, str]:
    """The metadata with the hash of the data under the names that others look for."""
    return {**metadata, "sshs_model_hash": auto_v3, "modelspec.hash_sha256": f"0x{auto_v3}"}


def _words(sources: Sequence[tuple[str, str, Mapping[str, str]]]) -> tuple[str, ...]:
    words = [word for _, _, metadata in sources for word in trigger_words(metadata, training_tags(metadata))[0]]
    return tuple(dict.fromkeys(words))


def _tags(sources: Sequence[tuple[str, str, Mapping[str, str]]]) -> str:
    """kohya's table of training tags, one folder per input, so that their sums stay what they were."""
    tables: dict[str, dict[str, int]] = {}
    for title, _, metadata in sources:
        if tags := Counter(dict(training_tags(metadata))):
            tables[f"1_{title}"] = dict(tags)
    return json.dumps(tables, ensure_ascii=False) if tables else ""


def _data_url(picture: str) -> str:
    if picture.startswith("data:") or not picture:
        return picture
    kind = "png" if picture.startswith("iVBOR") else "webp" if picture.startswith("UklGR") else "jpeg"
    return f"data:image/{kind};base64,{picture}"
