"""Answers about ControlNets: what there is, and the hint that a unit would have."""

from __future__ import annotations

from collections.abc import Callable

from engine.control.annotators import AnnotatorFiles
from engine.control.preprocessors.base import Preprocessor
from engine.control.preprocessors.table import preprocessors as all_preprocessors
from engine.jobs.hint_checks import check_preview
from engine.library.control_types import CONTROL_TYPES
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.protocol.commands import ListControls, PreviewHint
from engine.protocol.controls import (
    ControlCatalogue,
    ControlNetView,
    HintView,
    ParameterView,
    PreprocessorView,
)
from engine.server.dispatch import Answers


class ControlAnswers:
    """What a unit can be made of. `preview` makes or finds a hint."""

    def __init__(
        self,
        shelf: ControlShelf,
        annotators: AnnotatorFiles,
        library: Library,
        preview: Callable[[PreviewHint], HintView],
    ) -> None:
        self._shelf, self._annotators, self._library, self._preview = shelf, annotators, library, preview

    def answers(self) -> Answers:
        """Command type → method."""
        return {ListControls: self.list, PreviewHint: self.hint}

    def list(self, command: ListControls) -> ControlCatalogue:
        """ControlNets, types, preprocessors."""
        model = self._library.find_model(command.model) if command.model is not None else None
        preprocessors = tuple(_view(each, self._annotators.missing(each)) for each in all_preprocessors())
        return ControlCatalogue(
            controlnets=tuple(_with_preprocessor(view, preprocessors) for view in self._shelf.views(model)),
            types=CONTROL_TYPES,
            preprocessors=preprocessors,
        )

    def hint(self, command: PreviewHint) -> HintView:
        """The hint of a unit, whose numbers are refused as a job's are."""
        check_preview(command)
        return self._preview(command)


def _view(what: Preprocessor, problem: str) -> PreprocessorView:
    parameters = tuple(
        ParameterView(
            name=each.name, title=each.title, low=each.low, high=each.high, default=each.default, step=each.step
        )
        for each in what.parameters
    )
    return PreprocessorView(
        id=what.id,
        title=what.title,
        types=what.types,
        parameters=parameters,
        files=tuple(file.name for file in what.files),
        problem=problem,
    )


def _with_preprocessor(view: ControlNetView, preprocessors: tuple[PreprocessorView, ...]) -> ControlNetView:
    """The view with the first preprocessor that is made for its type and can run here."""
    fitting = (each.id for each in preprocessors if view.type in each.types[:1] and not each.problem)
    return view.model_copy(update={"preprocessor": next(fitting, "none")})
