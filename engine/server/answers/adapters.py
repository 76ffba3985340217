"""Answers about adapters: the gallery, previews, match reports, suggestions, named stacks."""

from __future__ import annotations

from collections.abc import Callable

from engine.library.library import Library
from engine.protocol.adapters import (
    AdapterDetails,
    AdapterPage,
    CompletionList,
    StackList,
    StackReport,
    SuggestionList,
)
from engine.protocol.commands import (
    CheckStack,
    CompletePrompt,
    GetAdapter,
    ImageFile,
    ListAdapters,
    ListStacks,
    LocatePreview,
    SaveStack,
    SuggestAdapters,
)
from engine.server.dispatch import Answers
from engine.server.gallery import Gallery
from engine.store.store import Store


class AdapterAnswers:
    """What there is to stack, and what a stack would do.

    Args:
        changed: called after a look at the folders that found something.
        check: makes the report of a stack; it needs the rooms with torch.
    """

    def __init__(
        self,
        library: Library,
        gallery: Gallery,
        store: Store,
        *,
        changed: Callable[[], None],
        check: Callable[[CheckStack], StackReport],
    ) -> None:
        self._library, self._gallery, self._store = library, gallery, store
        self._changed, self._check = changed, check

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            ListAdapters: self.list,
            GetAdapter: self.get,
            LocatePreview: self.preview,
            CheckStack: self.check,
            SuggestAdapters: self.suggest,
            CompletePrompt: self.complete,
            ListStacks: self.stacks,
            SaveStack: self.save_stack,
        }

    def list(self, command: ListAdapters) -> AdapterPage:
        """A page of adapters, after another look at the folders if asked."""
        if command.refresh and self._library.refresh():
            self._changed()
        return self._gallery.page(
            command.query,
            family=command.family,
            folder=command.folder,
            limit=command.limit,
            cursor=command.cursor,
        )

    def get(self, command: GetAdapter) -> AdapterDetails:
        """One adapter."""
        return self._gallery.details(command.adapter_id, command.owner)

    def preview(self, command: LocatePreview) -> ImageFile:
        """The picture of an adapter."""
        return self._gallery.preview(command.adapter_id)

    def check(self, command: CheckStack) -> StackReport:
        """What of each adapter fits the model."""
        return self._check(command)

    def suggest(self, command: SuggestAdapters) -> SuggestionList:
        """Adapters that fit the prompt."""
        if command.forget:
            self._gallery.forget(command.owner)
        return self._gallery.suggestions(command.owner, command.prompt, command.model, command.limit)

    def complete(self, command: CompletePrompt) -> CompletionList:
        """What the unfinished word may become."""
        return self._gallery.completions(command.owner, command.prefix, command.limit)

    def stacks(self, command: ListStacks) -> StackList:
        """The owner's stacks."""
        return StackList(stacks=tuple(self._store.adapters.stacks(command.owner)))

    def save_stack(self, command: SaveStack) -> StackList:
        """Keep or delete a stack."""
        if command.delete:
            self._store.adapters.delete_stack(command.owner, command.stack.name)
        else:
            self._store.adapters.save_stack(command.owner, command.stack)
        return StackList(stacks=tuple(self._store.adapters.stacks(command.owner)))
