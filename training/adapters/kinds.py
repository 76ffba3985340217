"""The trainable change of one weight matrix or kernel, per kind. Each maps the frozen weight W to the patched one.

Used as a parametrisation of the weight, so that the network itself stays as diffusers built it.
LoRA: arxiv.org/abs/2106.09685. LoHa: arxiv.org/abs/2108.06098. LoKr: arxiv.org/abs/2309.14859. DoRA:
arxiv.org/abs/2402.09353. Tensor names are those of kohya-ss and LyCORIS files.
"""

from __future__ import annotations

import torch
from torch import nn

from training.adapters.config import LoraConfig


class Change(nn.Module):
    """`forward`: W (out, in[, k, k]) → patched weight of the same shape. `suffixes`: file name ending → tensor."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.shape = tuple(weight.shape)
        self.out, self.inner = weight.shape[0], weight[0].numel()
        self.rank = min(rank, self.out, self.inner)
        self.alpha = alpha * self.rank / rank
        self.strength = 1.0

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def delta(self) -> torch.Tensor:
        """The change at strength 1, of the weight's shape."""
        raise NotImplementedError

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.strength * self.delta()

    def suffixes(self) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def _alpha(self) -> torch.Tensor:
        return torch.tensor(float(self.alpha))


class LoraChange(Change):
    """ΔW = up · down · alpha/rank; `down` keeps the kernel, `up` is 1×1."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float) -> None:
        super().__init__(weight, rank, alpha)
        self.down = nn.Parameter(torch.randn(self.rank, self.inner) / self.inner**0.5)
        self.up = nn.Parameter(torch.zeros(self.out, self.rank))

    def delta(self) -> torch.Tensor:
        return (self.up @ self.down).view(self.shape) * self.scale

    def suffixes(self) -> dict[str, torch.Tensor]:
        ones = (1,) * (len(self.shape) - 2)
        return {
            "lora_down.weight": self.down.view(self.rank, *self.shape[1:]),
            "lora_up.weight": self.up.view(self.out, self.rank, *ones),
            "alpha": self._alpha(),
        }


class DoraChange(LoraChange):
    """W' = m · (W + ΔW) / ‖W + ΔW‖, one magnitude m per output; the strength mixes W' into W."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float) -> None:
        super().__init__(weight, rank, alpha)
        self.magnitude = nn.Parameter(weight.detach().reshape(self.out, -1).norm(dim=1))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        ones = (self.out,) + (1,) * (weight.ndim - 1)
        moved = weight + self.delta()
        # the norm counts as a constant in the gradient (section 4.3 of the paper)
        norm = moved.detach().reshape(self.out, -1).norm(dim=1).clamp_min(1e-6)
        whole = moved * (self.magnitude / norm).view(ones)
        return weight + self.strength * (whole - weight)

    def suffixes(self) -> dict[str, torch.Tensor]:
        ones = (self.out,) + (1,) * (len(self.shape) - 1)
        return {**super().suffixes(), "dora_scale": self.magnitude.view(ones)}


class LohaChange(Change):
    """ΔW = (w1_a · w1_b) ∘ (w2_a · w2_b) · alpha/rank."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float) -> None:
        super().__init__(weight, rank, alpha)
        self.w1_a = nn.Parameter(torch.randn(self.out, self.rank) * 0.1)
        self.w1_b = nn.Parameter(torch.randn(self.rank, self.inner))
        self.w2_a = nn.Parameter(torch.zeros(self.out, self.rank))
        self.w2_b = nn.Parameter(torch.randn(self.rank, self.inner))

    def delta(self) -> torch.Tensor:
        return ((self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b)).view(self.shape) * self.scale

    def suffixes(self) -> dict[str, torch.Tensor]:
        parts = {f"hada_{name}": getattr(self, name) for name in ("w1_a", "w1_b", "w2_a", "w2_b")}
        return {**parts, "alpha": self._alpha()}


class LokrChange(Change):
    """ΔW = w1 ⊗ w2; w2 is a product of two where that is smaller. Scale alpha/rank only then, else 1."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float, factor: int) -> None:
        super().__init__(weight, rank, alpha)
        out_left, out_right = split(self.out, factor)
        in_left, in_right = split(weight.shape[1], factor)
        area = self.inner // weight.shape[1]
        self.right_shape = (out_right, in_right, *self.shape[2:])
        self.product = rank < max(out_right, in_right) / 2
        self.w1 = nn.Parameter(torch.randn(out_left, in_left) / in_left**0.5)
        if self.product:
            self.w2_a = nn.Parameter(torch.zeros(out_right, rank))
            self.w2_b = nn.Parameter(torch.randn(rank, in_right * area) / (in_right * area) ** 0.5)
        else:
            self.w2 = nn.Parameter(torch.zeros(self.right_shape))
        self.rank, self.alpha = rank, alpha

    @property
    def scale(self) -> float:
        return self.alpha / self.rank if self.product else 1.0

    def delta(self) -> torch.Tensor:
        right = (self.w2_a @ self.w2_b).view(self.right_shape) if self.product else self.w2
        left = self.w1.view(*self.w1.shape, *(1,) * (right.ndim - 2))
        return torch.kron(left, right).view(self.shape) * self.scale

    def suffixes(self) -> dict[str, torch.Tensor]:
        if self.product:
            right = {"lokr_w2_a": self.w2_a, "lokr_w2_b": self.w2_b}
        else:
            right = {"lokr_w2": self.w2}
        return {"lokr_w1": self.w1, **right, "alpha": self._alpha()}


def split(size: int, factor: int) -> tuple[int, int]:
    """`size` as (left, right) with the largest left ≤ `factor` that divides it: (4, 32) for 128 and 4."""
    left = next(each for each in range(min(factor, size), 0, -1) if size % each == 0)
    return left, size // left


def build_change(config: LoraConfig, weight: torch.Tensor) -> Change:
    """A fresh change that leaves the weight as it is."""
    if config.kind == "lokr":
        return LokrChange(weight, config.rank, config.alpha, config.factor)
    kinds = {"lora": LoraChange, "dora": DoraChange, "loha": LohaChange}
    return kinds[config.kind](weight, config.rank, config.alpha)
