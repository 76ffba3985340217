"""Prompts of different length in one UNet call.

Attention over a sequence that is repeated k times gives what it gives over the sequence itself, so shorter embeddings
are repeated up to a common length. Where no common length is near (3 chunks beside 5 beside 7), they are filled with
zeros that a mask hides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Repeating may make the longest sequence this many times longer; beyond that, masking is cheaper.
REPEAT_LIMIT = 4


@dataclass(frozen=True)
class TextRows:
    """Embeddings of some rows, shape (r, n, d), and which tokens count, shape (r, n) of ones and zeros; None is all."""

    embeds: torch.Tensor
    mask: torch.Tensor | None = None

    @property
    def length(self) -> int:
        return int(self.embeds.shape[1])


def join(parts: Sequence[TextRows]) -> TextRows:
    """All rows below each other, at one length."""
    if len(parts) == 1:
        return parts[0]
    lengths = {part.length for part in parts}
    unmasked = all(part.mask is None for part in parts)
    if unmasked and len(lengths) == 1:
        return TextRows(torch.cat([part.embeds for part in parts]))
    common = math.lcm(*lengths)
    if unmasked and common <= REPEAT_LIMIT * max(lengths):
        return TextRows(torch.cat([part.embeds.repeat(1, common // part.length, 1) for part in parts]))
    longest = max(lengths)
    embeds, masks = zip(*(_filled(part, longest) for part in parts), strict=True)
    return TextRows(torch.cat(embeds), torch.cat(masks))


def _filled(part: TextRows, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, own, _ = part.embeds.shape
    mask = part.mask if part.mask is not None else part.embeds.new_ones(rows, own)
    missing = length - own
    embeds = torch.nn.functional.pad(part.embeds, (0, 0, 0, missing))
    return embeds, torch.nn.functional.pad(mask, (0, missing))
