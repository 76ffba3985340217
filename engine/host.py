"""What the engine half of an extension may add: the whole surface of host API 1, so that its names are settled now.

An extension's `engine_side.py` has `register(host)` and gets an `EngineHost`, which only collects; what was collected
counts when `register` has come back whole. A method that is not built yet says so with a `SpecError` of code
`not_built_yet`. docs/extensions.md lists each method with what it does; a test keeps that list complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from engine.errors import SpecError, StudioError
from engine.extension_folder import place_of
from engine.extension_kinds import added_kind
from engine.library.added_kinds import AddedKind

HOST_API = 1


@dataclass(frozen=True)
class EngineHostMethod:
    """One method of the engine half. `built` False: the name is fixed, the work is not done yet."""

    name: str
    built: bool
    summary: str


ENGINE_METHODS: tuple[EngineHostMethod, ...] = (
    EngineHostMethod("prompt_pass", False, "Change a prompt before it is read."),
    EngineHostMethod("step_hook", False, "Act before and after each UNet call."),
    EngineHostMethod("image_post_processor", False, "Change a picture before it is saved."),
    EngineHostMethod("sampler", False, "A row of the sampler table."),
    EngineHostMethod("preprocessor", False, "A ControlNet preprocessor."),
    EngineHostMethod("adapter_kind", True, "A kind of adapter: detect, read, delta, nbytes."),
    EngineHostMethod("merge_method", False, "A merge method: validate, merge_tensor."),
    EngineHostMethod("metadata_reader", False, "Read another program's picture metadata."),
    EngineHostMethod("setting", False, "The value of one of the extension's settings."),
)


class EngineHost:
    """What `register(host)` in `engine_side.py` gets.

    Args:
        extension_id: whose host this is; values of its panel are `spec.ext[extension_id]`.
    """

    api = HOST_API

    def __init__(self, extension_id: str) -> None:
        self.id = extension_id
        self.adapter_kinds: list[AddedKind] = []

    @property
    def adds(self) -> tuple[str, ...]:
        """What it adds, in words for its card."""
        return tuple(f"adapters of the kind {kind.title}" for kind in self.adapter_kinds)

    def prompt_pass(self, transform: Callable[..., Any], *, order: int = 500) -> NoReturn:
        """Not yet: `transform(prompt, values) -> prompt`, run at admission, in order."""
        raise _not_built_yet("prompt_pass")

    def step_hook(
        self, *, before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None, order: int = 500
    ) -> NoReturn:
        """Not yet: `before(rows)` sees what goes into the UNet call, `after(rows, answers)` what comes out."""
        raise _not_built_yet("step_hook")

    def image_post_processor(self, process: Callable[..., Any], *, order: int = 500) -> NoReturn:
        """Not yet: `process(image, spec) -> image`, between decoding and saving."""
        raise _not_built_yet("image_post_processor")

    def sampler(self, view: Any, make: Callable[..., Any]) -> NoReturn:
        """Not yet: a `SamplerView` and `make(schedule, base_config, seed) -> scheduler`."""
        raise _not_built_yet("sampler")

    def preprocessor(self, name: str, run: Callable[..., Any]) -> NoReturn:
        """Not yet: `run(image, options) -> image`, a hint for a ControlNet unit."""
        raise _not_built_yet("preprocessor")

    def adapter_kind(self, kind: Any) -> None:
        """Files of this kind are found, reported, stacked, compared and merged as Easel's own are.

        Args:
            kind: an object (or module) with `title`, `names` (the ends of its tensors' names), `detect(dims) -> bool`
                and `read(parts, target) -> ModulePatch`; `engine.adapters.kinds.base.Patch` is a base for patches, and
                `engine.adapters.kinds.lora` an example. Own ends only: those of Easel's kinds are taken.

        Raises:
            SpecError: `extension_unusable`, something of it is missing or taken.
        """
        self.adapter_kinds.append(added_kind(self.id, kind, self.adapter_kinds))

    def merge_method(self, method: Any) -> NoReturn:
        """Not yet: an object with the verbs `validate`, `merge_tensor`."""
        raise _not_built_yet("merge_method")

    def metadata_reader(self, read: Callable[..., Any]) -> NoReturn:
        """Not yet: `read(chunks) -> Recipe | None`; None where the picture is not of that program."""
        raise _not_built_yet("metadata_reader")

    def setting(self, name: str) -> NoReturn:
        """Not yet: the value that the person gave to a setting of this extension."""
        raise _not_built_yet("setting")


def _not_built_yet(method: str) -> SpecError:
    return SpecError(
        "not_built_yet",
        f"host.{method} is part of host API {HOST_API} but is not built yet in this version of Easel.",
        "Leave the call out, or guard it with SpecError; docs/extensions.md says what works.",
    )


def guard(action: Callable[[], Any]) -> tuple[str, str]:
    """Run an extension's own code. Returns ("", "") or a sentence and the place in the extension's code.

    This is the extension guard: the one place of the engine where any exception of an extension is caught.
    """
    try:
        action()
    except StudioError as error:
        return str(error), place_of(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the extension guard
        return f"{type(error).__name__}: {error}".rstrip(": ") + ".", place_of(error)
    return "", ""
