"""/static: Easel's own page files. A name that is not ours goes on to Gradio, whose fonts lie under the same path.

One more name leads to the Plotly that Gradio brings along for its own plots: `/static/gradio-plotly.js`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound, Route
from starlette.types import Receive, Scope, Send

PREFIX = "/static/"
PLOTLY = "/static/gradio-plotly.js"
# Where Gradio keeps the modules of its page, in its package.
GRADIO_ASSETS = "templates/frontend/assets"


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


def gradio_plotly() -> Route:
    """`/static/gradio-plotly.js`: leads to the module of Gradio's page that holds Plotly; 404 where there is none.

    Its name has a hash in it, so it is looked up; the module puts `Plotly` into the window when it is imported. Another
    version of Gradio has another hash, so browsers ask each time.
    """
    # Not imported: that takes seconds, and the page answers before.
    found = find_spec("gradio")
    package = Path(found.origin).parent if found is not None and found.origin is not None else Path()
    name = next((file.name for file in sorted((package / GRADIO_ASSETS).glob("PlotlyPlot-*.js"))), None)

    def lead_on(request: Request) -> Response:
        if name is None:
            return Response(status_code=404)
        return RedirectResponse(f"/assets/{name}", headers={"Cache-Control": "no-cache"})

    return Route(PLOTLY, lead_on, include_in_schema=False)
