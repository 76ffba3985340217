"""ModelBundle: the leased components of one model, ready to make pictures."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any

import torch

from engine.adapters.modules import Targets, targets_of
from engine.adapters.plan import PatchPlan
from engine.conditioning.encode import Conditioning
from engine.library.embeddings import EmbeddingEntry
from engine.library.entries import ModelEntry, VaeEntry
from engine.loading.loader import ComponentKey, component_key, load_component, nbytes
from engine.memory.cache import ByteCache
from engine.memory.pool import Lease, ModelPool
from engine.pipeline.patching import PatchedComponents
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
        patched: the keeper of the weights that adapters change; whoever leases the components next shares it.
        find_embeddings: the textual inversions that prompts may name, asked for every prompt.
        switch_seconds: how long the last move of the UNet's weights to another stack took; 0.0 before the first.
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
    patched: PatchedComponents = field(default_factory=PatchedComponents)
    find_embeddings: Callable[[], Sequence[EmbeddingEntry]] = tuple
    switch_seconds: float = 0.0

    @cached_property
    def targets(self) -> Targets:
        """The modules that adapters can change."""
        family = getattr(self.family, "id", "")
        return targets_of({"unet": self.unet, **self._text_components}, family=family)

    @property
    def _text_components(self) -> dict[str, Any]:
        return dict(zip(("text_encoder", "text_encoder_2"), self.text_encoders, strict=False))

    def carry_unet(self, plan: PatchPlan) -> None:
        """Let the UNet's weights carry exactly this plan. Raises AdapterError; nothing has changed then."""
        began = time.perf_counter()
        if self.patched.of("unet", self.unet).move_to(plan).layers:
            self.switch_seconds = time.perf_counter() - began

    def carry_text(self, plan: PatchPlan) -> None:
        """The same for the text encoders."""
        for component, module in self._text_components.items():
            self.patched.of(component, module).move_to(plan)

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
        with self.pool.lease((self.vae_key, str(dtype)), lambda: self._copied_vae(dtype), nbytes) as vae:
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


def open_model(
    pool: ModelPool,
    entry: ModelEntry,
    vae_entry: VaeEntry | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = torch.float32,
    patched: PatchedComponents | None = None,
) -> ModelBundle:
    """Lease every component of a model, loading what is not there yet; `close()` gives them back.

    Args:
        vae_entry: the VAE to decode with, in place of the model's own.
        dtype: of the weights, or its name; a VAE that is known to overflow in float16 stays in float32.
        patched: who knows what the pool's components carry; needed wherever the pool outlives the bundle.

    Raises:
        ModelFileError: a file cannot be used. OutOfMemoryError: the pool has no room. Nothing stays leased then.
    """
    weights = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    place = torch.device(device)
    leases: dict[str, Lease[Any]] = {}
    try:
        for part in entry.family.parts:
            leases[part] = _lease(pool, entry, part, _dtype_of(entry, part, weights), place, vae_entry)
    except BaseException:
        for lease in leases.values():
            lease.close()
        raise
    vae_key = leases["vae"].key
    return ModelBundle(
        model_key=_shown(leases["unet"].key),
        text_key=" ".join(_shown(leases[part].key) for part in leases if part.startswith("text_encoder")),
        vae_key=_shown(vae_key),
        family=entry.family,
        tokenizers=tuple(lease.value for part, lease in leases.items() if part.startswith("tokenizer")),
        text_encoders=tuple(lease.value for part, lease in leases.items() if part.startswith("text_encoder")),
        unet=leases["unet"].value,
        vae=leases["vae"].value,
        scheduler_config=leases["scheduler"].value,
        device=place,
        dtype=weights,
        zeros_for_empty=bool(entry.config.get("model_index", {}).get("force_zeros_for_empty_prompt", True)),
        vae_facts=pool.facts(vae_key),
        pool=pool,
        leases=list(leases.values()),
        patched=patched if patched is not None else PatchedComponents(),
    )


def _lease(
    pool: ModelPool, entry: ModelEntry, part: str, dtype: torch.dtype, device: torch.device, vae: VaeEntry | None
) -> Lease[Any]:
    def load() -> Any:
        return ready(load_component(entry, part, dtype=dtype, device=device, vae=vae), channels_last=part == "unet")

    return pool.lease(component_key(entry, part, dtype, vae), load, nbytes)


def _dtype_of(entry: ModelEntry, part: str, dtype: torch.dtype) -> torch.dtype:
    config = entry.config.get(part)
    overflows = part == "vae" and isinstance(config, dict) and bool(config.get("force_upcast"))
    return torch.float32 if overflows and dtype == torch.float16 else dtype


def _shown(key: Any) -> str:
    """An identity as text: it goes into snapshots and cache keys."""
    if isinstance(key, ComponentKey):
        return f"{key.source}|{key.vae}|{key.part}|{key.dtype}"
    return str(key)


def ready(module: Any, *, channels_last: bool = True) -> Any:
    """Set a module up for inference: no gradients, no dropout, channels last (faster from two rows up)."""
    if isinstance(module, torch.nn.Module):
        module.requires_grad_(False)
        module.eval()
        if channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
