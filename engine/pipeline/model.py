"""ModelBundle: the leased components of one model, ready to make pictures."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any

import torch

from engine.conditioning.encode import Conditioning
from engine.memory.cache import ByteCache
from engine.memory.pool import Lease, ModelPool
from engine.pipeline.stop import unet_points, vae_points

EMBEDDING_BYTES = 256 * 1024**2


class EmbeddingCache(ByteCache[Conditioning]):
    """Prompts that were encoded already, by text encoder, clip skip, syntax and text."""

    def __init__(self, limit_bytes: int = EMBEDDING_BYTES) -> None:
        super().__init__(limit_bytes)


@dataclass
class ModelBundle:
    """Components of one model, while they are leased.

    Attributes:
        model_key, text_key, vae_key: identities; equal keys mean equal weights in equal precision.
        tokenizers, text_encoders: one of each, two for SDXL.
        scheduler_config: the model's own scheduler settings.
        zeros_for_empty: SDXL: an empty negative prompt is zeros, not the encoded empty text.
        vae_facts: what was learnt about the VAE (its decode precision, its preview), kept by the pool.
    """

    model_key: str
    text_key: str
    vae_key: str
    family: Any
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[Any, ...]
    unet: Any
    vae: Any
    scheduler_config: dict[str, Any]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    zeros_for_empty: bool = True
    vae_facts: dict[str, Any] = field(default_factory=dict)
    pool: ModelPool | None = None
    leases: list[Lease[Any]] = field(default_factory=list)

    @property
    def is_xl(self) -> bool:
        """Whether the UNet takes a pooled text and sizes."""
        return len(self.text_encoders) > 1

    @property
    def latent_scale(self) -> int:
        """Pixels a latent's side: 8 for Stable Diffusion."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @cached_property
    def memory_format(self) -> torch.memory_format:
        """How the UNet's convolutions are laid out; its input follows."""
        weight = self.unet.conv_in.weight
        last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        return torch.channels_last if last else torch.contiguous_format

    @cached_property
    def stop_points(self) -> tuple[Any, ...]:
        """Modules of the UNet between which a tick may be stopped."""
        return unet_points(self.unet)

    @cached_property
    def vae_stop_points(self) -> tuple[Any, ...]:
        """Modules of the VAE between which a decode may be stopped."""
        return vae_points(self.vae)

    @contextmanager
    def vae_in(self, dtype: torch.dtype) -> Iterator[Any]:
        """The VAE in another precision: a copy, since converting back would not give the same weights."""
        if dtype == self.vae.dtype:
            yield self.vae
            return
        if self.pool is None:
            yield self._copied_vae(dtype)
            return
        with self.pool.lease((self.vae_key, str(dtype)), lambda: self._copied_vae(dtype), module_bytes) as vae:
            yield vae

    def _copied_vae(self, dtype: torch.dtype) -> Any:
        with torch.inference_mode(False):
            return copy.deepcopy(self.vae).to(dtype)

    def close(self) -> None:
        """Give all leases back."""
        for lease in self.leases:
            lease.close()
        self.leases.clear()

    def __enter__(self) -> ModelBundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def module_bytes(module: Any) -> int:
    """Bytes of a module's weights and buffers; 0 for what has none (tokenizers, configs)."""
    if not isinstance(module, torch.nn.Module):
        return 0
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def ready(module: Any) -> Any:
    """Set a module up for inference: no gradients, no dropout, channels last (faster from two rows up)."""
    if isinstance(module, torch.nn.Module):
        module.requires_grad_(False)
        module.eval()
        if any(parameter.ndim == 4 for parameter in module.parameters()):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
