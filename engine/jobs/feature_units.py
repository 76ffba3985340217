"""T2I-Adapter units on their way from a spec to something that runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from engine.control.fit import as_tensor, fitted
from engine.control.schedule import Window
from engine.control.t2i_adapter import Features, FeatureUnit, features_of
from engine.jobs.hints import HintShop
from engine.jobs.unit_kinds import UnitPartKey
from engine.library.controlnets import ControlEntry
from engine.loading.loader import module_config, nbytes
from engine.loading.t2i_adapter import load_t2i_adapter
from engine.memory.cache import ByteCache
from engine.memory.pool import ModelPool
from engine.pipeline.model import ModelBundle
from engine.protocol.specs import ControlUnit, GenerationSpec


class FeatureUnits:
    """Makes the features of a unit's hint. The adapter is lent for that moment only: no step needs it.

    Args:
        cache: what hints were turned into, by what went in.
    """

    def __init__(self, pool: ModelPool, hints: HintShop, cache: ByteCache[Any]) -> None:
        self._pool, self._hints, self._cache = pool, hints, cache

    def unit(self, unit: ControlUnit, entry: ControlEntry, spec: GenerationSpec, bundle: ModelBundle) -> FeatureUnit:
        """A unit that runs.

        Raises:
            ControlError: the hint cannot be made. ModelFileError: the file cannot be used. OutOfMemoryError.
        """
        size = (spec.width or 0, spec.height or 0)
        key = UnitPartKey(str(entry.path), entry.stamp, str(bundle.dtype).removeprefix("torch."), "T2I-Adapter")
        hint = self._hints.hint(unit, size)
        place = (key, hint.ref, size, unit.resize)
        features: Features | None = self._cache.get(place)
        if features is None:
            pixels = self._hints.pixels(hint.ref, unit.preprocessor)
            load = partial(
                load_t2i_adapter,
                entry.path,
                module_config(bundle.parts.shape("unet")),
                title=entry.view.title,
                dtype=bundle.dtype,
                device=bundle.device,
            )
            with self._pool.lease(key, load, nbytes) as adapter:
                features = features_of(adapter, as_tensor(fitted(pixels, size, unit.resize)))
            self._cache.put(place, features, sum(each.nbytes for each in features))
        window = Window(unit.start, unit.end, unit.ramp, unit.percent_rule)
        return FeatureUnit(features, unit.weight, window, unit.mode, source=f"{entry.path}|{entry.stamp}|{hint.ref}")
