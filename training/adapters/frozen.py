"""The frozen base as adapters see it: the shipped model's networks, and its latents and captions made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.config import Recipe
from training.data.concepts import Concepts, read_concepts
from training.data.latents import Draw, encode_variants
from training.data.pictures import Pictures, load_pictures, pictures_path
from training.data.sets import SETS
from training.data.variants import Variant, list_variants
from training.errors import RecipeError
from training.tokenizer import LENGTH

REMEMBERED = 6_000
"""Captions whose embeddings are kept: 128 × 77 floats each."""


class FrozenBase:
    """UNet, text encoder, VAE and tokenizer of a model folder, in eval mode, without gradients."""

    def __init__(self, model: Path, place: str = "cpu") -> None:
        from diffusers import AutoencoderTiny, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        if not (model / "model_index.json").exists():
            raise RecipeError(f"There is no model in {model.name}.", "Run `python -m training export` first.")
        offline: dict[str, Any] = {"local_files_only": True}
        self.place = place
        self.tokenizer = CLIPTokenizer.from_pretrained(str(model / "tokenizer"), **offline)
        self.unet: Any = UNet2DConditionModel.from_pretrained(str(model / "unet"), dtype=torch.float32, **offline)
        self.text: Any = CLIPTextModel.from_pretrained(str(model / "text_encoder"), dtype=torch.float32, **offline)
        self.vae: Any = AutoencoderTiny.from_pretrained(str(model / "vae"), dtype=torch.float32, **offline)
        for network in (self.unet, self.text, self.vae):
            network.requires_grad_(False).eval().to(place)
        self.unet.to(memory_format=torch.channels_last)
        self._embedded: dict[str, torch.Tensor] = {}

    def tokens(self, captions: list[str]) -> torch.Tensor:
        """(B, 77) int64."""
        made = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        return made.input_ids.to(self.place)

    def embed(self, captions: list[str]) -> torch.Tensor:
        """(B, 77, width) float32 without gradients; each caption is encoded once."""
        fresh = [caption for caption in dict.fromkeys(captions) if caption not in self._embedded]
        if len(self._embedded) + len(fresh) > REMEMBERED:
            self._embedded.clear()
            fresh = list(dict.fromkeys(captions))
        if fresh:
            with torch.no_grad():
                for caption, states in zip(fresh, self.text(self.tokens(fresh)).last_hidden_state, strict=True):
                    self._embedded[caption] = states
        return torch.stack([self._embedded[caption] for caption in captions])


def load_sets(recipe: Recipe, folder: Path, keys: tuple[str, ...]) -> dict[str, Pictures]:
    """The rendered pictures of the sets `keys`."""
    return {key: load_pictures(pictures_path(folder, key, recipe.data.size)) for key in keys}


def recipe_for_set(recipe: Recipe, key: str, ground: str = "") -> Recipe:
    """The recipe with the one set `key` as its data: mostly plain, some backgrounds, own colours; or everything on
    the background `ground`."""
    backgrounds = tuple(word for word in recipe.data.backgrounds if key != "fluent-ink" or word != "black")
    data = replace(
        recipe.data, sets=(key,), weights=(1.0,), plain_style=key, backgrounds=(ground,) if ground else backgrounds,
        coloured_background=1.0 if ground else 0.15,
        recoloured=0.0, pairs=0.0, unknown_words=0.0, favour=1,
    )  # fmt: skip
    return replace(recipe, data=data)


def list_set(
    recipe: Recipe, folder: Path, keys: tuple[str, ...]
) -> tuple[Concepts, list[Variant], dict[str, Pictures]]:
    """Concepts, the pictures to learn, and the rendered sets. `recipe` is already narrowed to the sets `keys`."""
    unknown = [key for key in keys if key not in SETS]
    if unknown:
        raise RecipeError(f"There is no picture set called {unknown[0]!r}.", f"Known: {', '.join(SETS)}.")
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    sets = load_sets(recipe, folder, keys)
    return concepts, list_variants(recipe.data, concepts, sets, recipe.seed), sets


def draw_of_set(recipe: Recipe, folder: Path, base: FrozenBase, key: str, ground: str = "") -> Draw:
    """Batches of (latents, caption) of one set, all on `ground` where one is named. The latents are kept in
    `folder`/latents-KEY.pt or latents-KEY-GROUND.pt."""
    narrowed = recipe_for_set(recipe, key, ground)
    concepts, variants, sets = list_set(narrowed, folder, (key,))
    path = folder / f"latents-{'-'.join([key, *ground.split()])}.pt"
    latents = encode_variants(base.vae, variants, sets, path, base.place)
    return Draw(narrowed.data, concepts, variants, latents)
