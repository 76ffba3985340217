"""Answers about prompts, recipes and assets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence

from engine.conditioning import grammar
from engine.conditioning.adapter_tags import AdapterTag, cut_tags
from engine.control.preprocessors.table import preprocessor
from engine.errors import ControlError, ModelFileError, NotFoundError, SpecError
from engine.images.assets import AssetStore
from engine.images.draft import Lookups
from engine.images.infotext import spec_from_infotext
from engine.images.recipe import MetadataReader, core_readers, read_recipe
from engine.library.library import Library
from engine.library.names import find
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
from engine.protocol.notices import Notice
from engine.sampling import table
from engine.server.dispatch import Answers

MOST_TAGS = 5


class PictureAnswers:
    """`count` counts a prompt's tokens with a model's tokenizer (prompt, model id) → TokenCount; `added` are readers of
    extensions."""

    def __init__(
        self,
        assets: AssetStore,
        library: Library,
        count: Callable[[str, str | None], TokenCount],
        added: Callable[[], Sequence[MetadataReader]] = tuple,
    ) -> None:
        self._assets, self._library, self._count, self._added = assets, library, count, added

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
        prompt, tags = cut_tags(command.prompt)
        notices = [*grammar.parse(prompt, "a1111").notices, *self._unknown_adapters(tags)]
        return counted.model_copy(update={"notices": tuple(notices)})

    def _unknown_adapters(self, tags: list[AdapterTag]) -> Iterator[Notice]:
        """What admission would refuse, told while one is typing."""
        shelf = self._library.adapters
        for tag in tags[:MOST_TAGS]:
            try:
                shelf.find(tag.name)
            except (SpecError, ModelFileError) as error:
                yield Notice(code="adapter_skipped", message=f"{tag.source[:80]}: {error}", level="warning")

    def recipe(self, command: ReadRecipe) -> Recipe:
        """Settings out of a picture or out of infotext."""
        if command.data is not None:
            own, *others = core_readers()
            readers = (own, *self._added(), *others)
            return read_recipe(_decoded(command.data), lookups=self._lookups(), readers=readers)
        return spec_from_infotext(command.text or "", lookups=self._lookups())

    def _lookups(self) -> Lookups:
        return Lookups(
            canonical=table.canonical,
            canonical_a1111=table.from_a1111,
            find_model=self._model_id,
            find_vae=self._vae_id,
            find_adapter=self._adapter_id,
            find_embedding=self._library.embedding_word,
            find_control=self._control_id,
            find_preprocessor=_preprocessor,
            has_asset=self._has_asset,
        )

    def _model_id(self, name: str, hash_prefix: str) -> str | None:
        """The library's id of the model that a picture names: by hash first, since names differ between machines."""
        views = [entry.view for entry in self._library.models() if not entry.view.problem]
        wanted = hash_prefix.lower()
        for view in views:
            if wanted and view.hash.startswith(wanted):
                return view.id
        return next(
            (view.id for view in views if name and name.casefold() in (view.id.casefold(), view.title.casefold())), None
        )

    def _adapter_id(self, name: str, hash_prefix: str) -> str | None:
        found = self._library.adapters.restore(name, hash_prefix)
        return None if found is None else found.view.id

    def _control_id(self, name: str, hash_prefix: str) -> str | None:
        """By name first: other programs hash ControlNets in another way."""
        files = {file.id: file for file in self._library.files("controlnet") if not file.problem}
        ids = {file.id: (file.title,) for file in files.values()}
        hashes = {file.id: file.hash for file in files.values()}
        return find(name, ids, hashes) or (find(hash_prefix, {}, hashes) if hash_prefix else None)

    def _has_asset(self, ref: str) -> bool:
        try:
            self._assets.path(ref)
        except NotFoundError:
            return False
        return True

    def _vae_id(self, name: str) -> str | None:
        try:
            return self._library.find_vae(name).view.id
        except (SpecError, ModelFileError):
            return None

    def put_asset(self, command: PutAsset) -> AssetRef:
        """Keep a picture."""
        return self._assets.put(_decoded(command.data))

    def locate_asset(self, command: LocateAsset) -> ImageFile:
        """Where an asset lies."""
        return ImageFile(path=str(self._assets.path(command.ref)), media_type="image/png")


def _preprocessor(name: str) -> tuple[str, tuple[str, ...]] | None:
    try:
        what = preprocessor(name)
    except ControlError:
        return None
    return what.id, tuple(parameter.name for parameter in what.parameters)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SpecError("image_unreadable", "The picture did not arrive whole.", "Send it again.") from error
