"""Reading the recipe out of a picture: Easel's own record first, then A1111's infotext, then the other dialects."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Protocol

from engine.errors import SpecError
from engine.images.carrier import Carrier, read_carrier
from engine.images.draft import Canonical, Lookups
from engine.images.readers.a1111 import A1111Reader
from engine.images.readers.comfyui import ComfyReader
from engine.images.readers.easel import EaselReader
from engine.images.readers.fooocus import FooocusReader
from engine.images.readers.invokeai import InvokeReader
from engine.images.readers.novelai import NovelReader
from engine.images.readers.swarmui import SwarmReader
from engine.protocol.commands import Recipe

MAX_BYTES = 64 * 2**20


class MetadataReader(Protocol):
    """One dialect of picture metadata."""

    @property
    def dialect(self) -> str:
        """The program's name."""
        ...

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None if the picture is not of this dialect.

        Raises:
            SpecError: `image_unreadable` only when it is of this dialect and damaged.
        """
        ...


def core_readers() -> tuple[MetadataReader, ...]:
    """The dialects that Easel knows, in the order in which they are asked."""
    return (
        EaselReader(), SwarmReader(), FooocusReader(), NovelReader(), InvokeReader(), A1111Reader(), ComfyReader(),
    )  # fmt: skip


def read_recipe(
    data: bytes,
    *,
    canonical: Canonical | None = None,
    lookups: Lookups | None = None,
    readers: Sequence[MetadataReader] | None = None,
) -> Recipe:
    """The settings that a picture file holds; a `Recipe` with no spec and source "" where it holds none.

    `canonical` is short for `Lookups(canonical=…)`; `readers` are the core's unless given (extensions add theirs).

    Raises:
        SpecError: `upload_too_large` above 64 MiB; `image_unreadable` when the file is no picture, or its settings are
            damaged and no other dialect in it can be read.
    """
    if len(data) > MAX_BYTES:
        raise SpecError("upload_too_large", "The picture is larger than 64 MB.", "Choose a smaller file.")
    carrier = read_carrier(io.BytesIO(data))
    return recipe_of(carrier, lookups or Lookups(canonical=canonical), core_readers() if readers is None else readers)


def recipe_of(carrier: Carrier, lookups: Lookups, readers: Sequence[MetadataReader]) -> Recipe:
    """The first dialect's recipe. A damaged one counts only when no other can be read."""
    damage: SpecError | None = None
    for reader in readers:
        try:
            recipe = reader.read(carrier, lookups)
        except SpecError as error:
            damage = damage or error
            continue
        if recipe is not None:
            return recipe
    if damage is not None:
        raise damage
    return Recipe()
