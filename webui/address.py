"""Where a studio listens: its host and port, the socket on them, and how browsers reach it."""

from __future__ import annotations

import ipaddress
import socket
import tomllib
from pathlib import Path

from engine import platform
from engine.errors import ConfigError, SetupError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
EVERY_ADDRESS = ("0.0.0.0", "::")
BACKLOG = 256


class Address:
    """The studio's address.

    Args:
        host: a name or number; port: 0 takes a free one. `listen` puts what was bound in their place.

    Attributes:
        open_to_others: whether other machines can reach it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.open_to_others = not _is_loopback(host)

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    def others(self) -> list[str]:
        """Where other machines find a studio that listens on every address; [] for one address or loopback."""
        if self.host not in EVERY_ADDRESS:
            return []
        return [f"http://{address}:{self.port}" for address in lan_addresses()]

    def listen(self) -> socket.socket:
        """A socket bound to it.

        Raises:
            SetupError: `port_taken`.
            ConfigError: `config_bad_value`.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # Naming the protocol makes asyncio switch Nagle's delay off on what is accepted (40 ms for every live message).
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if not platform.is_windows():
            # On Windows this option would let two programs share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
        except OverflowError as error:
            listener.close()
            said = f"{self.port} is not a port."
            raise ConfigError("config_bad_value", said, "Choose one from 1 to 65535.") from error
        except socket.gaierror as error:
            listener.close()
            said = f"{self.host} is not an address of this machine."
            raise ConfigError("config_bad_value", said, "Check --host.") from error
        except OSError as error:
            listener.close()
            raise SetupError(
                "port_taken",
                f"Port {self.port} on {self.host} cannot be used: {error.strerror or error}.",
                "Another program may use it; choose another with --port.",
            ) from error
        listener.setblocking(False)
        self.host, self.port = listener.getsockname()[:2]
        return listener


def address_in(config: Path) -> tuple[str, int]:
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


def lan_addresses() -> list[str]:
    """IPv4 addresses of this machine's connected network cards, without loopback and link-local ones."""
    import psutil

    connected = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        if name in connected
        for address in addresses
        if address.family == socket.AF_INET
    ]
    return [text for text in found if not _only_here(ipaddress.ip_address(text))]


def _only_here(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified
