"""IP-Adapter and reference units on their way from a spec to something that runs, with what they need lent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from engine.control.fit import Size, fitted
from engine.control.ip_adapter import ImagePrompt, IpAdapter
from engine.control.reference import Reference
from engine.control.schedule import Window
from engine.jobs.hints import HintShop
from engine.library.controlnets import ControlEntry, ControlShelf
from engine.library.stamps import stamp_of
from engine.loading.image_encoder import load_image_encoder
from engine.loading.ip_adapter import load_ip_adapter
from engine.loading.loader import module_config, nbytes
from engine.memory.cache import ByteCache
from engine.memory.pool import Lease, ModelPool
from engine.pipeline.model import ModelBundle
from engine.pipeline.picture_latents import picture_latents
from engine.protocol.specs import ControlUnit

# The noise of references: the same for every picture, so that a picture does not depend on its neighbours.
NOISE_SEED = 20_231_113
Seen = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class UnitPartKey:
    """What a loaded IP-Adapter or image encoder is, for the pool. `source` and `part` say it to a person."""

    source: str
    stamp: str
    dtype: str
    part: str


class PictureUnits:
    """Builds units that look at pictures themselves, not at hints.

    Args:
        cache: what pictures were turned into, by what went in.
    """

    def __init__(self, pool: ModelPool, shelf: ControlShelf, hints: HintShop, cache: ByteCache[torch.Tensor]) -> None:
        self._pool, self._shelf, self._hints, self._cache = pool, shelf, hints, cache

    def prompt(
        self, unit: ControlUnit, entry: ControlEntry, bundle: ModelBundle
    ) -> tuple[ImagePrompt, Lease[IpAdapter]]:
        """An IP-Adapter unit; its lease is the caller's.

        Raises:
            ControlError: `image_encoder_missing`. ModelFileError, OutOfMemoryError.
        """
        dtype = str(bundle.dtype).removeprefix("torch.")
        key = UnitPartKey(str(entry.path), entry.stamp, dtype, "IP-Adapter")
        lease: Lease[IpAdapter] = self._pool.lease(
            key, partial(_load, key, entry, bundle), lambda adapter: nbytes(adapter.model)
        )
        try:
            tokens, nothing = self._seen(unit, entry, key, lease.value, bundle)
        except BaseException:
            lease.close()
            raise
        source = f"{entry.path}|{entry.stamp}|{unit.image}"
        return ImagePrompt(lease.value, tokens, nothing, unit.weight, _window(unit), source), lease

    def reference(self, unit: ControlUnit, size: Size, bundle: ModelBundle) -> Reference:
        """A reference unit for a picture of `size` px."""
        place = (bundle.vae_key, unit.image, size, unit.resize)
        latents = self._kept(
            place, lambda: picture_latents(bundle, fitted(self._hints.picture(unit.image), size, unit.resize))
        )
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(NOISE_SEED)).to(latents.device)
        source = f"reference|{unit.image}"
        return Reference(latents, noise, unit.weight, unit.fidelity, _window(unit), source)

    def _seen(
        self, unit: ControlUnit, entry: ControlEntry, key: UnitPartKey, adapter: IpAdapter, bundle: ModelBundle
    ) -> Seen:
        folder = self._shelf.encoder(entry)
        found = self._cache.get((key, unit.image, "seen")), self._cache.get((key, str(folder), "nothing"))
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
        place = UnitPartKey(str(folder), stamp_of(folder), key.dtype, "image encoder")
        load = partial(load_image_encoder, folder, dtype=bundle.dtype, device=bundle.device)
        with self._pool.lease(place, load, nbytes) as encoder:
            made: Seen = adapter.see(encoder, self._hints.picture(unit.image))
        for name, value in zip(((key, unit.image, "seen"), (key, str(folder), "nothing")), made, strict=True):
            self._cache.put(name, value, value.nbytes)
        return made

    def _kept(self, place: Any, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        found = self._cache.get(place)
        if found is None:
            found = make()
            self._cache.put(place, found, found.nbytes)
        return found


def _window(unit: ControlUnit) -> Window:
    return Window(unit.start, unit.end, unit.ramp, unit.percent_rule)


def _load(key: UnitPartKey, entry: ControlEntry, bundle: ModelBundle) -> IpAdapter:
    config = module_config(bundle.parts.shape("unet"))
    model = load_ip_adapter(entry.path, config, title=entry.view.title, dtype=bundle.dtype, device=bundle.device)
    return IpAdapter(model, f"{key.source}|{key.stamp}|{key.dtype}")
