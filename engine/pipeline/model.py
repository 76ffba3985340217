"""ModelBundle: the leased components of one model, ready to make pictures."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, TypeVar

import torch

from engine.adapters.modules import Targets, targets_of
from engine.adapters.plan import PatchPlan
from engine.adapters.row_paths import RowPaths
from engine.conditioning.encode import Conditioning
from engine.library.embeddings import EmbeddingEntry
from engine.library.entries import ModelEntry, VaeEntry
from engine.loading.loader import nbytes
from engine.memory.cache import ByteCache
from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.optimizer import MemoryOptimizer
from engine.memory.pool import ModelPool
from engine.memory.steps import GenerationStep
from engine.pipeline.parts import LeasedParts, Parts, ready
from engine.pipeline.patching import PatchedComponents
from engine.pipeline.stop import unet_points, vae_points

__all__ = ["EmbeddingCache", "ModelBundle", "open_model", "ready"]

Found = TypeVar("Found")
EMBEDDING_BYTES = 256 * 1024**2


class EmbeddingCache(ByteCache[Conditioning]):
    """Prompts that were encoded already, by text encoder, clip skip, syntax and text."""

    def __init__(self, limit_bytes: int = EMBEDDING_BYTES) -> None:
        super().__init__(limit_bytes)


@dataclass(frozen=True)
class VaeCopyKey:
    """What a VAE in another precision is, for the pool. `source` (file first) and `part` say it to a person."""

    source: str
    dtype: str
    part: str = "vae"


@dataclass
class ModelBundle:
    """Components of one model, while they are leased.

    Attributes:
        model_key, vae_key: identities; equal keys mean equal weights in equal precision, whatever the memory level.
        tokenizers: one, two for SDXL.
        scheduler_config: the model's own scheduler settings.
        parts: where the modules come from; with staged loading they come and go, so nobody keeps one.
        zeros_for_empty: SDXL: an empty negative prompt is zeros, not the encoded empty text.
        vae_facts: what was learnt about the VAE (its decode precision, its preview), kept by the pool.
        find_embeddings: the textual inversions that prompts may name, asked for every prompt.
        switch_seconds: how long the last move of the UNet's weights to another stack took; 0.0 before the first.
    """

    model_key: str
    vae_key: str
    family: Any
    tokenizers: tuple[Any, ...]
    parts: Parts
    scheduler_config: dict[str, Any]
    text_parts: tuple[str, ...] = ("text_encoder",)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    zeros_for_empty: bool = True
    vae_facts: dict[str, Any] = field(default_factory=dict)
    pool: ModelPool | None = None
    find_embeddings: Callable[[], Sequence[EmbeddingEntry]] = tuple
    switch_seconds: float = 0.0

    @property
    def unet(self) -> Any:
        """The UNet, loaded where it is not here."""
        return self.parts.get("unet")

    @property
    def vae(self) -> Any:
        """The VAE, loaded where it is not here."""
        return self.parts.get("vae")

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """One, two for SDXL; loaded where they are not here."""
        return tuple(self.parts.get(part) for part in self.text_parts)

    @property
    def unet_config(self) -> Any:
        """The UNet's config; it is not loaded for that."""
        return self.parts.shape("unet").config

    @property
    def vae_config(self) -> Any:
        """The VAE's config."""
        return self.parts.shape("vae").config

    @property
    def text_key(self) -> str:
        """Equal keys mean equal answers of the text encoders."""
        return " ".join(self.parts.identity(part) for part in self.text_parts)

    @cached_property
    def targets(self) -> Targets:
        """The modules that adapters can change."""
        family = getattr(self.family, "id", "")
        return targets_of({part: self.parts.shape(part) for part in ("unet", *self.text_parts)}, family=family)

    def enter(self, step: GenerationStep) -> None:
        """A stage begins."""
        self.parts.enter(step)

    def carry_unet(self, plan: PatchPlan) -> None:
        """Let the UNet's weights carry exactly this plan. Raises AdapterError; nothing has changed then."""
        began = time.perf_counter()
        if self.parts.carry("unet", plan):
            self.switch_seconds = time.perf_counter() - began

    def carry_text(self, plan: PatchPlan) -> None:
        """The same for the text encoders."""
        for part in self.text_parts:
            self.parts.carry(part, plan)

    @property
    def is_xl(self) -> bool:
        """Whether the UNet takes a pooled text and sizes."""
        return len(self.text_parts) > 1

    @property
    def latent_scale(self) -> int:
        """Pixels a latent's side: 8 for Stable Diffusion."""
        return int(2 ** (len(self.vae_config.block_out_channels) - 1))

    @property
    def row_paths(self) -> RowPaths:
        """Adapters beside the UNet's layers, other ones for each row."""
        return self._fact("unet", "row_paths", lambda unet: RowPaths("unet", unet))

    @property
    def memory_format(self) -> torch.memory_format:
        """How the UNet's convolutions are laid out; its input follows."""
        weight = self.unet.conv_in.weight
        last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        return torch.channels_last if last else torch.contiguous_format

    @property
    def stop_points(self) -> tuple[Any, ...]:
        """Modules of the UNet between which a tick may be stopped."""
        return self._fact("unet", "stop_points", unet_points)

    @property
    def vae_stop_points(self) -> tuple[Any, ...]:
        """Modules of the VAE between which a decode may be stopped."""
        return self._fact("vae", "stop_points", vae_points)

    def _fact(self, part: str, name: str, find: Callable[[Any], Found]) -> Found:
        """What is found out once about a loaded part, and forgotten with it."""
        facts = self.parts.facts(part)
        if name not in facts:
            facts[name] = find(self.parts.get(part))
        found: Found = facts[name]
        return found

    @contextmanager
    def vae_in(self, dtype: torch.dtype) -> Iterator[Any]:
        """The VAE in another precision: a copy, since converting back would not give the same weights."""
        if dtype == self.vae.dtype:
            yield self.vae
            return
        if self.pool is None:
            yield self._copied_vae(dtype)
            return
        # A VAE of its own stands behind the place of the model's file in an identity.
        key = VaeCopyKey(self.vae_key.lstrip("|"), str(dtype).removeprefix("torch."))
        with self.pool.lease(key, lambda: self._copied_vae(dtype), nbytes) as vae:
            yield vae

    def _copied_vae(self, dtype: torch.dtype) -> Any:
        with torch.inference_mode(False):
            return copy.deepcopy(self.vae).to(dtype)

    def close(self) -> None:
        """Give all leases back."""
        self.parts.close()

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
    optimizer: MemoryOptimizer | None = None,
    config: MemoryOptimizationConfig | None = None,
) -> ModelBundle:
    """Lease every component of a model, loading what is not there yet; `close()` gives them back.

    Args:
        vae_entry: the VAE to decode with, in place of the model's own.
        dtype: of the weights, or its name; a VAE that is known to overflow in float16 stays in float32.
        patched: who knows what the pool's components carry; needed wherever the pool outlives the bundle.
        optimizer, config: the memory level; with staged loading the components come when their stage does.

    Raises:
        ModelFileError: a file cannot be used. OutOfMemoryError: the pool has no room. Nothing stays leased then.
    """
    weights = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    place = torch.device(device)
    parts = LeasedParts(
        pool,
        entry,
        vae_entry,
        device=place,
        dtype=weights,
        patched=patched if patched is not None else PatchedComponents(),
        optimizer=optimizer,
        config=config,
    )
    parts.open()
    names = entry.family.parts
    return ModelBundle(
        model_key=parts.identity("unet"),
        vae_key=parts.identity("vae"),
        family=entry.family,
        tokenizers=tuple(parts.get(part) for part in names if part.startswith("tokenizer")),
        parts=parts,
        scheduler_config=parts.get("scheduler"),
        text_parts=tuple(part for part in names if part.startswith("text_encoder")),
        device=place,
        dtype=weights,
        zeros_for_empty=bool(entry.config.get("model_index", {}).get("force_zeros_for_empty_prompt", True)),
        vae_facts=pool.facts(parts.key("vae")),
        pool=pool,
    )
