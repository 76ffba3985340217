"""/static: Easel's own page files. A name that is not ours goes on to Gradio, whose fonts lie under the same path."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

PREFIX = "/static/"


class OwnFiles(BaseRoute):
    """Matches `/static/<name>` where the file exists in `folder`, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See Starlette's `BaseRoute`."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or self._find(scope["path"]) is None:
            return Match.NONE, {}
        return Match.FULL, {}

    def url_path_for(self, name: str, /, **path_params: object) -> object:  # type: ignore[override]
        """These files have no route names."""
        raise NoMatchFound(name, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file. It may change with the next version, so browsers ask each time whether it did."""
        path = self._find(scope["path"])
        assert path is not None
        kind = "text/javascript" if path.suffix == ".js" else None
        await FileResponse(path, media_type=kind, headers={"Cache-Control": "no-cache"})(scope, receive, send)

    def _find(self, path: str) -> Path | None:
        if not path.startswith(PREFIX) or "\x00" in path:
            return None
        found = (self._folder / path[len(PREFIX) :]).resolve()
        return found if found.is_relative_to(self._folder) and found.is_file() else None
