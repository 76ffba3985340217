"""AddedReader: a dialect of picture metadata that an extension reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.images.carrier import Carrier
from engine.images.draft import Lookups
from engine.protocol.commands import Recipe
from engine.protocol.specs import GenerationSpec

log = logging.getLogger("easel.engine")


@dataclass(frozen=True)
class AddedReader:
    """A `MetadataReader` around an extension's `read(texts) -> fields | None`.

    What the extension's code raises, or fields that are none of a spec, mean "not of this dialect", and are logged: the
    next reader is asked.
    """

    extension: str
    dialect: str
    reads: Callable[[Mapping[str, str]], Any]
    guard: Callable[[Callable[[], Any]], tuple[str, str]]

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None where the picture is of another program."""
        made: list[Any] = []
        reason, place = self.guard(lambda: made.append(self.reads(dict(carrier.texts))))
        if not reason and made[0] is not None:
            try:
                return Recipe(spec=GenerationSpec.model_validate(made[0]), source=self.dialect)
            except ValidationError as error:
                reason = str(error.errors()[0]["msg"])
        if reason:
            log.warning("the metadata reader of %s failed: %s %s", self.extension, reason, place)
        return None
