"""The patch of one module out of its tensors: the kind that knows them, its magnitudes (DoRA) and its bias."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from engine.adapters.kinds import KINDS
from engine.adapters.kinds.bias import with_bias
from engine.adapters.kinds.dora import decomposed
from engine.adapters.kinds.parts import Incomplete, Kind, Parts
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch
from engine.library.added_kinds import added_kinds

# What may stand beside any kind.
SHARED = frozenset({"alpha", "dora_scale", "magnitude", "diff_b"})


def kind_of(tensors: Mapping[str, Tensor]) -> Kind | None:
    """The kind of a module with these tensors; None: no kind knows them (they may still change the bias)."""
    dims = {suffix: tensor.dim() for suffix, tensor in tensors.items()}
    own = next((kind for kind in KINDS if kind.detect(dims)), None)
    if own is not None:
        return own
    added = next((kind for kind in added_kinds() if kind.detect(dims)), None)
    return Kind(added.title, added.detect, added.read, added.names) if added is not None else None


def unread(tensors: Mapping[str, Tensor]) -> set[str]:
    """Suffixes that nobody looks at in a module that has these tensors."""
    kind = kind_of(tensors)
    return set(tensors) - SHARED - (kind.names if kind else frozenset())


def read_patch(parts: Parts, target: TargetModule) -> ModulePatch:
    """What the tensors do to a module. Only shapes are looked at, so meta tensors tell whether they fit.

    Raises:
        Misfit, Damaged, Incomplete (`engine.adapters.kinds.parts`): the reason, in words.
    """
    kind = kind_of(parts.tensors)
    patch = kind.read(parts, target) if kind else None
    if patch is None and "diff_b" not in parts.tensors:
        raise Incomplete("the tensors that would change it are missing")
    if patch is not None and ("dora_scale" in parts.tensors or "magnitude" in parts.tensors):
        patch = decomposed(patch, parts, target)
    return with_bias(patch, parts.tensors.get("diff_b"), target)
