"""Which weights a component carries now, found again by whoever leases it next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from torch import nn

from engine.adapters.base_weights import RamBase
from engine.adapters.merged import MergedWeights, Moved
from engine.adapters.plan import NO_CHANGES, PatchPlan, signature_of
from engine.adapters.sidepath import SidePath

ApplyPolicy = Literal["merged", "side"]
"""merged: worked into the weights, free per step. side: beside the layers, for weights that must not be written to."""


class Applied(Protocol):
    """What `MergedWeights` and `SidePath` have in common."""

    @property
    def nbytes(self) -> int: ...

    def move_to(self, plan: PatchPlan) -> Moved: ...

    def restore(self) -> Moved: ...


class PatchedComponents:
    """The components whose weights may carry a plan.

    A component stays in the pool when a job is over, and its plan with it: the next job with the same stack finds it
    applied, any other moves it first. So whoever computes says which plan it needs, every time.
    """

    def __init__(self, policy: ApplyPolicy = "merged") -> None:
        self._policy = policy
        self._known: WeakKeyDictionary[nn.Module, Applied] = WeakKeyDictionary()
        self._plans: WeakKeyDictionary[nn.Module, PatchPlan] = WeakKeyDictionary()

    def of(self, component: str, module: nn.Module) -> Applied:
        """The one keeper of that module's weights."""
        known = self._known.get(module)
        if known is None:
            known = self._known[module] = self._make(component, module)
        return known

    def move(self, component: str, module: nn.Module, plan: PatchPlan) -> int:
        """Let the module carry exactly this plan; how many layers were worked on. Raises AdapterError; nothing has
        changed then."""
        if self.carries(component, module, plan):
            return 0
        layers = self.of(component, module).move_to(plan).layers
        self._plans[module] = plan
        return layers

    def carries(self, component: str, module: nn.Module, plan: PatchPlan) -> bool:
        """Whether the module carries it already."""
        known = self._plans.get(module, NO_CHANGES)
        return known is plan or _signatures(known, component) == _signatures(plan, component)

    def _make(self, component: str, module: nn.Module) -> Applied:
        if self._policy == "side":
            return SidePath(component, module)
        device = next(module.parameters()).device
        return MergedWeights(component, module, None if device.type == "cpu" else RamBase())


def _signatures(plan: PatchPlan, component: str) -> dict[str, object]:
    return {path: signature_of(changes) for path, changes in plan.of(component).items()}


Watch = Callable[[str, Moved, float], None]
"""Told after a move that touched layers: the component, what was done, and the seconds that it took."""
