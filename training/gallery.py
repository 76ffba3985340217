"""The pictures of docs/starter-kit.md: styles, adapters, strengths, ControlNets; drawn with plain diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.adapters.config import Adapters, read_adapters
from training.adapters.frozen import load_sets
from training.adapters.hints import hint_of
from training.adapters.metadata import trigger_of
from training.captions import Scene, Subject, plain_caption
from training.config import Recipe
from training.data.compose import BACKGROUNDS, on_background
from training.data.concepts import Concepts, read_concepts
from training.data.sets import SETS
from training.evaluation.documents import save_png
from training.evaluation.drawing import draw_with, load_control, with_control
from training.evaluation.reference import Deltas, Patched, deltas_of
from training.export import load_pipeline

THINGS = (
    "red_apple", "cat_face", "panda", "automobile", "castle", "rocket", "sunflower", "pizza", "penguin",
    "christmas_tree",
)  # fmt: skip
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
CELL, MARGIN = 88, 150
SEED = 7
Row = tuple[str, np.ndarray]
"""(words at the left, pictures (N, H, W, 3) uint8)."""


class Gallery:
    """Draws the sheets for one model folder."""

    def __init__(self, recipe: Recipe, folder: Path, model: Path) -> None:
        self.recipe, self.folder, self.model = recipe, folder, model
        self.adapters: Adapters = read_adapters(recipe)
        self.concepts: Concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
        self.pipeline: Any = load_pipeline(model)
        chosen = [slug for slug in THINGS if slug in self.concepts.words]
        self.slugs = chosen or list(self.concepts.words)[: len(THINGS)]
        files = [model / "loras" / f"{each.name}.safetensors" for each in self.adapters.loras]
        self.loras: list[tuple[Any, Deltas]] = [
            (each, deltas_of(file, self.pipeline))
            for each, file in zip(self.adapters.loras, files, strict=True)
            if file.exists()
        ]

    def draw_all(self, to: Path) -> list[Path]:
        """All sheets that the folder has material for; returns the files written."""
        sheets = {
            "styles.png": self.styles, "on-off.png": self.on_and_off, "strengths.png": self.strengths,
            "stacked.png": self.stacked, "controlnet.png": self.controls,
        }  # fmt: skip
        written = []
        for name, draw in sheets.items():
            rows = draw()
            if rows:
                save_png(to / name, sheet_with_words(rows))
                written.append(to / name)
                print(f"{name}: {(to / name).stat().st_size // 1000} kB", flush=True)
        return written

    def styles(self) -> list[Row]:
        """The base's styles, then each adapter's."""
        rows = [
            (SETS[key].styles[0], self._draw(self._prompts(SETS[key].styles[0])))
            for key in self.recipe.data.sets
            if key in SETS
        ]
        for lora, deltas in self.loras:
            with Patched(self.pipeline, [(deltas, 1.0)]):
                rows.append((lora.name, self._draw(self._prompts(trigger_of(lora.set)))))
        return [*rows, *((name, pictures) for name, _, pictures in self._words())]

    def on_and_off(self) -> list[Row]:
        """Each adapter: the same prompts and seeds without and with it."""
        rows: list[Row] = []
        for lora, deltas in self.loras:
            prompts = self._prompts(trigger_of(lora.set))
            rows.append((f"{lora.name}, off", self._draw(prompts)))
            with Patched(self.pipeline, [(deltas, 1.0)]):
                rows.append((f"{lora.name}, on", self._draw(prompts)))
        for name, off, on in self._words():
            rows += [(f"{name}, off", off), (f"{name}, on", on)]
        return rows

    def strengths(self) -> list[Row]:
        """Two things at rising strengths."""
        rows: list[Row] = []
        for lora, deltas in self.loras:
            cells = []
            for slug in self.slugs[1:3]:
                prompt = self._prompts(trigger_of(lora.set), [slug])
                for strength in STRENGTHS:
                    with Patched(self.pipeline, [(deltas, strength)]):
                        cells.append(self._draw(prompt)[0])
            rows.append((f"{lora.name}\n0 … 1.25", np.stack(cells)))
        return rows

    def stacked(self) -> list[Row]:
        """Pairs of adapters: each alone at 0.5, then both at 0.5."""
        rows: list[Row] = []
        for (first, one), (second, other) in zip(self.loras[::2], self.loras[1::2], strict=False):
            prompts = self._prompts(f"{trigger_of(first.set)}, {trigger_of(second.set)}")
            stacks = {first.name: [(one, 0.5)], second.name: [(other, 0.5)], "both": [(one, 0.5), (other, 0.5)]}
            for name, stack in stacks.items():
                with Patched(self.pipeline, stack):
                    rows.append((f"{name}, 0.5", self._draw(prompts)))
        return rows

    def controls(self) -> list[Row]:
        """Hint, then the picture at 0, 0.5 and 1, then the same hint with the base's styles, and in blue.

        The hints come from the adapters' sets where there are some: pictures that no ControlNet has seen.
        """
        rows: list[Row] = []
        keys = self.recipe.data.sets
        sets = load_sets(self.recipe, self.folder, self.adapters.sets() or keys)
        for net in self.adapters.controlnets:
            place = self.model / "controlnet" / net.name
            if not (place / "config.json").exists():
                continue
            joined = with_control(self.pipeline, load_control(place))
            for number, slug in enumerate(self.slugs[:6]):
                key = keys[number % len(keys)]
                found = [drawn.find(slug) for drawn in sets.values()]
                known = [cutout for cutout in found if cutout is not None]
                if not known:
                    continue
                cutout = known[number % len(known)]
                hint = Image.fromarray(hint_of(net.hint, on_background(cutout, BACKGROUNDS["white"])))
                styles = [SETS[each].styles[0] for each in keys]
                mine = self._prompts(SETS[key].styles[0], [slug])
                cells = [np.asarray(hint), self._draw(mine)[0]]
                cells += [self._draw(mine, joined, hint, strength)[0] for strength in (0.5, 1.0)]
                cells += [self._draw(self._prompts(style, [slug]), joined, hint, 1.0)[0] for style in styles]
                colour = [f"a blue {self.concepts.words[slug][0]}, {styles[-1]}"]
                cells.append(self._draw(colour, joined, hint, 1.0)[0])
                rows.append((f"{net.hint}: {self.concepts.words[slug][0]}", np.stack(cells)))
        return rows

    def _words(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(name, without, with) for each textual inversion."""
        found = []
        for word in self.adapters.embeddings:
            file = self.model / "embeddings" / f"{word.name}.safetensors"
            if file.exists():
                off = self._draw(self._prompts(""))
                self.pipeline.load_textual_inversion(str(file), token=word.name)
                on = self._draw(self._prompts(word.name))
                self.pipeline.unload_textual_inversion()
                found.append((word.name, off, on))
        return found

    def _prompts(self, style: str, slugs: list[str] | None = None) -> list[str]:
        return [
            plain_caption(Scene((Subject(self.concepts.words[slug][0]),), style)) for slug in slugs or self.slugs
        ]  # fmt: skip

    def _draw(
        self, prompts: list[str], pipeline: Any = None, hint: Image.Image | None = None, strength: float = 1.0
    ) -> np.ndarray:
        more: dict[str, Any] = (
            {} if hint is None else {"image": [hint] * len(prompts), "controlnet_conditioning_scale": strength}
        )
        return draw_with(pipeline or self.pipeline, self.recipe, prompts, SEED, **more)


def sheet_with_words(rows: list[Row]) -> Image.Image:
    """Rows of pictures, each `CELL` px, with their words at the left."""
    columns = max(len(pictures) for _, pictures in rows)
    canvas = Image.new("RGB", (MARGIN + columns * CELL, len(rows) * CELL), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for row, (words, pictures) in enumerate(rows):
        pen.multiline_text((8, row * CELL + CELL // 2), words, fill="#333333", font=font, anchor="lm")
        for column, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((CELL - 4, CELL - 4), Image.Resampling.BICUBIC)
            canvas.paste(small, (MARGIN + column * CELL + 2, row * CELL + 2))
    return canvas
