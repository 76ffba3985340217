"""Sizes: bytes of loaded things, and how they are written for people."""

from __future__ import annotations

from typing import Any

GIB = 1024**3
MIB = 1024**2


def module_nbytes(module: Any) -> int:
    """Bytes of a module's weights and buffers; what several of them share counts once.

    0 for anything that has no parameters (a tokenizer, a config), and for weights without memory (meta device).
    """
    if not hasattr(module, "parameters"):
        return 0
    sizes = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for tensor in (*module.parameters(), *module.buffers())
        if tensor.device.type != "meta"
    }
    return sum(sizes.values())


def in_words(nbytes: float) -> str:
    """Such as "3.4 GB", "120 MB" or "under 1 MB", as on the page; a GB has 1024³ bytes."""
    if abs(nbytes) >= 0.1 * GIB:
        return f"{nbytes / GIB:.1f} GB"
    if 0 < abs(nbytes) < MIB:
        return "under 1 MB"
    return f"{nbytes / MIB:.0f} MB"
