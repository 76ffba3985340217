"""Dispatch: from a command to whoever answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from anyio import to_thread

from engine.errors import SpecError
from engine.protocol.commands import Command
from engine.protocol.frozen import Frozen

Answer = Callable[[Any], Frozen]
Answers = Mapping[type[Command[Any]], Answer]


class Dispatch:
    """Runs answers on threads, because they read files and the database; two answers for one command are an error."""

    def __init__(self, tables: Iterable[Answers]) -> None:
        self._answers: dict[type[Command[Any]], Answer] = {}
        for table in tables:
            for command, answer in table.items():
                if command in self._answers:
                    raise AssertionError(f"{command.__name__} has two answers")
                self._answers[command] = answer

    @property
    def commands(self) -> set[type[Command[Any]]]:
        """The commands that have an answer."""
        return set(self._answers)

    async def call(self, command: Command[Any]) -> Frozen:
        """The answer. Raises StudioError."""
        answer = self._answers.get(type(command))
        if answer is None:
            raise SpecError("not_built_yet", f"The command {command.name} is not built yet.", "")
        return await to_thread.run_sync(answer, command)
