"""All variants as latents, encoded once; and the endless draw of (latents, caption) batches from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.autoencoder import to_tensor
from training.captions import varied_caption
from training.config import DataConfig
from training.data.concepts import Concepts
from training.data.pictures import Pictures
from training.data.variants import Variant, draw_variant, scene_of
from training.errors import RecipeError
from training.files import write_atomically

FLIP_SHARE = 0.1
"""How often the mirrored picture is drawn: enough for variety, little enough to keep one usual direction."""


@torch.no_grad()
def encode_variants(
    autoencoder: Any, variants: list[Variant], sets: dict[str, Pictures], path: Path, place: str
) -> torch.Tensor:
    """(N, C, h, w) float32 on the CPU; kept in `path` (float16) and read back when it has the right length."""
    if path.exists():
        try:
            stored = torch.load(path, weights_only=True)
        except Exception as error:
            raise RecipeError(f"{path.name} is damaged.", "Delete it; it is made again.") from error
        if len(stored) == len(variants):
            return stored.float()
    autoencoder = autoencoder.to(place)
    parts = []
    for start in range(0, len(variants), 128):
        pictures = np.stack([draw_variant(variant, sets) for variant in variants[start : start + 128]])
        parts.append(autoencoder.encode(to_tensor(pictures).to(place)).latents.half().cpu())
    latents = torch.cat(parts)
    write_atomically(path, lambda target: torch.save(latents, target))
    return latents.float()


@dataclass
class Draw:
    """Draws batches by the shares of the recipe. `groups[(set, kind, flipped)]` lists rows of `latents`."""

    config: DataConfig
    concepts: Concepts
    variants: list[Variant]
    latents: torch.Tensor

    def __post_init__(self) -> None:
        favourites = set(self.config.favourites)
        groups: dict[tuple[str, str, bool], list[int]] = {}
        for row, variant in enumerate(self.variants):
            times = self.config.favour if set(variant.slugs) & favourites else 1
            groups.setdefault((variant.key, variant.kind, variant.flipped), []).extend([row] * times)
        self.groups = {name: np.asarray(rows) for name, rows in groups.items()}
        self.kinds = {
            "background": self.config.coloured_background,
            "recoloured": self.config.recoloured,
            "pair": self.config.pairs,
        }

    def batch(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        """(count, C, h, w) latents and their captions; `no_caption` of them are ""."""
        rows, captions = self.pick(count, rng)
        return self.latents[torch.tensor(rows)], captions

    def pick(self, count: int, rng: np.random.Generator) -> tuple[list[int], list[str]]:
        """`count` rows of `latents` and their captions."""
        weights = np.asarray(self.config.weights, float) / sum(self.config.weights)
        rows, captions = [], []
        for _ in range(count):
            key = self.config.sets[rng.choice(len(weights), p=weights)]
            kind = self._kind(rng.random())
            group = self.groups.get((key, kind, bool(rng.random() < FLIP_SHARE)))
            if group is None:
                group = self.groups[(key, "plain", False)]
            row = int(group[rng.integers(len(group))])
            rows.append(row)
            if rng.random() < self.config.no_caption:
                captions.append("")
                continue
            unsaid = 0.35 if key == self.config.plain_style else 0.1
            scene = scene_of(self.variants[row], self.concepts, rng.random() >= unsaid, rng)
            captions.append(varied_caption(scene, rng, self.config.unknown_words))
        return rows, captions

    def _kind(self, at: float) -> str:
        for kind, share in self.kinds.items():
            if at < share:
                return kind
            at -= share
        return "plain"
