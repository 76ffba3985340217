"""ExtensionWork: what extensions do to prompts before they are read and to pictures before they are saved.

A step that fails is left out and told: the job goes on with the prompt or picture that it had.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine.pipeline.step_hooks import StepHook, StepHooks
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec

# Runs an extension's code; ("", "") or a sentence and a place (engine.host.guard).
Guard = Callable[[Callable[[], Any]], tuple[str, str]]
PATIENCE = 60.0


@dataclass(frozen=True)
class PromptPass:
    """`transform(prompt, values) -> prompt`; `values` are those of the extension's panel."""

    extension: str
    transform: Callable[[str, Mapping[str, Any]], str]
    order: int = 500


@dataclass(frozen=True)
class PostProcessor:
    """`process(image, spec) -> image`, an RGB Pillow image of any size."""

    extension: str
    process: Callable[[Image.Image, GenerationSpec], Image.Image]
    order: int = 500


class ExtensionWork:
    """Passes and processors in their order (small numbers first).

    Args:
        guard: runs code of extensions.
        awaited: extensions will be loaded: prompts wait for `settle`, up to a minute.

    Attributes:
        step_hooks: what they do around each UNet call.
    """

    def __init__(self, guard: Guard, *, awaited: bool = False) -> None:
        self._guard = guard
        self._passes: list[PromptPass] = []
        self._processors: list[PostProcessor] = []
        self.step_hooks = StepHooks(guard, ())
        self._settled = threading.Event()
        if not awaited:
            self._settled.set()

    def settle(
        self,
        passes: Iterable[PromptPass] = (),
        processors: Iterable[PostProcessor] = (),
        hooks: Iterable[StepHook] = (),
    ) -> None:
        """These are all."""
        self.step_hooks = StepHooks(self._guard, hooks)
        self._passes = sorted(passes, key=lambda each: each.order)
        self._processors = sorted(processors, key=lambda each: each.order)
        self._settled.set()

    def prompt(self, prompt: str, ext: Mapping[str, Any], notices: list[Notice]) -> str:
        """The prompt after all passes."""
        self._settled.wait(PATIENCE)
        for each in self._passes:
            values = ext.get(each.extension)
            made: list[Any] = []
            given = prompt

            def act(each: PromptPass = each, given: str = given, values: Any = values, made: list[Any] = made) -> None:
                made.append(each.transform(given, values if isinstance(values, Mapping) else {}))

            reason, place = self._guard(act)
            if not reason and not isinstance(made[0], str):
                reason = "Its prompt pass gave back no text."
            if reason:
                notices.append(_failed(each.extension, reason, place, "the prompt was left as it was"))
            elif made[0] != prompt:
                prompt = made[0]
                notices.append(
                    Notice(code="extension_applied", message=f"The extension {each.extension} changed the prompt.")
                )
        return prompt

    def picture(self, image: Image.Image, spec: GenerationSpec, tell: Callable[[Notice], None]) -> Image.Image:
        """The picture after all processors."""
        for each in self._processors:
            made: list[Any] = []
            given = image

            def act(each: PostProcessor = each, given: Image.Image = given, made: list[Any] = made) -> None:
                # A copy: one that fails halfway has changed nothing.
                made.append(each.process(given.copy(), spec))

            reason, place = self._guard(act)
            if not reason and not isinstance(made[0], Image.Image):
                reason = "Its post-processor gave back no picture."
            if reason:
                tell(_failed(each.extension, reason, place, "the picture was left as it was"))
                continue
            image = made[0].convert("RGB")
            tell(Notice(code="extension_applied", message=f"The extension {each.extension} worked on the picture."))
        return image


def _failed(extension: str, reason: str, place: str, then: str) -> Notice:
    where = f" ({place})" if place else ""
    text = f"The extension {extension} failed, so {then}: {reason[:300]}{where}"
    return Notice(code="extension_failed", message=text, level="warning")
