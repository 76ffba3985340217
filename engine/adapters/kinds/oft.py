"""OFT: blocks of the weight's rows are turned by rotations. W' = rescale · (I + scale·(R − I))ᵀ W, block by block.

Three spellings: kohya and LyCORIS keep B ("oft_blocks"), with Q = B − Bᵀ and R = (I + Q)(I − Q)⁻¹; alpha is no scale
but a limit: ‖Q‖ ≤ alpha · rows where alpha > 0. LyCORIS of 2023 kept R itself ("oft_diag"). peft keeps the upper
triangle of Q ("oft_R") and turns the columns: W' = W·Rᵀ. The slider is LyCORIS's multiplier; `rescale`, which it leaves
alone there, moves by the same share here, so that 0 changes nothing.
Maths: Qiu et al. 2023, https://arxiv.org/abs/2306.07280.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.operation import on_channels, operate, without_bias
from engine.adapters.kinds.parts import Misfit, Parts, agree, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"oft_blocks", "oft_diag", "oft_R", "rescale"})


def cayley(skew: Tensor) -> Tensor:
    """The rotations (I + Q)(I − Q)⁻¹ of skew-symmetric matrices (…, n, n), float32."""
    eye = torch.eye(skew.shape[-1], device=skew.device)
    return (eye + skew) @ torch.linalg.inv(eye - skew)


def limited(skew: Tensor, limit: float) -> Tensor:
    """Q, shortened to that norm where it is longer; 0: no limit."""
    if limit <= 0:
        return skew
    norm = torch.linalg.vector_norm(skew) + 1e-8
    return skew * torch.clamp(limit / norm, max=1.0)


@dataclass(frozen=True)
class Oft(Patch):
    """Rotations of the rows. `blocks` (k, n, n): R itself where `ready`, else B; `rescale` (rows,) or None."""

    blocks: Tensor
    rescale: Tensor | None
    limit: float
    ready: bool
    kind: str = "OFT"
    needs_base: ClassVar[bool] = True

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        base = weight.float()
        turn = self._turn(weight.device, scale)
        rows = base.reshape(turn.shape[0], turn.shape[1], -1)
        change = torch.einsum("knm,knc->kmc", turn, rows).reshape(weight.shape)
        if self.rescale is None:
            return change
        grow = self._growth(scale).to(weight.device).reshape(-1, *[1] * (weight.dim() - 1))
        return change * grow + base * (grow - 1.0)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        out = without_bias(module, base_out).float()
        turn = self._turn(out.device, scale)
        last = out if isinstance(module, nn.Linear) else out.movedim(1, -1)
        grouped = last.reshape(*last.shape[:-1], turn.shape[0], turn.shape[1])
        change = torch.einsum("knm,...kn->...km", turn, grouped).flatten(-2)
        change = change if isinstance(module, nn.Linear) else change.movedim(-1, 1)
        if self.rescale is not None:
            grow = on_channels(module, self._growth(scale), out)
            change = change * grow + out * (grow - 1.0)
        return change.to(base_out.dtype)

    def _turn(self, device: torch.device, scale: float) -> Tensor:
        """scale · (R − I)."""
        blocks = self.blocks.to(device).float()
        rotation = blocks if self.ready else cayley(limited(blocks - blocks.transpose(1, 2), self.limit))
        return (rotation - torch.eye(blocks.shape[-1], device=device)) * scale

    def _growth(self, scale: float) -> Tensor:
        assert self.rescale is not None
        return (self.rescale.float() - 1.0) * scale + 1.0


@dataclass(frozen=True)
class ColumnOft(Patch):
    """peft's: rotations of the columns (input · kernel). `upper` (k, n(n−1)/2); one for all blocks where k is 1.

    `terms`: of the series that peft puts for the inverse (the other way round than its inverse); 0: the inverse.
    """

    upper: Tensor
    size: int
    terms: int
    kind: str = "OFT"
    needs_base: ClassVar[bool] = True

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        turn = self._turn(weight.device, scale)
        columns = weight.float().reshape(weight.shape[0], -1, self.size)
        return torch.einsum("okc,knc->okn", columns, turn.expand(columns.shape[1], -1, -1)).reshape(weight.shape)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        weight = getattr(module, "weight", None)
        if not isinstance(module, nn.Linear) or not isinstance(weight, Tensor):
            return None
        turn = self._turn(x.device, scale).to(x)
        grouped = x.reshape(*x.shape[:-1], -1, self.size)
        moved = torch.einsum("...kn,knc->...kc", grouped, turn.expand(grouped.shape[-2], -1, -1)).flatten(-2)
        out = operate(module, moved, weight)
        return None if out is None else out.to(base_out.dtype)

    def _turn(self, device: torch.device, scale: float) -> Tensor:
        upper = self.upper.to(device).float()
        skew = torch.zeros(upper.shape[0], self.size, self.size, device=device)
        rows, columns = torch.triu_indices(self.size, self.size, 1, device=device)
        skew[:, rows, columns] = upper
        skew = skew - skew.transpose(1, 2)
        rotation = self._series(skew) if self.terms else cayley(-skew)
        return (rotation - torch.eye(self.size, device=device)) * scale

    def _series(self, skew: Tensor) -> Tensor:
        """I + 2Q + 2Q² + … , the last of the powers once: `terms` counts I."""
        result = torch.eye(self.size, device=skew.device).repeat(skew.shape[0], 1, 1)
        power = skew
        # peft adds the third power for 3 terms too.
        terms = 4 if self.terms == 3 else self.terms
        for place in range(1, terms):
            result = result + power * (2.0 if place < terms - 1 or terms == 2 else 1.0)
            power = power @ skew
        return result


def detect(dims: Mapping[str, int]) -> bool:
    return "oft_diag" in dims or "oft_R" in dims or ("oft_blocks" in dims and dims["oft_blocks"] != 4)


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    if "oft_R" in parts.tensors:
        return _columns(parts.get("oft_R"), parts, target)
    ready = "oft_diag" in parts.tensors
    blocks = parts.get("oft_diag" if ready else "oft_blocks")
    agree(blocks.dim() == 3 and blocks.shape[1] == blocks.shape[2], f"its blocks are {times(blocks.shape)}")
    if blocks.shape[0] * blocks.shape[1] != target.shape[0]:
        raise Misfit(f"its blocks are {times(blocks.shape)}, the model has {times(target.shape)}")
    rescale = rescale_of(parts, target)
    return Oft(blocks, rescale, 0.0 if ready else (parts.alpha or 0.0) * target.shape[0], ready)


def rescale_of(parts: Parts, target: TargetModule) -> Tensor | None:
    """LyCORIS's growth of the rows, (rows,); None where there is none.

    Raises:
        Misfit: not one per row.
    """
    rescale = parts.tensors.get("rescale")
    if rescale is not None and rescale.numel() != target.shape[0]:
        raise Misfit(f"its rescale is {times(rescale.shape)}, the model has {times(target.shape)}")
    return None if rescale is None else rescale.reshape(-1)


def _columns(upper: Tensor, parts: Parts, target: TargetModule) -> ModulePatch:
    agree(upper.dim() == 2, f"its triangles are {times(upper.shape)}")
    size = round((1 + math.sqrt(1 + 8 * upper.shape[1])) / 2)
    agree(size * (size - 1) // 2 == upper.shape[1], f"{upper.shape[1]} values make no triangle")
    width = math.prod(target.shape[1:])
    shared = upper.shape[0] == 1 and width % size == 0
    if not shared and upper.shape[0] * size != width:
        raise Misfit(f"its triangles are {times(upper.shape)}, the model has {times(target.shape)}")
    return ColumnOft(upper, size, parts.cayley_terms)
