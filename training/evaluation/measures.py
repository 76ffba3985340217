"""The measurements behind the model card. Each draws pictures with plain diffusers and has them judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.adapters.config import EmbeddingConfig, EvaluationConfig
from training.adapters.controlnet import move_variants
from training.adapters.hints import hint_of, line_agreement, lines_of
from training.adapters.metadata import trigger_of
from training.captions import Scene, Subject, plain_caption
from training.config import Recipe
from training.data.compose import BACKGROUNDS
from training.data.concepts import Concepts
from training.data.pictures import Pictures
from training.data.sets import SETS
from training.data.variants import Variant
from training.evaluation.colours import colour_prompts, is_colour, share_on_ground
from training.evaluation.drawing import draw_kept, with_control
from training.evaluation.judge import Judge
from training.evaluation.reference import Deltas, Patched
from training.progress import Progress

Label = tuple[str, str]
"""(set, slug)."""


@dataclass
class Bench:
    """What every measurement needs. `learnt`: pictures of all sets by key; `kept`: the folder of what was drawn."""

    recipe: Recipe
    config: EvaluationConfig
    concepts: Concepts
    learnt: dict[str, Pictures]
    judge: Judge
    pipeline: Any
    progress: Progress
    kept: Path
    drawn: int = 0

    def prompts(self, labels: list[Label], phrase: Callable[[str], str]) -> list[str]:
        """ "a THING, STYLE" for (set, slug) pairs; `phrase` turns the set into the style's words."""
        return [
            plain_caption(Scene((Subject(self.concepts.words[slug][0]),), phrase(key))) for key, slug in labels
        ]  # fmt: skip

    def draw(self, prompts: list[str], seed: int = 100, **more: Any) -> np.ndarray:
        """(N, H, W, 3) uint8; picture i has seed `seed` + i. `more` goes to the pipeline, sliced where it is a list."""
        return draw_kept(self.kept, self.pipeline, self.recipe, prompts, seed, said=self._heard, **more)

    def _heard(self, count: int) -> None:
        self.drawn += count
        self.progress.say(self.drawn)

    def things(self, key: str, count: int, salt: int) -> list[Label]:
        """`count` things that the set draws, in a stable mixed order."""
        slugs = [slug for slug in self.concepts.words if slug in self.learnt[key].slugs]
        rng = np.random.default_rng([self.recipe.seed, salt])
        return [(key, slugs[row]) for row in rng.permutation(len(slugs))[:count]]


def first_style(key: str) -> str:
    return SETS[key].styles[0]


def measure_base(bench: Bench) -> tuple[dict[str, float], np.ndarray, list[Label]]:
    """Every thing in every style of the base, as many as the recipe says; also the pictures and their labels."""
    pairs = [(key, slug) for slug in bench.concepts.words for key in bench.recipe.data.sets]
    rng = np.random.default_rng([bench.recipe.seed, 31])
    labels = [pairs[row] for row in sorted(rng.permutation(len(pairs))[: bench.config.base])]
    pictures = bench.draw(bench.prompts(labels, first_style))
    numbers = {"pictures": float(len(labels)), **bench.judge.score(pictures, labels)}
    numbers["style_of_own"] = bench.judge.style_among(pictures, labels, bench.recipe.data.sets)
    return numbers, pictures, labels


def measure_colours(bench: Bench) -> dict[str, float]:
    """Colour words on things that the base learnt in several colours, and on things that it did not."""
    known = [bench.concepts.words[slug][0] for slug in bench.concepts.recoloured]
    other = [names[0] for slug, names in bench.concepts.words.items() if slug not in bench.concepts.recoloured]
    numbers: dict[str, float] = {}
    for name, names, count in (("known", known, bench.config.colours), ("other", other, bench.config.colours // 3)):
        asked = colour_prompts(names, list(bench.concepts.colours), count, bench.recipe.seed)
        if asked:
            pictures = bench.draw([f"{prompt}, {first_style(bench.recipe.data.sets[-1])}" for prompt, _ in asked], 300)
            right = [is_colour(picture, word) for picture, (_, word) in zip(pictures, asked, strict=True)]
            numbers |= {f"{name}_prompts": float(len(asked)), f"{name}_right": float(np.mean(right))}
    return numbers


def measure_adapter(bench: Bench, key: str, deltas: Deltas) -> dict[str, float]:
    """The adapter of set `key` at strength 1 against the bare base on the same things, and a sweep of strengths."""
    labels = bench.things(key, bench.config.adapter, 41)
    prompts = bench.prompts(labels, trigger_of)
    without = bench.draw(prompts)
    bare = bench.judge.score(without, labels)
    with Patched(bench.pipeline, [(deltas, 1.0)]):
        full = bench.draw(prompts)
    numbers = {"pictures": float(len(labels)), **bench.judge.score(full, labels)}
    numbers |= {f"off_{name}": value for name, value in bare.items()}
    count = min(bench.config.sweep, len(labels))
    for weight in bench.config.weights:
        known = {0.0: without, 1.0: full}.get(weight)
        with Patched(bench.pipeline, [(deltas, weight)]):
            made = bench.draw(prompts[:count]) if known is None else known[:count]
        scored = bench.judge.score(made, labels[:count])
        numbers[f"style_at_{weight:g}"] = scored["style_probability"]
        numbers[f"thing_at_{weight:g}"] = scored["thing_in_5"]
    return numbers


def measure_word(bench: Bench, word: EmbeddingConfig, file: Path) -> dict[str, float]:
    """A textual inversion: the word in the prompt against the prompt without any style.

    `moved`: mean change of a pixel's value (0–255). `ground`: the share of pictures with the word's ground colour.
    """
    labels = bench.things(word.set, bench.config.adapter // 2, 41)
    without = bench.draw(bench.prompts(labels, lambda _: ""))
    bench.pipeline.load_textual_inversion(str(file), token=file.stem)
    try:
        with_word = bench.draw(bench.prompts(labels, lambda _: file.stem))
    finally:
        bench.pipeline.unload_textual_inversion()
    off = {f"off_{name}": value for name, value in bench.judge.score(without, labels).items()}
    colour = BACKGROUNDS[word.ground]
    return {
        "pictures": float(len(labels)), **bench.judge.score(with_word, labels), **off,
        "moved": float(np.abs(with_word.astype(np.float32) - without).mean()),
        "ground": share_on_ground(with_word, colour), "off_ground": share_on_ground(without, colour),
    }  # fmt: skip


def measure_stack(bench: Bench, first: tuple[str, Deltas], second: tuple[str, Deltas]) -> dict[str, float]:
    """Two adapters at 0.5 each: is the thing still there, and is the style one of the two?"""
    labels = bench.things(first[0], bench.config.sweep, 43)
    prompts = bench.prompts(labels, lambda _: f"{trigger_of(first[0])}, {trigger_of(second[0])}")
    with Patched(bench.pipeline, [(first[1], 0.5), (second[1], 0.5)]):
        pictures = bench.draw(prompts)
    numbers = bench.judge.score(pictures, labels)
    styles = bench.judge.read(pictures)[1]
    either = styles[:, bench.judge.keys.index(first[0])] + styles[:, bench.judge.keys.index(second[0])]
    return {"pictures": float(len(labels)), "thing_in_5": numbers["thing_in_5"], "either": float(either.mean())}


def measure_control(bench: Bench, kind: str, control: Any) -> dict[str, float]:
    """Hints from the base's pictures, most of them moved and turned, so that the caption alone does not tell the
    lines: how well do the drawn lines keep to them, at rising strengths?

    `ceiling`: the same agreement for the real pictures after the autoencoder, which nothing drawn can pass.
    """
    keys, rng = bench.recipe.data.sets, np.random.default_rng([bench.recipe.seed, 51])
    pairs = [(key, slug) for slug in bench.concepts.words for key in keys]
    labels = [pairs[row] for row in rng.permutation(len(pairs))[: bench.config.control]]
    variants = [Variant(key, (slug,), "", "", False) for key, slug in labels]
    real = list(move_variants(variants, {key: bench.learnt[key] for key in keys}, rng))
    wanted = [lines_of(kind, picture) for picture in real]
    hints = [Image.fromarray(hint_of(kind, picture)) for picture in real]
    prompts = bench.prompts(labels, first_style)
    plain = bench.pipeline
    numbers = {"pictures": float(len(labels)), "ceiling": _ceiling(bench, kind, real, wanted)}
    try:
        for weight in (0.0, 0.5, 1.0):
            bench.pipeline = plain if weight == 0 else with_control(plain, control)
            more = {} if weight == 0 else {"image": hints, "controlnet_conditioning_scale": weight}
            pictures = bench.draw(prompts, 500, **more)
            agreed = [line_agreement(lines_of(kind, made), lines) for made, lines in zip(pictures, wanted, strict=True)]
            numbers[f"f1_at_{weight:g}"] = float(np.mean(agreed))
            scored = bench.judge.score(pictures, labels)
            numbers |= {f"thing_at_{weight:g}": scored["thing_in_5"], f"style_at_{weight:g}": scored["style"]}
    finally:
        bench.pipeline = plain
    return numbers


@torch.no_grad()
def _ceiling(bench: Bench, kind: str, real: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    tensors = torch.from_numpy(np.stack(real)).permute(0, 3, 1, 2).float() / 127.5 - 1
    vae = bench.pipeline.vae
    made = ((vae.decode(vae.encode(tensors).latents).sample.clamp(-1, 1) + 1) * 127.5 + 0.5).byte()
    lines = [lines_of(kind, picture) for picture in made.permute(0, 2, 3, 1).numpy()]
    return float(np.mean([line_agreement(one, other) for one, other in zip(lines, wanted, strict=True)]))
