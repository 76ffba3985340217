"""The text encoder, trained on the few hundred tokens that captions use and widened to CLIP's vocabulary for export.

While training, the embedding table has one row per token in use and one row, the first, for every other token.
Export copies that row to all tokens that were never met: strange words are then passed over rather than noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.captions import caption_words
from training.config import BaseConfig, Recipe
from training.data.compose import BACKGROUNDS, HUES
from training.data.concepts import Concepts
from training.data.sets import SETS
from training.tokenizer import LENGTH, load_tokenizer

VOCABULARY = 49_408
START_ID, END_ID = 49_406, 49_407


@dataclass(frozen=True)
class Compact:
    """`tokens[i]` is CLIP's id of row i + 1; row 0 stands for every token that is not in the list."""

    tokens: tuple[int, ...]

    @property
    def rows(self) -> int:
        return len(self.tokens) + 1

    def row(self, token: int) -> int:
        return self._table().get(token, 0)

    def table(self) -> torch.Tensor:
        """(49408,) int64: CLIP id → row."""
        rows = torch.zeros(VOCABULARY, dtype=torch.long)
        rows[torch.tensor(self.tokens, dtype=torch.long)] = torch.arange(1, self.rows)
        return rows

    def _table(self) -> dict[int, int]:
        return {token: number + 1 for number, token in enumerate(self.tokens)}


class Encoder:
    """Caption → (77,) rows of the compact table, remembered."""

    def __init__(self, tokenizer: Any, compact: Compact) -> None:
        self.tokenizer, self.table = tokenizer, compact.table()
        self._known: dict[str, torch.Tensor] = {}

    def __call__(self, captions: list[str]) -> torch.Tensor:
        """(B, 77) int64."""
        fresh = [caption for caption in dict.fromkeys(captions) if caption not in self._known]
        if fresh:
            if len(self._known) > 200_000:
                self._known.clear()
                fresh = list(dict.fromkeys(captions))
            made = self.tokenizer(fresh, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
            for caption, ids in zip(fresh, self.table[made.input_ids], strict=True):
                self._known[caption] = ids
        return torch.stack([self._known[caption] for caption in captions])


def collect_tokens(recipe: Recipe, concepts: Concepts, tokenizer: Any) -> Compact:
    """The tokens that captions of this recipe can hold, in ascending order."""
    names = [name for names in concepts.words.values() for name in names]
    styles = [style for key in recipe.data.sets for style in (SETS[key].styles if key in SETS else (key,))]
    texts = caption_words(names, styles, [*BACKGROUNDS, *HUES])
    found = {START_ID, END_ID}
    for text in texts:
        found.update(tokenizer(text).input_ids)
    return Compact(tuple(sorted(found)))


def build_text_encoder(config: BaseConfig, rows: int, start: int, end: int) -> Any:
    """A `CLIPTextModel` with random weights and `rows` embeddings."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(
        vocab_size=rows, hidden_size=config.text_width, intermediate_size=4 * config.text_width,
        projection_dim=config.text_width, num_hidden_layers=config.text_layers,
        num_attention_heads=max(1, config.text_width // config.head_size), max_position_embeddings=LENGTH,
        hidden_act="quick_gelu", bos_token_id=start, eos_token_id=end, pad_token_id=end,
    ))  # fmt: skip


def widen(model: Any, compact: Compact, config: BaseConfig) -> Any:
    """The same encoder with CLIP's full vocabulary."""
    full = build_text_encoder(config, VOCABULARY, START_ID, END_ID)
    state = dict(model.state_dict())
    name = next(key for key in state if key.endswith("token_embedding.weight"))
    state[name] = state[name][compact.table()]
    full.load_state_dict(state)
    return full.eval()


def tokenizer_folder(work: Path) -> Path:
    return work / "clip_tokenizer"


def load_text_tools(recipe: Recipe, concepts: Concepts, work: Path) -> tuple[Any, Compact, Encoder]:
    """Tokenizer, compact vocabulary and caption encoder of a recipe."""
    tokenizer = load_tokenizer(tokenizer_folder(work))
    compact = collect_tokens(recipe, concepts, tokenizer)
    return tokenizer, compact, Encoder(tokenizer, compact)
