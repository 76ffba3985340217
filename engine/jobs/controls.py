"""ControlShop: from the units in a spec to networks and embedded hints, lent for the time of one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from engine.control.compose import ControlSet, Unit, WorkingUnit
from engine.control.fit import as_tensor, fitted
from engine.control.network import ControlNetwork
from engine.control.schedule import Window
from engine.control.union import UnionNetwork
from engine.errors import ControlError
from engine.jobs.control_storage import let_rest
from engine.jobs.feature_units import FeatureUnits
from engine.jobs.hints import HintShop
from engine.jobs.unit_kinds import PictureUnits
from engine.library.control_types import union_place
from engine.library.controlnets import ControlEntry, ControlShelf, misfit, unread_type
from engine.library.entries import ModelEntry
from engine.loading.controlnet import load_controlnet
from engine.loading.loader import module_config, nbytes
from engine.memory.cache import ByteCache
from engine.memory.pool import Lease, ModelPool
from engine.memory.resting import loaded_in, resting_format
from engine.pipeline.model import ModelBundle, ready
from engine.protocol.specs import ControlUnit, GenerationSpec

EMBEDDED_BYTES = 128 * 1024**2


@dataclass(frozen=True)
class ControlKey:
    """What a loaded ControlNet is, for the pool. `source` and `part` say it to a person."""

    source: str
    stamp: str
    dtype: str
    part: str = "ControlNet"


@dataclass
class LentControls:
    """A picture's units with the leases of their networks."""

    controls: ControlSet = field(default_factory=ControlSet)
    leases: list[Lease[Any]] = field(default_factory=list)

    def close(self) -> None:
        """Give everything back."""
        self.controls = ControlSet()
        while self.leases:
            self.leases.pop().close()


class ControlShop:
    """Loads ControlNets through the pool, so that one is loaded once for all who use it, and embeds hints once.

    Args:
        model: from a spec's model id to its entry.
    """

    def __init__(
        self,
        pool: ModelPool,
        shelf: ControlShelf,
        hints: HintShop,
        model: Callable[[str | None], ModelEntry],
    ) -> None:
        self._pool = pool
        self._shelf = shelf
        self._hints = hints
        self._model = model
        # Tensors, and tuples of them: what is made of hints and pictures once.
        self._embedded: ByteCache[Any] = ByteCache(EMBEDDED_BYTES)
        self._pictures = PictureUnits(pool, shelf, hints, self._embedded)
        self._features = FeatureUnits(pool, hints, self._embedded)

    def lend(self, spec: GenerationSpec, bundle: ModelBundle) -> LentControls:
        """The units of a resolved spec that do something, for the model of `bundle`.

        Raises:
            ControlError, ModelFileError, NotFoundError: a unit cannot be used. OutOfMemoryError: the pool has no room.
                Nothing stays lent then.
        """
        wanted = [unit for unit in spec.controls if not unit.muted and unit.weight]
        if not wanted:
            return LentControls()
        lent = LentControls()
        try:
            # All of them are looked at before the first is loaded.
            entries = [self._entry(unit, spec) for unit in wanted]
            units = [self._made(unit, entry, spec, bundle, lent) for unit, entry in zip(wanted, entries, strict=True)]
        except BaseException:
            lent.close()
            raise
        lent.controls = ControlSet(tuple(units))
        return lent

    @property
    def embedded(self) -> ByteCache[torch.Tensor]:
        """The embedded hints."""
        return self._embedded

    def _entry(self, unit: ControlUnit, spec: GenerationSpec) -> ControlEntry | None:
        """The unit's file; None where it needs none."""
        if unit.kind == "reference":
            return None
        entry = self._shelf.find(unit.model, unit.kind)
        wrong = misfit(entry.view, entry.facts, self._model(spec.model))
        if wrong:
            raise ControlError("control_mismatch", wrong, "Choose a ControlNet that was made for this model.")
        return entry

    def _made(
        self,
        unit: ControlUnit,
        entry: ControlEntry | None,
        spec: GenerationSpec,
        bundle: ModelBundle,
        lent: LentControls,
    ) -> WorkingUnit:
        if entry is None:
            return self._pictures.reference(unit, (spec.width or 0, spec.height or 0), bundle)
        if entry.facts.features is not None:
            return self._features.unit(unit, entry, spec, bundle)
        if unit.kind == "controlnet":
            return self._unit(unit, entry, spec, bundle, lent)
        made, lease = self._pictures.prompt(unit, entry, bundle)
        lent.leases.append(lease)
        return made

    def _unit(
        self, unit: ControlUnit, entry: ControlEntry, spec: GenerationSpec, bundle: ModelBundle, lent: LentControls
    ) -> Unit:
        asked = bundle.parts.config.storage_dtype if entry.facts.rests else ""
        rests = resting_format(asked, entry.facts.dtype, str(bundle.dtype).removeprefix("torch."))
        key = ControlKey(str(entry.path), entry.stamp, rests)
        lease: Lease[ControlNetwork] = self._pool.lease(
            key, partial(_load, key, entry, bundle), lambda network: nbytes(network.model)
        )
        lent.leases.append(lease)
        network = _reading(lease.value, unit, entry)
        size = (spec.width or 0, spec.height or 0)
        hint = self._hints.hint(unit, size)
        place = (network.key, hint.ref, size, unit.resize)
        embedded = self._embedded.get(place)
        if embedded is None:
            pixels = self._hints.pixels(hint.ref, unit.preprocessor)
            embedded = network.embed(as_tensor(fitted(pixels, size, unit.resize)))
            self._embedded.put(place, embedded, embedded.nbytes)
        return Unit(
            network,
            embedded,
            unit.weight,
            Window(unit.start, unit.end, unit.ramp, unit.percent_rule),
            unit.mode,
            source=f"{entry.path}|{entry.stamp}|{hint.ref}",
        )


def _reading(network: ControlNetwork, unit: ControlUnit, entry: ControlEntry) -> ControlNetwork:
    """The network as this unit uses it: a union is told what the hint shows.

    Raises:
        ControlError: `control_type_unknown`.
    """
    if not entry.facts.union:
        return network
    place = union_place(unit.hint_type, entry.facts.union)
    if place is None:
        raise unread_type(entry, unit.hint_type)
    return UnionNetwork(network.model, network.key, place)


def _load(key: ControlKey, entry: ControlEntry, bundle: ModelBundle) -> ControlNetwork:
    config: dict[str, Any] = module_config(bundle.parts.shape("unet"))
    module = load_controlnet(
        entry.path,
        config,
        title=entry.view.title,
        dtype=getattr(torch, loaded_in(key.dtype, entry.facts.dtype)),
        device=bundle.device,
        pooled=entry.type == "shuffle",
    )
    wide = key.dtype == str(bundle.dtype).removeprefix("torch.")
    module = let_rest(ready(module, channels_last=wide), key.dtype, bundle.dtype)
    return ControlNetwork(module, f"{key.source}|{key.stamp}|{key.dtype}", bundle.dtype)
