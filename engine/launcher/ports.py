"""The port of the studio: the one asked for, or the next free one."""

from __future__ import annotations

from engine import platform
from engine.errors import SetupError

_TRIED = 50


def choose_port(host: str, wanted: int) -> tuple[int, str]:
    """A free port from `wanted` upwards, and a sentence if it is another one ("" otherwise).

    Raises:
        SetupError: `port_taken` where none of the next fifty is free, or the address is not this machine's.
    """
    for port in range(wanted, min(wanted + _TRIED, 65536)):
        with platform.claimed_port(host, port) as free:
            if free:
                said = "" if port == wanted else f"Port {wanted} is taken by another program, so Easel uses {port}."
                return port, said
    raise SetupError(
        "port_taken",
        f"Easel cannot listen on {host}: the ports from {wanted} on are taken, or the address is not this machine's.",
        "Name a free one with --port.",
    )
