"""Answers about the library: models, files, samplers, styles."""

from __future__ import annotations

from collections.abc import Callable

from engine.library.library import Library
from engine.library.styles import StyleFile
from engine.protocol.commands import (
    Done,
    FileList,
    ListFiles,
    ListModels,
    ListSamplers,
    ListStyles,
    ModelList,
    SamplerList,
    SaveModelDefaults,
    SaveStyle,
    StyleList,
)
from engine.protocol.events import Event, LibraryChanged
from engine.sampling.table import sampler_views
from engine.server.dispatch import Answers


class LibraryAnswers:
    """What can be chosen."""

    def __init__(self, library: Library, styles: StyleFile, publish: Callable[[Event], None]) -> None:
        self._library, self._styles, self._publish = library, styles, publish

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            ListModels: self.models,
            ListFiles: self.files,
            ListSamplers: self.samplers,
            SaveModelDefaults: self.save_defaults,
            ListStyles: self.styles,
            SaveStyle: self.save_style,
        }

    def models(self, command: ListModels) -> ModelList:
        """Base models, after another look at the folders if asked."""
        if command.refresh and self._library.refresh():
            self._tell("The model folders changed.")
        return ModelList(
            models=tuple(entry.view for entry in self._library.models()),
            default=self._library.default_model(),
            folders=tuple(str(folder) for folder in self._library.model_folders()),
        )

    def files(self, command: ListFiles) -> FileList:
        """Files of one kind."""
        return FileList(files=tuple(self._library.files(command.kind)))

    def samplers(self, command: ListSamplers) -> SamplerList:
        """The sampler table."""
        return SamplerList(samplers=tuple(sampler_views()))

    def save_defaults(self, command: SaveModelDefaults) -> Done:
        """A model's own defaults."""
        self._library.save_defaults(command.model, command.defaults)
        self._tell(f"Defaults of {command.model} were saved.")
        return Done(count=1)

    def styles(self, command: ListStyles) -> StyleList:
        """styles.csv."""
        return StyleList(styles=tuple(self._styles.load()))

    def save_style(self, command: SaveStyle) -> StyleList:
        """Add, replace or delete a style."""
        if command.delete:
            self._styles.delete(command.style.name)
        else:
            self._styles.save(command.style)
        return StyleList(styles=tuple(self._styles.load()))

    def _tell(self, message: str) -> None:
        self._publish(LibraryChanged(models=len(self._library.models()), message=message))
