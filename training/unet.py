"""The denoiser: a narrow `UNet2DConditionModel` of the SD 1.x class."""

from __future__ import annotations

from typing import Any

from training.config import BaseConfig


def build_unet(config: BaseConfig, latent_size: int, latent_channels: int) -> Any:
    """Random weights. Attention (self and cross) on every level, or on all but the first, and in the middle."""
    from diffusers import UNet2DConditionModel

    lower = len(config.levels) - 1
    first_down = "CrossAttnDownBlock2D" if config.attention_at_full else "DownBlock2D"
    last_up = "CrossAttnUpBlock2D" if config.attention_at_full else "UpBlock2D"
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=config.layers,
        block_out_channels=tuple(config.levels),
        norm_num_groups=config.norm_groups,
        cross_attention_dim=config.text_width,
        # diffusers' historic name: this is the number of heads
        attention_head_dim=tuple(max(1, width // config.head_size) for width in config.levels),
        down_block_types=(first_down, *(["CrossAttnDownBlock2D"] * lower)),
        up_block_types=(*(["CrossAttnUpBlock2D"] * lower), last_up),
    )
