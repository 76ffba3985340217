"""Easel's own record: the exact spec."""

from __future__ import annotations

from engine.images.carrier import Carrier
from engine.images.draft import Lookups, clean_text
from engine.images.embedded import read_embedded
from engine.images.writer import EASEL_KEY, INFOTEXT_KEY
from engine.protocol.commands import Recipe
from engine.protocol.notices import Notice


class EaselReader:
    """Reads `easel` (PNG iTXt; XMP in JPEG and WebP)."""

    dialect = "easel"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The spec as it was resolved, unchanged; the model is only looked up to tell when it is missing."""
        text = carrier.texts.get(EASEL_KEY)
        if text is None:
            return None
        record = read_embedded(text)
        notices = list(record.notices)
        model = record.spec.model
        if model and lookups.find_model is not None and lookups.find_model(model, "") is None:
            message = f"The picture was made with “{model}”, which is not in the library."
            notices.append(Notice(code="model_default_used", message=message, level="warning"))
        infotext = clean_text(carrier.texts.get(INFOTEXT_KEY, ""))
        return Recipe(spec=record.spec, source=self.dialect, infotext=infotext, notices=tuple(notices))
