"""The addresses under which other machines of the network find this one."""

from __future__ import annotations

import ipaddress
import socket


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
