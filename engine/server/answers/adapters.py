"""Answers about adapters: the gallery, previews, match reports, suggestions, named stacks."""

from __future__ import annotations

from engine.errors import SpecError
from engine.protocol.commands import (
    CheckStack,
    Command,
    CompletePrompt,
    GetAdapter,
    ListAdapters,
    ListStacks,
    LocatePreview,
    SaveStack,
    SuggestAdapters,
)
from engine.protocol.frozen import Frozen
from engine.server.dispatch import Answers

_COMMANDS = (
    CheckStack,
    CompletePrompt,
    GetAdapter,
    ListAdapters,
    ListStacks,
    LocatePreview,
    SaveStack,
    SuggestAdapters,
)


class AdapterAnswers:
    """What there is to stack, and what a stack would do."""

    def answers(self) -> Answers:
        """Command type → method."""
        return dict.fromkeys(_COMMANDS, self._unbuilt)

    def _unbuilt(self, command: Command[Frozen]) -> Frozen:
        raise SpecError("not_built_yet", f"The command {command.name} is not built yet.")
