"""A1111, Forge, SD.Next and all who write infotext under `parameters`."""

from __future__ import annotations

from engine.images.carrier import Carrier
from engine.images.draft import Lookups
from engine.images.infotext import spec_from_infotext
from engine.images.writer import INFOTEXT_KEY
from engine.protocol.commands import Recipe


class A1111Reader:
    """Reads `parameters` (PNG text, EXIF UserComment) that is not JSON."""

    dialect = "a1111"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe of the infotext; None for other texts."""
        text = carrier.texts.get(INFOTEXT_KEY, "")
        if not text.strip() or text.lstrip().startswith("{"):
            return None
        recipe = spec_from_infotext(text, lookups=lookups)
        return recipe if recipe.spec is not None else None
