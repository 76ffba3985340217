"""Which pictures a recipe learns: every concept × set × background × flip, some in other colours, and pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.captions import Scene, Subject
from training.config import DataConfig
from training.data.compose import BACKGROUNDS, on_background, recolour, side_by_side
from training.data.concepts import Concepts
from training.data.pictures import Pictures
from training.data.sets import SETS
from training.errors import RecipeError

RECOLOURED_BACKGROUNDS = 0
"""How many coloured backgrounds, beside white, each recoloured picture gets."""


@dataclass(frozen=True)
class Variant:
    """One picture to learn. `slugs`: one, or left and right. `colour` and `background`: words, "" for own and white."""

    key: str
    slugs: tuple[str, ...]
    colour: str
    background: str
    flipped: bool

    @property
    def kind(self) -> str:
        """The share it is drawn under: "pair", "recoloured", "background" or "plain"."""
        if len(self.slugs) > 1:
            return "pair"
        if self.colour:
            return "recoloured"
        return "background" if self.background else "plain"


def list_variants(config: DataConfig, concepts: Concepts, sets: dict[str, Pictures], seed: int) -> list[Variant]:
    """All variants in a stable order. Raises `RecipeError` when a set draws none of the concepts."""
    unknown = [colour for colour in config.backgrounds if colour not in BACKGROUNDS]
    if unknown:
        raise RecipeError(f"There is no background called {unknown[0]!r}.", f"Known: {', '.join(BACKGROUNDS)}.")
    rng = np.random.default_rng([seed, 1])
    variants: list[Variant] = []
    for key, pictures in sets.items():
        drawn = [slug for slug in concepts.words if slug in pictures.slugs]
        if not drawn:
            raise RecipeError(f"The picture set {key} draws none of the concepts.")
        for slug in drawn:
            for flipped in (False, True):
                variants += [Variant(key, (slug,), "", ground, flipped) for ground in ("", *config.backgrounds)]
                if slug not in concepts.recoloured or config.recoloured <= 0:
                    continue
                for colour in concepts.colours:
                    grounds = rng.choice(
                        config.backgrounds, min(RECOLOURED_BACKGROUNDS, len(config.backgrounds)), False
                    )
                    variants += [Variant(key, (slug,), colour, str(ground), flipped) for ground in ("", *grounds)]
        if config.pairs > 0:
            for left in drawn:
                for right in rng.choice(drawn, min(4, len(drawn)), False):
                    variants.append(Variant(key, (left, str(right)), "", "", False))
    return variants


def draw_variant(variant: Variant, sets: dict[str, Pictures]) -> np.ndarray:
    """(H, W, 3) uint8."""
    picture = on_background(cut_variant(variant, sets), BACKGROUNDS[variant.background or "white"])
    return picture[:, ::-1] if variant.flipped else picture


def cut_variant(variant: Variant, sets: dict[str, Pictures]) -> np.ndarray:
    """(H, W, 4) uint8: the thing or things without background, not yet flipped."""
    cutouts = []
    for slug in variant.slugs:
        cutout = sets[variant.key].find(slug)
        assert cutout is not None, slug
        cutouts.append(recolour(cutout, variant.colour) if variant.colour else cutout)
    return side_by_side(*cutouts) if len(cutouts) == 2 else cutouts[0]


def scene_of(variant: Variant, concepts: Concepts, style: bool, rng: np.random.Generator) -> Scene:
    """The scene with randomly chosen words; the usual name half of the time.

    A name that already holds a colour ("red apple") loses it where the picture has another one.
    """
    subjects = []
    for slug in variant.slugs:
        names = [name for name in concepts.words[slug] if not (variant.colour and _has_colour(name))] or [
            slug.replace("_", " ")
        ]
        name = names[0] if rng.random() < 0.5 else names[rng.integers(len(names))]
        subjects.append(Subject(name, variant.colour))
    styles = SETS[variant.key].styles if variant.key in SETS else (variant.key,)
    spoken = (styles[0] if rng.random() < 0.7 else styles[rng.integers(len(styles))]) if style else ""
    ground = variant.background or ("white" if rng.random() < 0.12 else "")
    return Scene(tuple(subjects), spoken, ground)


def _has_colour(name: str) -> bool:
    return any(word in BACKGROUNDS or word == "golden" for word in name.split())
