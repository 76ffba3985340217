"""Union ControlNets: one file that reads hints of several types, and is told which one it sees.

The format is that of xinsir's ControlNet++ (2024): a learned vector for each type goes with the mean of the embedded
hint through a small transformer, whose answer is added to the hint, and the type's number goes into the time embedding.
A unit has one hint of one type; two units with the same file are two calls, as diffusers does it with several unions.

The attention of the published transformer runs over the rows of the batch (its axes are exchanged), never from the hint
to the latents. The rows of one picture are equal there, so attention gives each row itself. Here every picture has the
transformer to itself: it does not depend on its neighbours, and since no step changes the hint, it runs once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from engine.control.network import ControlNetwork


class UnionNetwork(ControlNetwork):
    """diffusers' ControlNetUnionModel, reading hints of one type.

    Args:
        key: what the weights are.
        place: the type's number in the file (`engine.library.control_types.union_place`).
    """

    def __init__(self, model: Any, key: str, place: int) -> None:
        super().__init__(model, f"{key}|type {place}")
        self.place = place

    @torch.inference_mode()
    def embed(self, hint: torch.Tensor) -> torch.Tensor:
        """The embedded hint with what the type adds to it, shape (1, C, h, w) of the latents."""
        embedded = super().embed(hint)
        token = (embedded.mean(dim=(2, 3)) + self.model.task_embedding[self.place])[None]
        for layer in self.model.transformer_layes:
            token = layer(token)
        shift: torch.Tensor = self.model.spatial_ch_projs(token[0])
        return embedded + shift[:, :, None, None]

    def _time(self, sample: torch.Tensor, timesteps: torch.Tensor, added: Mapping[str, torch.Tensor]) -> torch.Tensor:
        model = self.model
        types = torch.zeros(model.config.num_control_type, device=sample.device)
        types[self.place] = 1.0
        told: torch.Tensor = model.control_add_embedding(model.control_type_proj(types).reshape(1, -1).to(sample.dtype))
        return super()._time(sample, timesteps, added) + told
