"""IP-Adapter units: a picture as a prompt. Its tokens stand beside the text's, with keys and values of their own.

Maths: Ye, Zhang, Liu, Han, Yang, "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion
Models", 2023: out = attention(q, text) + strength × attention(q, picture). The attention itself is diffusers' own
processor; the picture is seen and projected once, where diffusers projects it at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from engine.control.attention import attentions, lent
from engine.control.preprocessors.base import Pixels
from engine.control.schedule import Window


class IpAdapter:
    """A loaded IP-Adapter (`engine.loading.ip_adapter`).

    Args:
        key: what the weights are; equal keys are the same weights in the same precision.
    """

    def __init__(self, model: Any, key: str) -> None:
        self.model = model
        self.key = key

    @torch.inference_mode()
    def see(self, encoder: Any, pixels: Pixels) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture's tokens and those of no picture, each of shape (1, 1, n, d).

        Args:
            encoder: transformers' CLIPVisionModelWithProjection.
            pixels: uint8 (h, w, 3); the encoder sees the square in its middle.
        """
        from transformers import CLIPImageProcessor

        side, weight = encoder.config.image_size, next(encoder.parameters())
        look = CLIPImageProcessor(size=side, crop_size=side)
        seen = look(Image.fromarray(pixels), return_tensors="pt").pixel_values.to(weight.device, weight.dtype)
        if self.model.whole:
            # Every patch of the last layer but one; "no picture" is a grey one, as in training.
            found = encoder(seen, output_hidden_states=True).hidden_states[-2]
            nothing = encoder(torch.zeros_like(seen), output_hidden_states=True).hidden_states[-2]
        else:
            found = encoder(seen).image_embeds
            nothing = torch.zeros_like(found)
        project = self.model.projection
        return project(found)[:, None], project(nothing)[:, None]


@dataclass(frozen=True)
class ImagePrompt:
    """One IP-Adapter unit of one picture, ready to run.

    Attributes:
        tokens, nothing: what `IpAdapter.see` gave.
        source: what the picture would differ by besides the spec.
    """

    adapter: IpAdapter
    tokens: torch.Tensor
    nothing: torch.Tensor
    weight: float = 1.0
    window: Window = field(default_factory=Window)
    source: str = ""

    @property
    def key(self) -> str:
        """Units with equal keys may share a call."""
        return self.adapter.key


@dataclass(frozen=True)
class PromptRows:
    """One IP-Adapter's share of a UNet call of R rows: tokens (R, 1, n, d), strengths (R,) in float32."""

    adapter: IpAdapter
    tokens: torch.Tensor
    strengths: torch.Tensor

    def picked(self, rows: torch.Tensor) -> PromptRows:
        """The same for some of the rows."""
        return PromptRows(self.adapter, self.tokens[rows], self.strengths[rows.cpu()])


def prompt_rows(asked: Sequence[tuple[ImagePrompt, float, int, int]]) -> PromptRows:
    """The rows of one adapter.

    Args:
        asked: for each picture its unit, its strength now, its rows, and how many of them, from the first, are the
            negative prompt's.
    """
    tokens: list[torch.Tensor] = []
    strengths: list[float] = []
    for unit, strength, rows, negative in asked:
        tokens += [unit.nothing.expand(negative, -1, -1, -1), unit.tokens.expand(rows - negative, -1, -1, -1)]
        strengths += [strength] * rows
    return PromptRows(asked[0][0].adapter, torch.cat(tokens), torch.tensor(strengths))


def prompted(unet: Any, prompts: Sequence[PromptRows]) -> AbstractContextManager[None]:
    """While inside, the UNet reads `(text, [tokens of each adapter])` in place of its text."""

    def wrap(place: str, before: Any) -> Any:
        return _Prompted(place, prompts)

    return lent(attentions(unet, "attn2"), wrap)


class _Prompted:
    """diffusers' IP-Adapter attention with the weights of several files and a strength for each row."""

    def __init__(self, place: str, prompts: Sequence[PromptRows]) -> None:
        from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

        parts = [each.adapter.model.layer(place) for each in prompts]
        self._processor = IPAdapterAttnProcessor2_0(1, 1, num_tokens=())
        self._processor.to_k_ip.extend(part.to_k_ip[0] for part in parts)
        self._processor.to_v_ip.extend(part.to_v_ip[0] for part in parts)
        self._processor.scale = [_RowStrengths(each.strengths) for each in prompts]

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> Any:
        return self._processor(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class _RowStrengths:
    """What diffusers multiplies the picture's attention by: for it a number, for us one number a row."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, strengths: torch.Tensor) -> None:
        self._strengths = strengths
        first = float(strengths[0])
        self._same = first if bool((strengths == first).all()) else None

    def __eq__(self, other: object) -> bool:
        """A unit whose strength is 0 is not active, so it is never to be skipped."""
        return False

    def __mul__(self, attended: torch.Tensor) -> torch.Tensor:
        if self._same is not None:
            return attended * self._same
        return (attended * self._strengths.to(attended.device)[:, None, None]).to(attended.dtype)
