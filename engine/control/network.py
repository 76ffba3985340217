"""ControlNetwork: a ControlNet in two halves: the hint's embedding, once a picture, and the rest, at every step.

Maths: Zhang, Rao, Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models", 2023: a copy of the UNet's
down path reads the latents plus the embedded hint, and each of its outputs goes through a convolution of its own into
the UNet's skip connections. diffusers embeds the hint inside of every call; it does not depend on the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch


class ControlNetwork:
    """Wraps diffusers' ControlNetModel and runs its modules in the same order and precision.

    Args:
        key: what the weights are; equal keys are the same weights in the same precision.
        dtype: what they compute in; None: what they rest in.
    """

    def __init__(self, model: Any, key: str, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.key = key
        self.dtype: torch.dtype = dtype or model.conv_in.weight.dtype

    @cached_property
    def pooled(self) -> bool:
        """Whether its residuals say the same everywhere (the "shuffle" ControlNet), and the prompt's half only."""
        return bool(self.model.config.global_pool_conditions)

    @cached_property
    def layers(self) -> int:
        """How many residuals it makes; the last one is the middle block's."""
        return len(self.model.controlnet_down_blocks) + 1

    @cached_property
    def stop_points(self) -> tuple[Any, ...]:
        """Between these modules a call may be stopped."""
        return (*self.model.down_blocks, *([self.model.mid_block] if self.model.mid_block is not None else []))

    @cached_property
    def hint_scale(self) -> int:
        """Pixels of the hint for a latent's side."""
        return hint_scale(self.model.config.conditioning_embedding_out_channels)

    @torch.inference_mode()
    def embed(self, hint: torch.Tensor) -> torch.Tensor:
        """The embedded hint, shape (1, C, h, w) of the latents, from pixels 0.0–1.0 RGB, shape (1, 3, H, W)."""
        pixels = hint.to(self.model.conv_in.weight.device, self.dtype)
        if self.model.config.controlnet_conditioning_channel_order == "bgr":
            pixels = pixels.flip(1)
        embedded: torch.Tensor = self.model.controlnet_cond_embedding(pixels)
        return embedded

    def residuals(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        hints: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        added: Mapping[str, torch.Tensor] | None = None,
        pictures: Sequence[int] = (),
    ) -> list[torch.Tensor]:
        """Every residual, unscaled: those of the down path in order, then the middle block's.

        Args:
            sample: the UNet's input, shape (r, C, h, w). timesteps: shape (r,). text: shape (r, n, d).
            hints: embedded, shape (r, c, h, w).
            mask: which tokens count, shape (r, n) of ones and zeros; None is all.
            added: SDXL's text_embeds and time_ids.
            pictures: whose rows they are, such as (0, 0, 1, 1): rows of one picture have the same sample, timestep and
                hint, so that what comes before the first look at the text is done once for them. () does it for each.
        """
        model = self.model
        bias = ((1 - mask.to(sample.dtype)) * -10000.0).unsqueeze(1) if mask is not None else None
        rows = None if added else _shared_rows(pictures, sample.device)
        if rows is not None:
            first = rows.first
            sample, timesteps, hints = sample[first], timesteps[first], hints if len(hints) == 1 else hints[first]
        time = self._time(sample, timesteps, added or {})
        hidden = model.conv_in(sample) + hints
        convolutions = iter(model.controlnet_down_blocks)
        made = [next(convolutions)(hidden)]
        for block in model.down_blocks:
            if rows is not None and getattr(block, "has_cross_attention", False):
                hidden, time, made = hidden[rows.own], time[rows.own], [each[rows.own] for each in made]
                rows = None
            hidden, skips = _run(block, hidden, time, text, bias)
            made.extend(next(convolutions)(skip) for skip in skips)
        if rows is not None:
            hidden, time, made = hidden[rows.own], time[rows.own], [each[rows.own] for each in made]
        if model.mid_block is not None:
            hidden = _run(model.mid_block, hidden, time, text, bias)
        made.append(model.controlnet_mid_block(hidden))
        if self.pooled:
            made = [each.mean(dim=(2, 3), keepdim=True) for each in made]
        return made

    def _time(self, sample: torch.Tensor, timesteps: torch.Tensor, added: Mapping[str, torch.Tensor]) -> torch.Tensor:
        model = self.model
        time: torch.Tensor = model.time_embedding(model.time_proj(timesteps).to(sample.dtype))
        if model.config.addition_embed_type == "text_time":
            pooled, sizes = added["text_embeds"], added["time_ids"]
            places = model.add_time_proj(sizes.flatten()).reshape(pooled.shape[0], -1)
            time = time + model.add_embedding(torch.cat([pooled, places], dim=-1).to(time.dtype))
        return time


@dataclass(frozen=True)
class _SharedRows:
    """The first row of each picture, and for each row which of those is its own."""

    first: torch.Tensor
    own: torch.Tensor


def _shared_rows(pictures: Sequence[int], device: torch.device) -> _SharedRows | None:
    """None where no two rows are of one picture."""
    places = {picture: place for place, picture in enumerate(dict.fromkeys(pictures))}
    if len(places) == len(pictures):
        return None
    first = torch.tensor([pictures.index(picture) for picture in places], device=device)
    return _SharedRows(first, torch.tensor([places[picture] for picture in pictures], device=device))


def hint_scale(channels: Any) -> int:
    """Each further entry of `conditioning_embedding_out_channels` halves the hint."""
    return int(2 ** (len(channels) - 1))


def _run(block: Any, hidden: torch.Tensor, time: torch.Tensor, text: torch.Tensor, bias: torch.Tensor | None) -> Any:
    if getattr(block, "has_cross_attention", False):
        return block(hidden, time, encoder_hidden_states=text, encoder_attention_mask=bias)
    return block(hidden, time)
