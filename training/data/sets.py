"""The picture sets: what each is called, whose it is, which words name its look, and how its files are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.icon_names import icons_by_slug
from training.data.render import read_bitmap, render_svg
from training.errors import RecipeError


@dataclass(frozen=True)
class PictureSet:
    """One npm package of pictures.

    `package`, `version`: what is asked of npm, by name. `styles`: phrases for captions, the usual one first.
    `kind`: "iconify" (one JSON of SVG bodies), "names" (the same, but no code points: matched by name) or "webp"
    (a folder of files named by code points).
    """

    key: str
    package: str
    version: str
    kind: str
    styles: tuple[str, ...]
    title: str
    author: str
    licence: str
    source: str


SETS: dict[str, PictureSet] = {
    row.key: row
    for row in (
        PictureSet(
            "fluent-3d", "@lobehub/fluent-emoji-3d", "1.1.0", "webp", ("3d render", "glossy 3d"),
            "Fluent Emoji 3D", "Microsoft Corporation; packaged by LobeHub", "MIT",
            "github.com/microsoft/fluentui-emoji",
        ),
        PictureSet(
            "noto", "@iconify-json/noto", "1.2.9", "iconify", ("cartoon", "shaded cartoon"),
            "Noto Emoji", "Google Inc.", "Apache-2.0", "github.com/googlefonts/noto-emoji",
        ),
        PictureSet(
            "twemoji", "@iconify-json/twemoji", "1.2.5", "iconify", ("flat", "flat vector"),
            "Twemoji", "Twitter, Inc. and other contributors", "CC-BY-4.0", "github.com/twitter/twemoji",
        ),
        # for adapters; their style phrases are the adapters' trigger words
        PictureSet(
            "fluent-ink", "@iconify-json/fluent-emoji-high-contrast", "1.2.6", "iconify", ("ink style",),
            "Fluent Emoji High Contrast", "Microsoft Corporation", "MIT", "github.com/microsoft/fluentui-emoji",
        ),
        PictureSet(
            "fluent-flat", "@iconify-json/fluent-emoji-flat", "1.2.6", "iconify", ("bright style",),
            "Fluent Emoji Flat", "Microsoft Corporation", "MIT", "github.com/microsoft/fluentui-emoji",
        ),
        PictureSet(
            "emojione", "@iconify-json/emojione", "1.2.3", "names", ("soft style",),
            "Emoji One 2.3", "Emoji One and EmojiTwo contributors", "CC-BY-4.0", "github.com/EmojiTwo/emojitwo",
        ),
        PictureSet(
            "noto-v1", "@iconify-json/noto-v1", "1.2.5", "names", ("blob style",),
            "Noto Emoji, first version", "Google Inc.", "Apache-2.0", "github.com/googlefonts/noto-emoji",
        ),
        PictureSet(
            "fxemoji", "@iconify-json/fxemoji", "1.2.2", "names", ("retro style",),
            "Firefox OS Emoji", "Mozilla Foundation", "CC-BY-4.0", "github.com/mozilla/fxemoji",
        ),
        PictureSet(
            "streamline", "@iconify-json/streamline-emojis", "1.2.4", "names", ("sticker style",),
            "Streamline Emojis", "Streamline (webalys)", "CC-BY-4.0", "github.com/webalys-hq/streamline-vectors",
        ),
    )
}  # fmt: skip
"""Sets the recipes may name. A new set is a new row; its licence duty goes into the model's LICENCES.md from here."""

NAMES_PACKAGE = ("unicode-emoji-json", "0.9.0")
"""The package that gives each emoji its slug (MIT)."""


def code_points(emoji: str) -> str:
    """'❤️' → '2764': lower-case hexadecimal joined by '-', variation selectors dropped."""
    return "-".join(f"{ord(char):04x}" for char in emoji if ord(char) != 0xFE0F)


def read_names(packages: Path) -> dict[str, str]:
    """Code points → slug, for everything but flags and symbols."""
    path = packages / NAMES_PACKAGE[0] / "data-by-emoji.json"
    table = _read_json(path)
    return {code_points(emoji): row["slug"] for emoji, row in table.items() if row["group"] not in ("Flags", "Symbols")}


def read_set(packages: Path, row: PictureSet, names: dict[str, str], size: int) -> Iterator[tuple[str, np.ndarray]]:
    """(slug, RGBA of (size, size, 4) uint8) for each named emoji of the set, in a stable order."""
    folder = packages / row.package
    if not folder.is_dir():
        raise RecipeError(f"The picture set {row.package} is not there.", "Run `python -m training data` first.")
    if row.kind == "webp":
        for path in sorted((folder / "assets").glob("*.webp")):
            slug = names.get(_without_selectors(path.stem))
            if slug is not None:
                yield slug, read_bitmap(path, size)
        return
    document = _read_json(folder / "icons.json")
    icons, aliases = document["icons"], document.get("aliases", {})
    done: set[str] = set()
    named: list[tuple[str | None, str]]
    if row.kind == "names":
        named = list(icons_by_slug(row.key, [*icons, *aliases], sorted(set(names.values()))).items())
    else:
        chars = sorted(_read_json(folder / "chars.json").items())
        named = [(names.get(_without_selectors(points)), name) for points, name in chars]
    for slug, name in named:
        icon = icons.get(name) or icons.get(aliases.get(name, {}).get("parent", ""))
        if slug is None or icon is None or slug in done:
            continue
        done.add(slug)
        width = icon.get("width", document.get("width", 16))
        height = icon.get("height", document.get("height", 16))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">'
        yield slug, render_svg(f"{svg}{icon['body']}</svg>", size, f"{row.key}/{name}")


def _without_selectors(points: str) -> str:
    return "-".join(part for part in points.lower().split("-") if part != "fe0f")


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path.name} of {path.parent.name} cannot be read.", "Run the data step again.") from error
    except ValueError as error:
        raise RecipeError(
            f"{path.name} of {path.parent.name} is damaged: {error}.", "Delete it and fetch again."
        ) from error
