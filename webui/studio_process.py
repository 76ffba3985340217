"""StudioProcess: the life of the web process, from the open port to the clean stop.

Nothing but uvicorn is imported before the port answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, StudioError
from webui.address import EVERY_ADDRESS, Address, address_in
from webui.gate import Gate
from webui.login import Login, load_secret, new_password
from webui.studio_server import StudioServer
from webui.warming import STATIC_DIR, Entrance, Health

if TYPE_CHECKING:
    from fastapi import FastAPI

    from engine.client.data_lock import DataLock
    from engine.client.supervisor import EngineSupervisor
    from engine.protocol.commands import EngineStatus
    from engine.settings import Settings
    from webui.live import LiveHub

ROOT = Path(__file__).resolve().parent.parent
log = logging.getLogger("easel.web")


class StudioProcess:
    """Runs a studio until it is told to stop.

    Args:
        options: the command line, see `webui.__main__.parse`.
        started: `time.monotonic()` at the start of the process.
    """

    def __init__(self, options: argparse.Namespace, started: float) -> None:
        self._options = options
        self._started = started
        self._health = Health()
        self._entrance = Entrance(self._health)
        self._settings: Settings | None = None
        self._engine_said = False
        self._hub: LiveHub | None = None
        raw_host, raw_port = address_in(options.config or ROOT / "config.toml")
        host = options.host or ("0.0.0.0" if options.listen else raw_host)
        self._address = Address(host, options.port or raw_port)

    def run(self) -> int:
        """The whole life; returns the exit status.

        Raises:
            StudioError: it cannot start, or the engine's and the page's start failed.
        """
        logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
        if self._address.open_to_others:
            # A password stands before everything, the warming page too, so the settings have to be read first.
            self._read_settings()
        with self._address.listen() as listener:
            asyncio.run(self._serve(listener))
        return 0

    # --- the steps of the start ------------------------------------------------------------------------------------

    async def _serve(self, listener: socket.socket) -> None:
        gate = Gate(self._entrance, self._known_hosts(), self._login())
        server = StudioServer(gate)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        studio = asyncio.create_task(self._studio(server.stopping, gate))
        try:
            await asyncio.wait({serving, studio}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            server.stopping.set()
            if self._hub is not None:
                self._hub.close()
            await serving
            await studio

    async def _studio(self, stopping: asyncio.Event, gate: Gate) -> None:
        """Everything behind the port, in order; undone in reverse when `stopping` is set."""
        async with contextlib.AsyncExitStack() as stack:
            settings = await asyncio.to_thread(self._read_settings)
            gate.add_hosts(settings.ui.hosts)
            from webui.app import prepare_environment

            prepare_environment(settings.state_dir)
            stack.callback((await asyncio.to_thread(self._lock, settings)).release)
            supervisor = self._supervisor(settings)
            stack.push_async_callback(supervisor.stop)
            await supervisor.start()
            self._health.engine = lambda: supervisor.status().model_dump()
            hub = self._make_hub(supervisor)
            following = asyncio.create_task(hub.run(), name="live-hub")
            stack.push_async_callback(_end, following)
            page = asyncio.create_task(self._page(settings, supervisor, hub))
            stack.push_async_callback(_end, page)
            told = asyncio.create_task(stopping.wait())
            await asyncio.wait({page, told}, return_when=asyncio.FIRST_COMPLETED)
            if page.done() and not told.done():
                app = page.result()
                await stack.enter_async_context(app.router.lifespan_context(app))
                self._open(settings, app)
            await told
            hub.close()

    async def _page(self, settings: Settings, supervisor: EngineSupervisor, hub: LiveHub) -> FastAPI:
        """Import Gradio and build the page, in a thread."""
        return await asyncio.to_thread(self._build_page, settings, supervisor, hub)

    def _build_page(self, settings: Settings, supervisor: EngineSupervisor, hub: LiveHub) -> FastAPI:
        self._health.message = "Loading Gradio, which draws the page"
        from webui.app import create_app, import_gradio, mount_page
        from webui.context import Discretion, WebContext, private_folders

        import_gradio()
        self._health.message = "Building the tabs"
        discretion = Discretion(private_folders(settings))
        self._health.clean = discretion.clean
        context = WebContext(supervisor.client, settings, hub, self._health, discretion)
        app = create_app(context)
        mount_page(app, context, safe_mode=self._options.safe_mode)
        return app

    def _open(self, settings: Settings, app: FastAPI) -> None:
        """From here on the page answers with tabs."""
        self._entrance.app = app
        self._health.page_ready = True
        self._say(f"Easel is ready at {self._address.url}")
        for address in self._address.others():
            self._say(f"Others on the network open {address}")
        log.info("page ready after %.2f s", time.monotonic() - self._started)
        if settings.ui.open_browser and not self._options.no_browser:
            import threading
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(self._address.url,), daemon=True).start()

    # --- parts -----------------------------------------------------------------------------------------------------

    def _read_settings(self) -> Settings:
        if self._settings is None:
            from engine.settings import load_settings

            settings = load_settings(self._options.config, data=self._options.data)
            # What the command line said is in force too.
            said = {"host": self._address.host, "port": self._address.port}
            if self._options.no_browser:
                said["open_browser"] = False
            self._settings = settings.model_copy(update={"ui": settings.ui.model_copy(update=said)})
        return self._settings

    def _known_hosts(self) -> tuple[str, ...]:
        host = self._address.host
        own = () if host in EVERY_ADDRESS else (host, self._options.host or "")
        return (*own, *(self._settings.ui.hosts if self._settings is not None else ()))

    def _login(self) -> Login | None:
        """The login where others can reach the studio; None on loopback.

        Raises:
            ConfigError: `listen_without_password`.
        """
        if not self._address.open_to_others:
            return None
        settings = self._read_settings()
        password = settings.ui.password
        if not password and not self._options.listen:
            raise ConfigError(
                "listen_without_password",
                f"A studio that listens on {self._address.host} is open to others, and no password is set.",
                "Start it with --listen, or set [ui] password in config.toml.",
            )
        if not password:
            password = new_password()
            self._say(f"Password for this studio (new at every start; set [ui] password to keep one): {password}")
        page = (STATIC_DIR / "login.html").read_text(encoding="utf-8")
        return Login(password, load_secret(settings.state_dir / "session.key"), page)

    def _lock(self, settings: Settings) -> DataLock:
        from engine.client.data_lock import DataLock

        lock = DataLock(settings.state_dir)
        lock.acquire(self._address.url)
        return lock

    def _supervisor(self, settings: Settings) -> EngineSupervisor:
        from engine.client.supervisor import EngineSupervisor

        return EngineSupervisor(settings, config=self._options.config, safe_mode=self._options.safe_mode)

    def _make_hub(self, supervisor: EngineSupervisor) -> LiveHub:
        from webui.live import LiveHub

        self._hub = LiveHub(supervisor.client, self._on_engine_state)
        return self._hub

    def _on_engine_state(self, status: EngineStatus) -> None:
        if status.state == "ready" and not self._engine_said:
            self._engine_said = True
            self._say("Engine is ready")

    def _say(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await _quietly(task)


async def _quietly(task: Awaitable[Any]) -> None:
    try:
        await task
    except StudioError:
        # Said by whoever waited for it.
        return
