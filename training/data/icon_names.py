"""Emoji slugs for icon sets that list no code points, by their icons' names."""

from __future__ import annotations

import re
from collections.abc import Iterable

EXCEPTIONS: dict[str, dict[str, str]] = {
    "noto-v1": {"enraged_face": "pouting-face"},
    "fxemoji": {
        "pizza": "sliceofpizza", "tiger_face": "tiger", "mouse_face": "mouse", "rabbit_face": "bunny",
        "panda": "pandaface", "dragon_face": "dragonhead", "spouting_whale": "spurtingwhale",
        "evergreen_tree": "evergreen", "snowman": "snowmanwithoutsnow", "mountain": "snowmountains",
        "globe_showing_europe_africa": "europeafricaglobe", "house": "housebuilding", "castle": "europeancastle",
        "locomotive": "steamlocomotive", "loudly_crying_face": "loudlycrying", "wrapped_gift": "present",
        "enraged_face": "angry", "t_shirt": "mansshirt",
    },
    "streamline": {
        "lion": "lion-face", "unicorn": "unicorn-face", "bear": "bear-face", "panda": "panda-face",
        "frog": "frog-face", "fish": "tropical-fish", "house": "house-with-garden",
    },
}  # fmt: skip
"""Set → slug → icon name, where the words differ."""


def icons_by_slug(key: str, icons: Iterable[str], slugs: Iterable[str]) -> dict[str, str]:
    """Slug → icon name: by the letters alone, a closing "-1" left out; `EXCEPTIONS` first."""
    names = list(icons)
    by_letters: dict[str, str] = {}
    for name in names:
        by_letters.setdefault(_letters(name.removesuffix("-1")), name)
    special = EXCEPTIONS.get(key, {})
    found = {}
    for slug in slugs:
        name = special.get(slug, by_letters.get(_letters(slug), ""))
        if name in names:
            found[slug] = name
    return found


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
