"""The environment in which the engine computes, set before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping

from engine import platform


def engine_environment(base: Mapping[str, str], *, threads: int = 0) -> dict[str, str]:
    """`base` with the thread settings of the engine added; what the user has set already stays.

    Waiting threads sleep instead of spinning, so that an idle or waiting engine leaves the processor to the page and to
    other programs. One thread per physical core: hyper-threads share the arithmetic units and only get in the way.

    Args:
        threads: `[engine] threads`; 0 is one per physical core. A number above 0 wins over OMP_NUM_THREADS.
    """
    environment = dict(base)
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    # libgomp (PyTorch's wheels on Linux) and Intel's OpenMP (Windows) each have a word of their own for it.
    environment.setdefault("GOMP_SPINCOUNT", "1000")
    environment.setdefault("KMP_BLOCKTIME", "0")
    if threads > 0:
        environment["OMP_NUM_THREADS"] = str(threads)
    environment.setdefault("OMP_NUM_THREADS", str(platform.physical_cores()))
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    # glibc: a block of so many bytes goes back to the system as soon as it is free. Left to itself glibc raises that
    # number to 32 MB and keeps what lies below in heaps full of holes, up to three times what a picture takes.
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(2 << 20))
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(32 << 20))
    # Such blocks come in large pages, which makes up for asking the system for them each time.
    environment.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    return quiet_environment(environment)


def quiet_environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` with everything switched off by which packages call other hosts on their own."""
    environment = dict(base)
    environment.setdefault("HF_HUB_OFFLINE", "1")
    environment.setdefault("TRANSFORMERS_OFFLINE", "1")
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environment["DO_NOT_TRACK"] = "1"
    environment["GRADIO_ANALYTICS_ENABLED"] = "False"
    environment.setdefault("PYTHONUTF8", "1")
    return environment
