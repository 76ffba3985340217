"""Attention: which kernel to use, and how to make a model use it.

torch's scaled_dot_product_attention chooses between flash, memory-efficient and plain maths by itself and is the
default; xFormers is taken where it is installed and torch has only plain maths. Slicing is for machines without either.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.memory.resources import SystemResources, detect_resources

_EFFICIENT = ("sdpa_flash", "sdpa_efficient")


class EfficientAttention:
    """Chooses the kernel for this machine.

    Args:
        resources: the machine; detected where it is None.
    """

    def __init__(self, resources: SystemResources | None = None) -> None:
        self._resources = resources or detect_resources()

    @property
    def backends(self) -> tuple[str, ...]:
        """Kernels that are there, best first."""
        return self._resources.attention

    def choose(self) -> str:
        """The kernel to use: "sdpa" where torch has an efficient one for this device, else "xformers", else "sdpa"."""
        if any(kernel in _EFFICIENT for kernel in self._resources.attention):
            return "sdpa"
        return "xformers" if "xformers" in self._resources.attention else "sdpa"

    @property
    def slicing_helps(self) -> bool:
        """Whether whole score matrices would be kept otherwise."""
        return not self._resources.efficient_attention

    @staticmethod
    def enable_xformers() -> bool:
        """Whether xFormers can be used: it is installed."""
        return importlib.util.find_spec("xformers") is not None

    @staticmethod
    def enable_flash_attention() -> bool:
        """Whether the flash-attn package can be used: it is installed."""
        return importlib.util.find_spec("flash_attn") is not None

    @staticmethod
    def enable_pytorch_sdpa() -> bool:
        """Whether torch has scaled_dot_product_attention: since 2.0."""
        import torch

        return hasattr(torch.nn.functional, "scaled_dot_product_attention")

    @staticmethod
    def use_sdpa(module: Any) -> None:
        """Let a diffusers model attend through torch where it was sliced or used xFormers; other processors stay."""
        from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor, XFormersAttnProcessor

        ours = (SlicedAttnProcessor, XFormersAttnProcessor)
        present = getattr(module, "attn_processors", {})
        if any(isinstance(processor, ours) for processor in present.values()):
            module.set_attn_processor(
                {
                    name: AttnProcessor2_0() if isinstance(processor, ours) else processor
                    for name, processor in present.items()
                }
            )

    @staticmethod
    def use_xformers(module: Any) -> None:
        """Let a diffusers model attend through xFormers. Raises ModuleNotFoundError where it is not installed."""
        if hasattr(module, "enable_xformers_memory_efficient_attention"):
            module.enable_xformers_memory_efficient_attention()


@dataclass(frozen=True)
class AttentionTimes:
    """Seconds of one call per back end, and what the others answered when they were tried."""

    seconds: dict[str, float]
    refused: dict[str, str]


def measure_attention(
    resources: SystemResources,
    *,
    tokens: int = 1024,
    heads: int = 8,
    width: int = 64,
    repeats: int = 5,
    dtype: str = "",
) -> AttentionTimes:
    """How long one attention call takes with each back end of this machine, the fastest of `repeats`.

    Beside the kernels of torch: "sliced", heads one after another as diffusers' attention slicing does it, and
    "xformers" where it is installed. One may refuse this device, or take more memory than there is.

    Args:
        tokens, heads, width: shapes of query, key and value: (2, heads, tokens, width). dtype: torch's name; "" is the
            first that the machine computes in.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = {
        "sdpa_flash": SDPBackend.FLASH_ATTENTION,
        "sdpa_efficient": SDPBackend.EFFICIENT_ATTENTION,
        "sdpa_math": SDPBackend.MATH,
    }
    attend = torch.nn.functional.scaled_dot_product_attention

    def with_kernel(kernel: SDPBackend, query: Any) -> None:
        with sdpa_kernel(kernel):
            attend(query, query, query)

    ways: dict[str, Callable[[Any], None]] = {
        name: partial(with_kernel, kernel) for name, kernel in kernels.items() if name in resources.attention
    }
    ways["sliced"] = _sliced
    if EfficientAttention.enable_xformers():
        ways["xformers"] = _with_xformers
    query = torch.randn(
        2, heads, tokens, width, device=resources.device, dtype=getattr(torch, dtype or resources.compute_dtypes[0])
    )
    found = AttentionTimes({}, {})
    for name, way in ways.items():
        try:
            with torch.inference_mode():
                found.seconds[name] = min(_seconds(torch, way, query, resources.device) for _ in range(repeats))
        except (RuntimeError, NotImplementedError, ImportError) as error:
            found.refused[name] = str(error).strip().partition("\n")[0]
    return found


def _sliced(query: Any) -> None:
    for head in range(query.shape[1]):
        own = query[:, head]
        scores = (own @ own.transpose(1, 2)) * own.shape[-1] ** -0.5
        scores.softmax(dim=-1) @ own


def _with_xformers(query: Any) -> None:
    attend = importlib.import_module("xformers.ops").memory_efficient_attention
    turned = query.transpose(1, 2)
    attend(turned, turned, turned)


def _seconds(torch: Any, way: Callable[[Any], None], query: Any, device: str) -> float:
    began = time.perf_counter()
    way(query)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
