"""Gradients of one batch, worked out by several threads that each take a part of it.

Why: on a shared CPU, threads inside operators wait for each other a thousand times a step, and one that is held up
holds up the other. Threads that own whole parts of the batch meet once a step. On a GPU the crew is one.
"""

from __future__ import annotations

import copy
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.nn import functional as F

from training.device import Device


class Crew:
    """`unet` and `text` are the trained networks; each further worker has twins that share their weights."""

    def __init__(self, unet: Any, text: Any, workers: int) -> None:
        self.pairs = [(unet, text), *((_twin(unet), _twin(text)) for _ in range(workers - 1))]
        self.own = [*unet.parameters(), *text.parameters()]
        self.pool = None
        if workers > 1:
            self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))

    def gradients(
        self, noisy: torch.Tensor, wanted: torch.Tensor, t: torch.Tensor, ids: torch.Tensor, device: Device
    ) -> float:
        """Set `.grad` of the trained weights to that of the batch's mean squared error, and return the error.

        noisy, wanted (B, C, h, w); t (B,); ids (B, 77).
        """
        count = len(noisy)

        def work(pair: tuple[Any, Any], part: slice) -> float:
            unet, text = pair
            unet.zero_grad(set_to_none=True)
            text.zero_grad(set_to_none=True)
            with device.autocast():
                made = unet(noisy[part], t[part], text(ids[part]).last_hidden_state).sample
            loss = F.mse_loss(made.float(), wanted[part]) * (len(noisy[part]) / count)
            loss.backward()
            return float(loss.detach())

        if self.pool is None:
            return work(self.pairs[0], slice(None))
        cut = [count * number // len(self.pairs) for number in range(len(self.pairs) + 1)]
        parts = [slice(start, stop) for start, stop in itertools.pairwise(cut)]
        losses = list(self.pool.map(work, self.pairs, parts))
        for unet, text in self.pairs[1:]:
            theirs = [*unet.parameters(), *text.parameters()]
            both = [(mine, other) for mine, other in zip(self.own, theirs, strict=True) if mine.grad is not None]
            torch._foreach_add_([mine.grad for mine, _ in both], [other.grad for _, other in both])
        return sum(losses)


def _twin(model: Any) -> Any:
    """The same network with its own gradients and the very same weights."""
    twin = copy.deepcopy(model)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.data = mine.data
    return twin
