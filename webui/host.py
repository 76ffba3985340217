"""What a tab sees, and what an extension may add to the studio: the web half of the host API, version 1.

Core tabs and extensions go through the same door. A tab is a `TabSpec`; its `build` is called once, inside the page,
with a `TabContext`. An extension's `ui.py` has `register(host)` and calls the methods of `ExtensionHost`. The engine
half lives in `engine/host.py`. docs/extensions.md describes every method; a test keeps it complete.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from engine.client.base import EngineClient
from engine.errors import SpecError
from engine.protocol.commands import LOCAL_OWNER, GetValue, SetValue
from engine.settings import Settings
from webui.components.bridge import PageBridge, Reply
from webui.setting_field import SettingField

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components import Component

__all__ = [
    "HOST_API",
    "UI_METHODS",
    "ExtensionCard",
    "ExtensionHost",
    "HostMethod",
    "PageBridge",
    "PanelSpec",
    "Reply",
    "RouteRequest",
    "RouteSpec",
    "SettingField",
    "SettingGroup",
    "TabContext",
    "TabSpec",
]

HOST_API = 1

log = logging.getLogger("easel.extensions")

CardState = Literal["on", "off", "broken"]
RouteMethod = Literal["GET", "POST", "PUT", "DELETE"]
_ROUTE_PATH = re.compile(r"[a-z0-9{][a-z0-9_{}/.-]{0,99}")


@dataclass(frozen=True)
class HostMethod:
    """One method of the host API. `built` False: the name is fixed, the work is not done yet."""

    name: str
    built: bool
    summary: str


UI_METHODS: tuple[HostMethod, ...] = (
    HostMethod("tab", True, "A tab of its own."),
    HostMethod("panel", True, "A panel inside Text to image; its fields travel in the spec."),
    HostMethod("settings", True, "Values that a person sets on the Settings tab."),
    HostMethod("rest_route", True, "A route below /api/v1/ext/<id>/."),
)


@dataclass(frozen=True)
class TabSpec:
    """A tab: a unique id, the title on the tab, a place (small numbers come first), and what builds it."""

    id: str
    title: str
    order: int
    build: Callable[[TabContext], None]


@dataclass(frozen=True)
class PanelSpec:
    """A panel inside Text to image. `build` returns its fields by name; their values become `spec.ext[extension]`."""

    extension: str
    title: str
    build: Callable[[TabContext], Mapping[str, Component]]


@dataclass(frozen=True)
class SettingGroup:
    """The settings of one extension."""

    extension: str
    title: str
    fields: tuple[SettingField, ...]


@dataclass(frozen=True)
class RouteRequest:
    """What a route of an extension is asked.

    Attributes:
        owner: who asks; put it into commands.
        path: the `{parts}` of the address, by name.
        query: what stands behind the `?`, by name; the last of several.
        body: the JSON that was sent, None where nothing was.
    """

    owner: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


RouteHandler = Callable[["TabContext", RouteRequest], Awaitable[Any]]


@dataclass(frozen=True)
class RouteSpec:
    """A route of an extension. `handler` answers with a value that JSON can hold."""

    extension: str
    path: str
    handler: RouteHandler
    method: RouteMethod

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"/api/v1/ext/{self.extension}/{self.path}"


@dataclass(frozen=True)
class ExtensionCard:
    """What the Extensions tab shows of one extension. `reason` is a sentence, `detail` the place in its code."""

    id: str
    name: str
    version: str = ""
    description: str = ""
    state: CardState = "on"
    reason: str = ""
    detail: str = ""
    adds: tuple[str, ...] = ()


def local_owner(request: gr.Request | None) -> str:
    """Who asks: everybody is the one local person until accounts exist."""
    return LOCAL_OWNER


@dataclass
class TabContext:
    """All that a tab sees.

    Attributes:
        client: the window to the engine; `await context.client.call(Command)`. Only inside event handlers: while the
            page is built the engine may still be starting.
        settings: config.toml.
        page: messages between Python and the page script (set while the studio is built).
        panels, setting_groups, cards: what extensions added, for the tabs that show it.
        owner: from a Gradio request to the owner to put into commands.
    """

    client: EngineClient
    settings: Settings
    page: PageBridge | None = None
    panels: list[PanelSpec] = field(default_factory=list)
    setting_groups: list[SettingGroup] = field(default_factory=list)
    cards: list[ExtensionCard] = field(default_factory=list)
    owner: Callable[[gr.Request | None], str] = local_owner

    def bridge(self) -> PageBridge:
        """The page bridge; it exists while tabs are built and afterwards."""
        if self.page is None:
            raise AssertionError("The page bridge is made by build_studio before any tab is built.")
        return self.page

    async def extension_values(self, extension: str, request: gr.Request | None = None) -> dict[str, Any]:
        """The settings of an extension: what the person saved, over config.toml, over the defaults.

        A value that the extension did not declare so (a line of config.toml, an older version's) is passed over, and
        the terminal says so.
        """
        fields = self._setting_fields(extension)
        values: dict[str, Any] = {name: item.default for name, item in fields.items()}
        saved = await self.client.call(GetValue(owner=self.owner(request), key=_values_key(extension)))
        given = {
            "config.toml": self.settings.extensions.values.get(extension, {}),
            "what was saved": saved.value if isinstance(saved.value, dict) else {},
        }
        for source, found in given.items():
            for name, value in found.items():
                try:
                    values[name] = fields[name].checked(value) if name in fields else value
                except SpecError as error:
                    log.warning("a setting of the extension %s in %s is passed over: %s", extension, source, error)
        return values

    async def save_extension_values(
        self, extension: str, values: Mapping[str, Any], request: gr.Request | None = None
    ) -> None:
        """Keep the settings of an extension for this person.

        Raises:
            SpecError: `setting_unusable`, a value is not what the extension declared; nothing is kept then.
        """
        fields = self._setting_fields(extension)
        kept = {name: fields[name].checked(value) if name in fields else value for name, value in values.items()}
        await self.client.call(SetValue(owner=self.owner(request), key=_values_key(extension), value=kept))

    def _setting_fields(self, extension: str) -> dict[str, SettingField]:
        groups = (group for group in self.setting_groups if group.extension == extension)
        return {item.name: item for group in groups for item in group.fields}


class ExtensionHost:
    """What `register(host)` of one extension gets. Calls only collect; nothing is built before the page is."""

    api = HOST_API

    def __init__(self, extension_id: str, name: str) -> None:
        self.id = extension_id
        self.name = name
        self.tabs: list[TabSpec] = []
        self.panels: list[PanelSpec] = []
        self.setting_groups: list[SettingGroup] = []
        self.routes: list[RouteSpec] = []

    def tab(self, title: str, build: Callable[[TabContext], None], *, order: int = 500) -> None:
        """Add a tab. `build(context)` makes Gradio components, as inside `with gr.Blocks()`."""
        number = len(self.tabs)
        self.tabs.append(TabSpec(f"{self.id}-{number}" if number else self.id, title, order, build))

    def panel(self, title: str, build: Callable[[TabContext], Mapping[str, Component]]) -> None:
        """Add a panel to Text to image. `build(context)` returns its fields by name.

        The fields' values (text, numbers, booleans, choices) travel in `spec.ext[<id>]`, are stored with every picture
        and come back when a picture's settings are restored.
        """
        self.panels.append(PanelSpec(self.id, title, build))

    def settings(self, fields: Sequence[SettingField]) -> None:
        """Declare values for the Settings tab; read them with `await context.extension_values(<id>)`."""
        self.setting_groups.append(SettingGroup(self.id, self.name, tuple(fields)))

    def rest_route(self, path: str, handler: RouteHandler, *, method: RouteMethod = "GET") -> None:
        """Answer at `/api/v1/ext/<id>/<path>`, behind the same gate and login as every other address.

        Args:
            path: small letters, digits, `-`, `_`, `.`, `/`, and `{names}` of parts.
            handler: `await handler(context, request)` with a `RouteRequest`; what it returns is sent as JSON. A
                `StudioError` becomes the answer with its code.

        Raises:
            SpecError: `extension_unusable`, the path or the method cannot be used, or the route is there already.
        """
        path = path.strip("/")
        known = {(route.method, route.path) for route in self.routes}
        if not _ROUTE_PATH.fullmatch(path) or method not in get_args(RouteMethod) or (method, path) in known:
            raise SpecError(
                "extension_unusable",
                f"The route {method} {path[:100]} cannot be used, or is there already.",
                "Use small letters, digits, - _ . / and {names}, and GET, POST, PUT or DELETE.",
            )
        self.routes.append(RouteSpec(self.id, path, handler, method))


def _values_key(extension: str) -> str:
    return f"ext.{extension}"
