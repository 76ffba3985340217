"""BOFT: OFT in butterfly stages, each turning blocks of another grouping; together they mix all rows at little cost.

LyCORIS turns rows ("oft_blocks" with four dimensions), peft turns columns ("boft_R", "boft_s"). The slider moves every
stage towards the identity, as LyCORIS's multiplier does; `rescale` (peft: s) moves by the same share.
Maths: Liu et al. 2023, https://arxiv.org/abs/2311.06243.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.oft import cayley, limited, rescale_of
from engine.adapters.kinds.operation import without_bias
from engine.adapters.kinds.parts import Misfit, Parts, agree, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"oft_blocks", "rescale", "boft_R", "boft_s"})


@dataclass(frozen=True)
class Boft(Patch):
    """LyCORIS's: stages (m, k, n, n) on the rows; stage i pairs rows that lie 2ⁱ·n/2 apart.

    `rescale` (rows,) or None; `limit` as in OFT.
    """

    blocks: Tensor
    rescale: Tensor | None
    limit: float
    kind: str = "BOFT"
    needs_base: ClassVar[bool] = True

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        base = weight.float().reshape(weight.shape[0], -1)
        return (self._turned(base, scale) - base).reshape(weight.shape)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        out = without_bias(module, base_out).float()
        first = out.movedim(-1 if isinstance(module, nn.Linear) else 1, 0)
        rows = first.reshape(first.shape[0], -1)
        change = (self._turned(rows, scale) - rows).reshape(first.shape)
        return change.movedim(0, -1 if isinstance(module, nn.Linear) else 1).to(base_out.dtype)

    def _turned(self, rows: Tensor, scale: float) -> Tensor:
        """Rows (rows, anything) after all stages."""
        blocks = self.blocks.to(rows.device).float()
        stages, _, size, _ = blocks.shape
        rotations = cayley(limited(blocks - blocks.transpose(-1, -2), self.limit))
        rotations = rotations * scale + torch.eye(size, device=rows.device) * (1.0 - scale)
        height = rows.shape[0]
        for stage in range(stages):
            apart = 2**stage * (size // 2)
            shuffled = rows.reshape(-1, 2, apart, rows.shape[1]).transpose(1, 2).reshape(-1, size, rows.shape[1])
            turned = torch.einsum("kij,kjc->kic", rotations[stage], shuffled).reshape(-1, apart, 2, rows.shape[1])
            rows = turned.transpose(1, 2).reshape(height, -1)
        if self.rescale is None:
            return rows
        return rows * ((self.rescale.to(rows.device).float() - 1.0) * scale + 1.0).reshape(-1, 1)


@dataclass(frozen=True)
class ColumnBoft(Patch):
    """peft's: stages (m, k, n, n) on the columns (input · kernel), then `growth` (rows,) on the rows."""

    blocks: Tensor
    growth: Tensor | None
    kind: str = "BOFT"
    needs_base: ClassVar[bool] = True

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        base = weight.float().reshape(weight.shape[0], -1)
        blocks = self.blocks.to(weight.device).float()
        stages, count, size, _ = blocks.shape
        rotations = cayley((blocks.transpose(-1, -2) - blocks) * 0.5)
        rotations = rotations * scale + torch.eye(size, device=weight.device) * (1.0 - scale)
        turned = base
        for stage in range(stages):
            order = butterfly(count * size, size, stage).to(weight.device)
            grouped = turned[:, torch.argsort(order)].reshape(base.shape[0], count, size)
            turned = torch.einsum("okc,knc->okn", grouped, rotations[stage]).flatten(1)[:, order]
        if self.growth is not None:
            growth = (self.growth.to(weight.device).float() - 1.0) * scale + 1.0
            turned = turned * growth.reshape(-1, 1)
        return (turned - base).reshape(weight.shape)


def butterfly(width: int, size: int, stage: int) -> Tensor:
    """The order of columns at a stage: in runs of size·2ˢᵗᵃᵍᵉ, the even half-blocks first, then the odd ones."""
    half = size // 2
    if stage == 0 or half == 0:
        return torch.arange(width)
    steps = 2 ** (stage + 1)
    runs = torch.arange(width).reshape(-1, steps, half)
    return torch.cat([runs[:, 0::2], runs[:, 1::2]], dim=1).reshape(-1)


def detect(dims: Mapping[str, int]) -> bool:
    return "boft_R" in dims or dims.get("oft_blocks") == 4


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    columns = "boft_R" in parts.tensors
    blocks = parts.get("boft_R" if columns else "oft_blocks")
    agree(blocks.dim() == 4 and blocks.shape[2] == blocks.shape[3], f"its blocks are {times(blocks.shape)}")
    stages, count, size, _ = blocks.shape
    width = math.prod(target.shape[1:]) if columns else target.shape[0]
    if count * size != width:
        raise Misfit(f"its blocks are {times(blocks.shape)}, the model has {times(target.shape)}")
    # Stage m − 1 pairs what lies 2^(m−1)·n/2 apart, so that span has to divide the rows.
    possible = stages == 1 or (size % 2 == 0 and width % (2 ** (stages - 1) * size) == 0)
    agree(possible and (columns or size % 2 == 0), f"{times(blocks.shape)} is no butterfly")
    if not columns:
        return Boft(blocks, rescale_of(parts, target), (parts.alpha or 0.0) * target.shape[0])
    growth = parts.tensors.get("boft_s")
    if growth is not None and growth.numel() != target.shape[0]:
        raise Misfit(f"its growth is {times(growth.shape)}, the model has {times(target.shape)}")
    return ColumnBoft(blocks, None if growth is None else growth.reshape(-1))
