"""Tests without a network: any attempt to use one is an error at the place where it happens."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest


class NetworkUsed(Exception):
    """Something asked for a socket or a name. Not an OSError, so that nothing takes it for a bad connection."""


def block_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse sockets and look-ups of names until the test ends."""

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise NetworkUsed(f"the network was used: {arguments[:2]}")

    class Refused(socket.socket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            refuse(*arguments)

    for name in ("create_connection", "getaddrinfo", "gethostbyname", "socketpair"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket, "socket", Refused)
