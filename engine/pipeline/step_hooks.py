"""StepHooks: what extensions do before and after each UNet call.

Importing this imports no torch: the hooks are collected while the engine starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

if TYPE_CHECKING:
    import torch

    from engine.pipeline.context import GenerationContext, Rows

# Runs an extension's code; ("", "") or a sentence and a place (engine.host.guard).
Guard = Callable[[Callable[[], Any]], tuple[str, str]]


@dataclass(frozen=True)
class StepPicture:
    """One picture of a UNet call.

    Attributes:
        spec: its spec; `spec.ext["<id>"]` are the values of an extension's panel.
        step, steps: entries of the schedule that are done, and all.
        rows: which rows of the call are its own (with guidance two: the prompt's and the negative prompt's).
    """

    spec: GenerationSpec
    step: int
    steps: int
    rows: slice


@dataclass(frozen=True)
class StepRows:
    """What goes into a UNet call.

    Attributes:
        latents: (rows, channels, height ÷ 8, width ÷ 8), scaled as the UNet takes them.
        timesteps: (rows,), float32.
        pictures: whose rows they are.
    """

    latents: torch.Tensor
    timesteps: torch.Tensor
    pictures: tuple[StepPicture, ...]


@dataclass(frozen=True)
class StepHook:
    """`before(rows) -> latents | None`, `after(rows, answers) -> answers | None`; None leaves them as they are.

    Answers are the UNet's, with the shape of `rows.latents`.
    """

    extension: str
    before: Callable[[StepRows], torch.Tensor | None] | None = None
    after: Callable[[StepRows, torch.Tensor], torch.Tensor | None] | None = None
    order: int = 500


class StepHooks:
    """All hooks in their order (small numbers first). One that fails changes nothing, and is told.

    Args:
        guard: runs code of extensions.
    """

    def __init__(self, guard: Guard, hooks: Iterable[StepHook]) -> None:
        self._guard = guard
        self._hooks = sorted(hooks, key=lambda hook: hook.order)
        self._notices: list[Notice] = []

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def rows(
        self,
        contexts: Sequence[GenerationContext],
        asked: Sequence[Rows],
        latents: torch.Tensor,
        timesteps: torch.Tensor,
    ) -> StepRows:
        """What the hooks see of a call for these contexts."""
        pictures: list[StepPicture] = []
        place = 0
        for context, rows in zip(contexts, asked, strict=True):
            own = slice(place, place + rows.count)
            pictures.append(StepPicture(context.spec, context.step, context.steps, own))
            place = own.stop
        return StepRows(latents, timesteps, tuple(pictures))

    def entering(self, rows: StepRows) -> StepRows:
        """The rows after every `before`."""
        for hook in self._hooks:
            if hook.before is not None:
                # Copies, so that a hook that writes into them and then fails has changed nothing.
                shown = replace(rows, latents=rows.latents.clone())
                rows = replace(rows, latents=self._run(hook, hook.before, rows.latents, shown))
        return rows

    def leaving(self, rows: StepRows, answers: torch.Tensor) -> torch.Tensor:
        """The answers after every `after`."""
        for hook in self._hooks:
            if hook.after is not None:
                answers = self._run(hook, hook.after, answers, rows, answers.clone())
        return answers

    def take_notices(self) -> list[Notice]:
        """What failed since this was last asked."""
        taken, self._notices = self._notices, []
        return taken

    def _run(self, hook: StepHook, act: Callable[..., Any], given: torch.Tensor, *arguments: Any) -> torch.Tensor:
        made: list[Any] = []
        reason, place = self._guard(lambda: made.append(act(*arguments)))
        if not reason and made[0] is None:
            return given
        if not reason and getattr(made[0], "shape", None) != given.shape:
            reason = "its step hook gave back another shape"
        if reason:
            where = f" ({place})" if place else ""
            text = f"The extension {hook.extension} failed in a step and changed nothing there: {reason[:300]}{where}"
            self._notices.append(Notice(code="extension_failed", message=text, level="warning"))
            return given
        result: torch.Tensor = made[0].to(given)
        return result
