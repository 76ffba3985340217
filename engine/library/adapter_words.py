"""What an adapter answers to: trigger words and training tags out of its metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Easel's own: the trigger words as a list (JSON), since ModelSpec knows one phrase only.
WORDS_KEY = "easel.trigger_words"
KEPT_TAGS = 40
LONGEST_TAG = 80
# A tag that stands at this share of the training pictures belongs to what was learnt.
_ALWAYS = 0.9
# Tags that nearly every picture of some data sets has; they name nothing of an adapter's own.
_EVERYDAY = {
    "1girl", "1boy", "solo", "girl", "boy", "woman", "man", "person", "no_humans", "simple_background", "highres",
    "white_background", "looking_at_viewer", "absurdres", "masterpiece", "best_quality", "realistic", "photo",
    "highly_detailed",
}  # fmt: skip
_REPEATS = re.compile(r"\d+_(.+)")


def training_tags(metadata: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """kohya's `ss_tag_frequency` over all folders: (tag, pictures), the most frequent first, the first 40.

    Where pictures had no captions, the word of the training folder ("10_ohwx cat") stands for all of them.
    """
    counts: dict[str, int] = {}
    pictures = _pictures(metadata)
    for folder, tags in _object(metadata, "ss_tag_frequency").items():
        if not isinstance(tags, dict):
            continue
        named = _REPEATS.fullmatch(folder)
        rows = tags or ({named[1]: pictures or 1} if named else {})
        for tag, count in rows.items():
            text = " ".join(str(tag).split())
            if text and len(text) <= LONGEST_TAG and isinstance(count, int) and count > 0:
                counts[text] = counts.get(text, 0) + count
    # sorted() is stable: tags of the same count stay in the order of the file.
    return tuple(sorted(counts.items(), key=lambda item: -item[1])[:KEPT_TAGS])


def trigger_words(metadata: Mapping[str, str], tags: tuple[tuple[str, int], ...]) -> tuple[tuple[str, ...], int]:
    """The words, and how many of them, from the first, surely belong into every prompt.

    `modelspec.trigger_phrase` is the trainer's own word. Without it, tags that stand at (nearly) every training picture
    are what the adapter answers to; of these only the first is sure. A phrase that Easel wrote out of several words is
    those words again, unless another program has changed it since.
    """
    said = metadata.get("modelspec.trigger_phrase", "").strip()
    if said:
        parts = _listed(metadata, WORDS_KEY)
        return (parts, len(parts)) if _phrase(parts) == said else ((said,), 1)
    most = max(_pictures(metadata), tags[0][1] if tags else 0)
    words = [tag for tag, count in tags if count >= _ALWAYS * most and tag.replace(" ", "_").lower() not in _EVERYDAY]
    return tuple(words[:3]), min(len(words), 1)


def written_words(words: Sequence[str]) -> dict[str, str]:
    """Trigger words as a file says them: ModelSpec's one phrase, and beside it the list that it was; "" for nothing."""
    listed = json.dumps(list(words), ensure_ascii=False) if len(words) > 1 else ""
    return {"modelspec.trigger_phrase": _phrase(words), WORDS_KEY: listed}


def advised_weight(metadata: Mapping[str, str]) -> float | None:
    """The strength that `modelspec.usage_hint` names ("use at weight 0.7"); None where it names none."""
    hint = metadata.get("modelspec.usage_hint", "")[:2000].lower()
    found = re.search(r"(?:weight|strength|scale)\D{0,20}(\d(?:\.\d{1,3})?)", hint)
    return float(found[1]) if found and 0 < float(found[1]) <= 4 else None


def _pictures(metadata: Mapping[str, str]) -> int:
    """How many training pictures there were (without repeats), 0 where the file does not say."""
    rows = _object(metadata, "ss_dataset_dirs").values()
    counts = [row.get("img_count") for row in rows if isinstance(row, dict)]
    return sum(count for count in counts if isinstance(count, int))


def _phrase(words: Sequence[str]) -> str:
    return ", ".join(word.strip() for word in words)


def _listed(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    try:
        value = json.loads(metadata.get(key, ""))
    except (ValueError, RecursionError):
        return ()
    listed = isinstance(value, list) and all(isinstance(word, str) and word.strip() for word in value)
    return tuple(word.strip() for word in value) if listed else ()


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        value = json.loads(metadata.get(key, ""))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
