"""Easel's own record: the exact spec."""

from __future__ import annotations

from engine.conditioning.adapter_tags import tag_name
from engine.images.carrier import Carrier
from engine.images.draft import INFOTEXT_LIMIT, Lookups, clean_text
from engine.images.embedded import read_embedded
from engine.images.infotext import adapters_of
from engine.images.writer import EASEL_KEY, INFOTEXT_KEY
from engine.protocol.commands import Recipe
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec


class EaselReader:
    """Reads `easel` (PNG iTXt; XMP in JPEG and WebP)."""

    dialect = "easel"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The spec as it was resolved. What is missing here is told; adapters are found again under other names."""
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
        spec = _with_pictures(_renamed(record.spec, infotext, lookups, notices), lookups, notices)
        return Recipe(spec=spec, source=self.dialect, infotext=infotext, notices=tuple(notices))


def _renamed(spec: GenerationSpec, infotext: str, lookups: Lookups, notices: list[Notice]) -> GenerationSpec:
    """The spec with its adapters under the names that they have here, by the hashes that the infotext tells."""
    if not spec.adapters or lookups.find_adapter is None:
        return spec
    known = dict(adapters_of(infotext[:INFOTEXT_LIMIT]))
    found = [lookups.find_adapter(row.name, known.get(tag_name(row), "")) for row in spec.adapters]
    missing = [row.name for row, name in zip(spec.adapters, found, strict=True) if name is None and row.enabled]
    if missing:
        names = ", ".join(f"“{name[:60]}”" for name in missing[:10])
        message = f"Not in the library: {names}. The picture will look different without."
        notices.append(Notice(code="adapter_skipped", message=message, level="warning"))
    rows = tuple(
        row if name is None else row.model_copy(update={"name": name})
        for row, name in zip(spec.adapters, found, strict=True)
    )
    return spec.model_copy(update={"adapters": rows})


def _with_pictures(spec: GenerationSpec, lookups: Lookups, notices: list[Notice]) -> GenerationSpec:
    """The spec with those ControlNet units switched off whose pictures are not kept here."""
    if lookups.has_asset is None:
        return spec
    units = []
    for number, unit in enumerate(spec.controls, start=1):
        if not unit.muted and not lookups.has_asset(unit.image):
            message = f"ControlNet unit {number} ({unit.model[:120]}) is switched off: its picture is not kept here."
            notices.append(Notice(code="setting_unsupported", message=message, level="warning"))
            unit = unit.model_copy(update={"image": "", "muted": True})
        units.append(unit)
    return spec.model_copy(update={"controls": tuple(units)})
