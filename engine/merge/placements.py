"""Which tensor of a model's file holds which module's weight or bias, and how it lies there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from engine.adapters.modules import COMPONENTS, ModuleKey, Targets
from engine.families.keys import Rename
from engine.loading.layouts import candidates

Leaf = Literal["weight", "bias"]


@dataclass(frozen=True)
class Placement:
    """One parameter in a tensor of a file; a fused q, k, v holds three."""

    key: ModuleKey
    leaf: Leaf
    place: Rename

    def taken(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The parameter out of the file's tensor, a view in the module's shape."""
        if self.place.form == "rows":
            rows = tensor.shape[0] // 3
            return tensor[self.place.third * rows : (self.place.third + 1) * rows]
        return tensor.T if self.place.form == "transpose" else tensor.reshape(shape)

    def put(self, tensor: Tensor, value: Tensor) -> None:
        """Write the parameter back into a copy of the file's tensor."""
        if self.place.form == "rows":
            rows = tensor.shape[0] // 3
            tensor[self.place.third * rows : (self.place.third + 1) * rows] = value
        elif self.place.form == "transpose":
            tensor.copy_(value.T)
        else:
            tensor.copy_(value.reshape(tensor.shape))


def placements(
    names: Collection[str], targets: Targets, *, single_file: bool, components: Collection[str] = COMPONENTS
) -> Mapping[str, tuple[Placement, ...]]:
    """The file's tensor → what of the model lies in it. Tensors that no adapter can change are left out."""
    present = set(names)
    found: defaultdict[str, list[Placement]] = defaultdict(list)
    looks = {
        part: candidates(part, targets.unet_config if part == "unet" else {}, single_file=single_file)
        for part in components
    }
    for key, target in targets.modules.items():
        if key[0] not in looks:
            continue
        leaves: tuple[Leaf, ...] = ("weight", "bias") if target.bias else ("weight",)
        for leaf in leaves:
            place = next((each for each in looks[key[0]](f"{key[1]}.{leaf}") if each.name in present), None)
            if place is not None:
                found[place.name].append(Placement(key, leaf, place))
    return {name: tuple(each) for name, each in found.items()}


def leaf_shape(placement: Placement, targets: Targets) -> tuple[int, ...]:
    """The parameter's shape in the module."""
    shape = targets.modules[placement.key].shape
    return shape if placement.leaf == "weight" else shape[:1]
