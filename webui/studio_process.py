"""StudioProcess: the life of the web process, from the open port to the clean stop.

Nothing but uvicorn is imported before the port answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
import time
import tomllib
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from engine import platform
from engine.errors import ConfigError, SetupError, StudioError
from webui.addresses import lan_addresses
from webui.gate import Gate
from webui.login import Login, load_secret, new_password
from webui.warming import STATIC_DIR, Entrance, Health

if TYPE_CHECKING:
    from fastapi import FastAPI

    from engine.client.data_lock import DataLock
    from engine.client.supervisor import EngineSupervisor
    from engine.protocol.commands import EngineStatus
    from engine.settings import Settings
    from webui.live import LiveHub

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
# How long streams and requests may go on after Ctrl+C; the engine's own stop comes after it.
_GRACE_SECONDS = 3
_BACKLOG = 256
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
        raw_host, raw_port = _address_in(options.config or ROOT / "config.toml")
        self._host = options.host or ("0.0.0.0" if options.listen else raw_host)
        self._port = options.port or raw_port
        self._open_to_others = not _is_loopback(self._host)

    def run(self) -> int:
        """The whole life; returns the exit status.

        Raises:
            StudioError: it cannot start, or the engine's and the page's start failed.
        """
        logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
        if self._open_to_others:
            # A password stands before everything, the warming page too, so the settings have to be read first.
            self._read_settings()
        with _listening_socket(self._host, self._port) as listener:
            asyncio.run(self._serve(listener))
        return 0

    # --- the steps of the start ------------------------------------------------------------------------------------

    async def _serve(self, listener: socket.socket) -> None:
        self._host, self._port = listener.getsockname()[:2]
        gate = Gate(self._entrance, self._known_hosts(), self._login())
        config = uvicorn.Config(
            gate,
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ws_max_size=65536,
            backlog=_BACKLOG,
        )
        server = StudioServer(config)
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
        self._say(f"Easel is ready at {self.url}")
        for address in self._other_addresses():
            self._say(f"Others on the network open {address}")
        log.info("page ready after %.2f s", time.monotonic() - self._started)
        if settings.ui.open_browser and not self._options.no_browser:
            import threading
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()

    # --- parts -----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self._port}"

    def _other_addresses(self) -> list[str]:
        """Where other machines find a studio that listens on every address; [] for one address or loopback."""
        if self._host not in ("0.0.0.0", "::"):
            return []
        return [f"http://{address}:{self._port}" for address in lan_addresses()]

    def _read_settings(self) -> Settings:
        if self._settings is None:
            from engine.settings import load_settings

            settings = load_settings(self._options.config, data=self._options.data)
            # What the command line said is in force too.
            said = {"host": self._host, "port": self._port}
            if self._options.no_browser:
                said["open_browser"] = False
            self._settings = settings.model_copy(update={"ui": settings.ui.model_copy(update=said)})
        return self._settings

    def _known_hosts(self) -> tuple[str, ...]:
        own = () if self._host in ("0.0.0.0", "::") else (self._host, self._options.host or "")
        return (*own, *(self._settings.ui.hosts if self._settings is not None else ()))

    def _login(self) -> Login | None:
        """The login where others can reach the studio; None on loopback.

        Raises:
            ConfigError: `listen_without_password`.
        """
        if not self._open_to_others:
            return None
        settings = self._read_settings()
        password = settings.ui.password
        if not password and not self._options.listen:
            raise ConfigError(
                "listen_without_password",
                f"Others on the network could use a studio that listens on {self._host}, and no password is set.",
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
        lock.acquire(self.url)
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


class StudioServer(uvicorn.Server):
    """uvicorn that leaves the end of the process to us: it stops on the first signal and does not raise it again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGINT and SIGTERM ask for a stop; a second one does not wait for open requests."""
        names = ("SIGINT", "SIGTERM", "SIGBREAK")
        before = {s: signal.signal(s, self._stop) for n in names if (s := getattr(signal, n, None)) is not None}
        try:
            yield
        finally:
            # Not put back before the engine has ended: a second Ctrl+C must not leave it behind.
            del before

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._loop.call_soon_threadsafe(self.stopping.set)


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


def _listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        SetupError: `port_taken`.
        ConfigError: `config_bad_value`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Naming the protocol makes asyncio switch Nagle's delay off on what is accepted (40 ms for every live message).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if not platform.is_windows():
        # On Windows this option would let two programs share the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OverflowError as error:
        listener.close()
        raise ConfigError("config_bad_value", f"{port} is not a port.", "Choose one from 1 to 65535.") from error
    except socket.gaierror as error:
        listener.close()
        raise ConfigError("config_bad_value", f"{host} is not an address of this machine.", "Check --host.") from error
    except OSError as error:
        listener.close()
        raise SetupError(
            "port_taken",
            f"Port {port} on {host} cannot be used: {error.strerror or error}.",
            "Another program may use it; choose another with --port.",
        ) from error
    listener.setblocking(False)
    return listener


def _address_in(config: Path) -> tuple[str, int]:
    """Host and port out of config.toml without checking the rest; the defaults where it cannot be read."""
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8")).get("ui", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        # The full reading of the settings says what is wrong.
        return DEFAULT_HOST, DEFAULT_PORT
    host, port = (table.get("host"), table.get("port")) if isinstance(table, dict) else (None, None)
    return (
        host if isinstance(host, str) and host else DEFAULT_HOST,
        port if isinstance(port, int) and 0 < port < 65536 else DEFAULT_PORT,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
