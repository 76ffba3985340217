"""AdapterStack: several adapters on one model, in order, each with its sliders, its steps and its blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from engine.adapters.blocks import block_weights
from engine.adapters.file import Adapter
from engine.adapters.lifecycle import AdapterState, Lifecycle, Transition
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.plan import NO_CHANGES, Change, Changes, PatchPlan
from engine.errors import AdapterError
from engine.protocol.specs import AdapterRef, ConflictResolution

Resolution = ConflictResolution
"""What happens where several adapters change the same module: all do in full · their weights are scaled to a sum of 1
· only the one with the highest priority does."""


@dataclass(frozen=True)
class StackedAdapter:
    """One row: a file that was read, and how strongly it is applied.

    Attributes:
        ref: weights, steps and blocks; its `name` is the adapter's id.
        blocks: the weight of each module that A1111's block weights give; 1.0 where a module is not named.
    """

    adapter: Adapter
    ref: AdapterRef
    blocks: Mapping[ModuleKey, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def source(self) -> str:
        """The file, its state and how it is kept."""
        return self.adapter.source

    def runs_at(self, fraction: float) -> bool:
        """Whether it is on at that share of the steps (0.0 before the first, below 1.0)."""
        ref = self.ref
        return ref.enabled and ref.start <= fraction and (fraction < ref.end or ref.end >= 1.0)

    def scale(self, key: ModuleKey) -> float:
        """How strongly it changes a module; 0.0: not at all."""
        ref = self.ref
        if key[0] == "unet":
            return ref.unet_weight * self.blocks.get(key, 1.0)
        return (ref.unet_weight if ref.text_weight is None else ref.text_weight) * self.blocks.get(key, 1.0)


class AdapterStack:
    """The rows in order of priority: the first is worked in first, and wins where only one may.

    The patch set belongs to a job: a stack is made for one spec; what it says of a moment is a value, a `PatchPlan`.

    Args:
        targets: the model's modules.
        resolution: see `Resolution`.
        tell: gets every transition of every adapter, to be kept.
    """

    def __init__(
        self,
        targets: Targets,
        *,
        resolution: Resolution = "keep",
        tell: Callable[[Transition], None] | None = None,
    ) -> None:
        self.adapters: list[StackedAdapter] = []
        self.resolution: Resolution = resolution
        self._targets = targets
        self._tell = tell
        self._lives: dict[str, Lifecycle] = {}
        self._plans: dict[tuple[str, ...], PatchPlan] = {}
        self._signatures: dict[tuple[str, ...], str] = {}

    # --- the seed's operations -------------------------------------------------------------------------------------

    def add(self, ref: AdapterRef, read: Callable[[], Adapter]) -> None:
        """Load and check an adapter, and put it last. On failure the stack is as it was, and the reason is told.

        Args:
            read: reads the file for this model; what it raises passes through.

        Raises:
            AdapterError: `adapter_twice`, or as `read_adapter`; `adapter_blocks_unknown`.
        """
        if ref.name in self._lives:
            raise AdapterError(
                "adapter_twice", f"{ref.name} stands in the stack twice.", "Change the weight of the first one instead."
            )
        life = Lifecycle(ref.name, self._tell)
        try:
            life.to("loading")
            adapter = read()
            life.to("loaded")
            life.to("validating")
            blocks = block_weights(ref.blocks, self._targets) if ref.blocks else {}
            life.to("ready", adapter.report.summary)
        except BaseException as error:
            life.to("error", str(error))
            life.to("unloaded")
            raise
        self._lives[ref.name] = life
        self._rows([*self.adapters, StackedAdapter(adapter, ref, blocks)])
        if ref.enabled:
            life.to("active")

    def remove(self, name: str) -> None:
        """Take an adapter out. Raises KeyError where it is not in."""
        self._row(name)
        life = self._lives.pop(name)
        if life.state != "error":
            life.to("unloading")
        life.to("unloaded")
        self._rows([row for row in self.adapters if row.name != name])

    def reorder(self, priorities: Mapping[str, int]) -> None:
        """Sort by priority, the highest first; who is not named keeps the one that it has."""
        places = {**self.priorities, **priorities}
        self._rows(sorted(self.adapters, key=lambda row: -places[row.name]))

    def set_weights(self, name: str, unet: float, text: float | None = None) -> None:
        """Move the sliders. Raises KeyError where it is not in."""
        row, life = self._row(name), self._lives[name]
        scaling = life.state == "active"
        if scaling:
            life.to("scaling", f"{unet:g}" if text is None else f"{unet:g}, text {text:g}")
        changed = replace(row, ref=row.ref.model_copy(update={"unet_weight": unet, "text_weight": text}))
        self._rows([changed if each is row else each for each in self.adapters])
        if scaling:
            life.to("active")

    def resolve_conflicts(self, resolution: Resolution) -> None:
        """Decide what happens where adapters meet."""
        self.resolution = resolution
        self._rows(self.adapters)

    def get_active(self, fraction: float = 0.0) -> list[StackedAdapter]:
        """The rows that are on at that share of the steps, in order."""
        return [row for row in self.adapters if row.runs_at(fraction)]

    @property
    def priorities(self) -> dict[str, int]:
        """Name → priority; the first row has the highest."""
        return {row.name: len(self.adapters) - place for place, row in enumerate(self.adapters)}

    @property
    def weights(self) -> dict[str, float]:
        """Name → the UNet slider."""
        return {row.name: row.ref.unet_weight for row in self.adapters}

    @property
    def states(self) -> dict[str, AdapterState]:
        """Name → where it is in its life."""
        return {name: life.state for name, life in self._lives.items()}

    def failed(self, error: AdapterError) -> None:
        """The model could not be made to carry the stack, and carries what it did before: the reason is told."""
        for life in self._lives.values():
            if life.state == "active":
                life.to("error", str(error))

    def close(self) -> None:
        """Take everything out."""
        for row in list(self.adapters):
            self.remove(row.name)

    # --- what the pipeline asks ------------------------------------------------------------------------------------

    def plan(self, fraction: float) -> PatchPlan:
        """The changes of the UNet at that share of the steps."""
        rows = self.get_active(fraction)
        return self._planned(rows, ("unet",))

    def text_plan(self) -> PatchPlan:
        """The changes of the text encoders. Prompts are read once, so step ranges do not matter here."""
        rows = [row for row in self.adapters if row.ref.enabled]
        return self._planned(rows, ("text_encoder", "text_encoder_2"))

    def signature(self, fraction: float) -> str:
        """Equal for equal UNet weights: part of the key of pictures that may share a call."""
        return self._signed("unet", self.get_active(fraction))

    def text_signature(self) -> str:
        """Equal for equal text encoders: part of the key of encoded prompts. "" where none is changed."""
        if not self.text_plan().changes:
            return ""
        return self._signed("text", [row for row in self.adapters if row.ref.enabled])

    @property
    def sources(self) -> tuple[str, ...]:
        """The files and their states, in order: a half-done picture goes on only with the same."""
        return tuple(row.source for row in self.adapters)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _rows(self, rows: list[StackedAdapter]) -> None:
        self.adapters = rows
        self._plans.clear()
        self._signatures.clear()

    def _row(self, name: str) -> StackedAdapter:
        for row in self.adapters:
            if row.name == name:
                return row
        raise KeyError(name)

    def _signed(self, part: str, rows: list[StackedAdapter]) -> str:
        if not rows:
            return ""
        place = (part, *(row.name for row in rows))
        known = self._signatures.get(place)
        if known is None:
            said = [self.resolution, *(f"{row.source}|{_strength(row.ref, part)}" for row in rows)]
            known = self._signatures[place] = hashlib.sha256("\n".join(said).encode()).hexdigest()[:24]
        return known

    def _planned(self, rows: list[StackedAdapter], components: tuple[str, ...]) -> PatchPlan:
        if not rows:
            return NO_CHANGES
        place = (*components, *(row.name for row in rows))
        known = self._plans.get(place)
        if known is None:
            known = self._plans[place] = self._plan_of(rows, components)
        return known

    def _plan_of(self, rows: list[StackedAdapter], components: tuple[str, ...]) -> PatchPlan:
        changes: dict[ModuleKey, list[Change]] = {}
        for row in rows:
            for key, patch in row.adapter.patches.items():
                scale = row.scale(key) if key[0] in components else 0.0
                if scale:
                    changes.setdefault(key, []).append(Change(patch, scale, row.source))
        return PatchPlan({key: self._resolved(found) for key, found in changes.items()})

    def _resolved(self, changes: list[Change]) -> Changes:
        if len(changes) < 2 or self.resolution == "keep":
            return tuple(changes)
        if self.resolution == "priority":
            return (changes[0],)
        total = sum(abs(change.scale) for change in changes)
        return tuple(replace(change, scale=change.scale / total) if total > 1.0 else change for change in changes)


def _strength(ref: AdapterRef, part: str) -> str:
    if part == "unet":
        return f"{ref.unet_weight!r} {ref.blocks}"
    return f"{ref.unet_weight if ref.text_weight is None else ref.text_weight!r} {ref.blocks[:1]}"
