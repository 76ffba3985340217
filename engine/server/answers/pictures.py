"""Answers about prompts, recipes and assets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from engine.conditioning import grammar
from engine.errors import SpecError
from engine.images.assets import AssetStore
from engine.images.infotext import spec_from_infotext
from engine.images.recipe import read_recipe
from engine.protocol.commands import (
    AssetRef,
    CountTokens,
    ImageFile,
    LocateAsset,
    PutAsset,
    ReadRecipe,
    Recipe,
    TokenCount,
)
from engine.sampling import table
from engine.server.dispatch import Answers


class PictureAnswers:
    """`count` counts a prompt's tokens with a model's tokenizer (prompt, model id) → TokenCount."""

    def __init__(self, assets: AssetStore, count: Callable[[str, str | None], TokenCount]) -> None:
        self._assets, self._count = assets, count

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            CountTokens: self.count_tokens,
            ReadRecipe: self.recipe,
            PutAsset: self.put_asset,
            LocateAsset: self.locate_asset,
        }

    def count_tokens(self, command: CountTokens) -> TokenCount:
        """Tokens of a prompt, with what would be cut out of it."""
        counted = self._count(command.prompt, command.model)
        return counted.model_copy(update={"notices": tuple(grammar.parse(command.prompt, "a1111").notices)})

    def recipe(self, command: ReadRecipe) -> Recipe:
        """Settings out of a picture or out of infotext."""
        if command.data is not None:
            return read_recipe(_decoded(command.data), canonical=table.canonical)
        return spec_from_infotext(command.text or "", canonical=table.canonical)

    def put_asset(self, command: PutAsset) -> AssetRef:
        """Keep a picture."""
        return self._assets.put(_decoded(command.data))

    def locate_asset(self, command: LocateAsset) -> ImageFile:
        """Where an asset lies."""
        return ImageFile(path=str(self._assets.path(command.ref)), media_type="image/png")


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SpecError("image_unreadable", "The picture did not arrive whole.", "Send it again.") from error
