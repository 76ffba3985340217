"""The parts of one model while pictures are made of it: held all the time, or lent for the stage that needs them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from engine.adapters.plan import PatchPlan
from engine.library.entries import ModelEntry, VaeEntry
from engine.loading.components import outline
from engine.loading.loader import ComponentKey, component_key, load_component, nbytes, part_config
from engine.memory.levels import FP8, MemoryOptimizationConfig
from engine.memory.optimizer import MemoryOptimizer, applied_to
from engine.memory.parts import sizes_of
from engine.memory.pool import Lease, ModelPool
from engine.memory.resting import loaded_in, resting_format
from engine.memory.steps import GenerationStep
from engine.memory.techniques import gains_by_channels_last
from engine.pipeline.direct_attention import attend_directly
from engine.pipeline.patching import PatchedComponents


class Parts(Protocol):
    """Where a bundle's modules come from. `config`: the memory level that they are under."""

    config: MemoryOptimizationConfig

    def get(self, part: str) -> Any:
        """The part itself, loading it where it is not here. Not to be kept longer than a call."""
        ...

    def facts(self, part: str) -> dict[str, Any]:
        """What was found out about the loaded part; forgotten with it."""
        ...

    def shape(self, part: str) -> Any:
        """The part, or a module of its shape without weights: for its config and the names in it."""
        ...

    def identity(self, part: str) -> str:
        """What the part is: equal identities give equal answers, whatever lies where."""
        ...

    def carry(self, part: str, plan: PatchPlan) -> int:
        """Let the part's weights carry exactly this plan; returns how many layers were worked on. Raises AdapterError;
        nothing has changed then."""
        ...

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What is held now, for the pool."""
        ...

    def enter(self, step: GenerationStep) -> None:
        """A stage begins: what it does not need may go."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class HeldParts:
    """Parts that somebody else holds, such as those of a diffusers pipeline."""

    def __init__(self, modules: Mapping[str, Any], name: str = "", patched: PatchedComponents | None = None) -> None:
        self._modules, self._name = dict(modules), name
        self._patched = patched if patched is not None else PatchedComponents()
        self._facts: dict[str, dict[str, Any]] = {}
        self.config = MemoryOptimizationConfig()

    def get(self, part: str) -> Any:
        """See `Parts`."""
        return self._modules[part]

    def put(self, part: str, module: Any) -> None:
        """Another module in a part's place."""
        self._modules[part] = module
        self._facts.pop(part, None)

    def facts(self, part: str) -> dict[str, Any]:
        """See `Parts`."""
        return self._facts.setdefault(part, {})

    def shape(self, part: str) -> Any:
        """See `Parts`."""
        return self._modules[part]

    def identity(self, part: str) -> str:
        """See `Parts`."""
        return f"{self._name}|{part}"

    def carry(self, part: str, plan: PatchPlan) -> int:
        """See `Parts`."""
        return self._patched.move(part, self._modules[part], plan)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """See `Parts`: no pool holds these."""
        return ()

    def enter(self, step: GenerationStep) -> None:
        """See `Parts`: everything stays."""

    def close(self) -> None:
        """See `Parts`."""


@dataclass
class _Held:
    lease: Lease[Any]
    fitted: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class LeasedParts:
    """Parts lent by the pool, each fitted to a memory level, which may change between two calls.

    The level decides in which format a part rests, and that is part of its key: a part that is kept rounded is another
    thing than the same part in full, so going back is loading again, and nobody gets rounded weights by mistake.

    Args:
        optimizer: puts the level's techniques on; None: modules stay as they are loaded.
        config: the level; None keeps everything.
        patched: who knows what the pool's components carry.
    """

    def __init__(
        self,
        pool: ModelPool,
        entry: ModelEntry,
        vae: VaeEntry | None = None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        patched: PatchedComponents,
        optimizer: MemoryOptimizer | None = None,
        config: MemoryOptimizationConfig | None = None,
    ) -> None:
        self._pool, self._entry, self._vae = pool, entry, vae
        self._device, self._dtype = device, dtype
        self._patched, self._optimizer = patched, optimizer
        self.config = config or MemoryOptimizationConfig()
        if optimizer is not None:
            optimizer.config = self.config
        self._held: dict[str, _Held] = {}
        self._shapes: dict[str, Any] = {}

    # --- lending ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lease what stays as long as the model is open: everything, or with staged loading what weighs nothing.

        Raises:
            ModelFileError, OutOfMemoryError: nothing more is leased than before then.
        """
        staged, before = self.config.staged_loading, set(self._held)
        try:
            for part in self._entry.family.parts:
                if part not in before and not (staged and _weighs(part)):
                    self._take(part)
            self._fit(self._held)
        except BaseException:
            self._give_back([part for part in self._held if part not in before])
            raise

    def get(self, part: str) -> Any:
        """See `Parts`."""
        held = self._held.get(part)
        if held is None:
            held = self._take(part)
            self._fit([part])
        return held.lease.value

    def facts(self, part: str) -> dict[str, Any]:
        """See `Parts`."""
        self.get(part)
        return self._held[part].facts

    def shape(self, part: str) -> Any:
        """See `Parts`."""
        held = self._held.get(part)
        if held is not None:
            return held.lease.value
        if part not in self._shapes:
            self._shapes[part] = self._outlined(part)
        return self._shapes[part]

    def identity(self, part: str) -> str:
        """See `Parts`."""
        key = component_key(self._entry, part, self._wide(part), self._vae)
        # What is rounded answers otherwise; the picture itself may go on with either.
        dtype = FP8 if part.startswith("text") and self._storage(part) == FP8 else key.dtype
        return f"{key.source}|{key.vae}|{key.part}|{dtype}"

    def key(self, part: str) -> ComponentKey:
        """What the part is for the pool under the present level."""
        wide = component_key(self._entry, part, self._wide(part), self._vae)
        storage = self._storage(part)
        return wide if storage is None else replace(wide, dtype=storage)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """See `Parts`."""
        return tuple(held.lease.key for held in self._held.values())

    def carry(self, part: str, plan: PatchPlan) -> int:
        """See `Parts`. Adapters are worked in before weights are rounded or begin to travel."""
        module = self.get(part)
        held = self._held[part]
        if self._patched.carries(part, module, plan):
            moved = 0
        else:
            if "fp8_storage" in applied_to({part: module}):
                # The own weights are gone: they are read again, whoever has pinned the rounded ones.
                del module
                self._give_back([part])
                self._pool.evict(held.lease.key, rest=False)
                held = self._take(part)
            elif self._travels and self._optimizer is not None:
                self._optimizer.settle(self._modules(self._held))
                held.fitted = False
            moved = self._patched.move(part, held.lease.value, plan)
        if not held.fitted:
            self._fit([part], rounding=True)
        return moved

    # --- stages and levels -----------------------------------------------------------------------------------------

    def enter(self, step: GenerationStep) -> None:
        """See `Parts`: with staged loading, what the stage does not need goes, and its memory with it."""
        if not self.config.staged_loading:
            return
        self._give_back([part for part in self._held if _weighs(part) and not step.needs(part)])
        wanted = {self.key(part) for part in self._entry.family.parts if step.needs(part)}
        # Also what lies in the pool of this model from other levels and former jobs.
        sources = {(key.source, key.vae) for key in map(self.key, self._entry.family.parts)}
        present = [entry.key for entry in self._pool.entries() if entry.nbytes and isinstance(entry.key, ComponentKey)]
        self._evict([key for key in present if (key.source, key.vae) in sources and key not in wanted], rest=True)

    def change(self, config: MemoryOptimizationConfig) -> None:
        """Another level, live; not inside a call of a module.

        Raises:
            ModelFileError, OutOfMemoryError: a part could not be loaded in its new format; it is tried again later.
        """
        if config == self.config:
            return
        before = {part: self.key(part) for part in self._held}
        moved = self._travels
        self.config = config
        if self._optimizer is not None:
            self._optimizer.config = config
        # Where weights begin or end to travel they lie elsewhere, so they are loaded anew as well.
        turned = moved != self._travels
        self._drop([part for part, key in before.items() if key != self.key(part) or (turned and _weighs(part))])
        self._fit(self._held)
        if not config.staged_loading:
            self.open()

    def close(self) -> None:
        """See `Parts`; what the level does not keep after a job leaves the pool."""
        keys = [held.lease.key for part, held in self._held.items() if _weighs(part)]
        self._give_back(list(self._held))
        if self.config.after_job != "keep":
            self._evict(keys, rest=self.config.after_job == "unpin")

    # --- inside ----------------------------------------------------------------------------------------------------

    @property
    def _travels(self) -> bool:
        return self._optimizer is not None and self._optimizer.config_moves

    def _take(self, part: str) -> _Held:
        key = self.key(part)
        loaded_in = self._loaded_in(part, key)

        def load() -> Any:
            place = torch.device("cpu") if self._travels else self._device
            last = part == "unet" and self.config.enable_channels_last

            def gains(module: torch.nn.Module) -> bool:
                return last and gains_by_channels_last(module, place)

            module = load_component(
                self._entry, part, dtype=loaded_in, device=place, vae=self._vae, channels_last=gains
            )
            return ready(module, channels_last=last)

        held = self._held[part] = _Held(self._pool.lease(key, load, nbytes))
        return held

    def _fit(self, parts: Iterable[str], *, rounding: bool = False) -> None:
        """Put the level on these parts. Rounding waits until what the weights carry is known (`carry`)."""
        for part in parts:
            held = self._held[part]
            held.fitted = held.fitted or rounding or self._storage(part) != FP8
        # What travels goes by turns, so it is set up together.
        asked = self._held if self._travels else parts
        fitted = self._modules(part for part in asked if self._held[part].fitted)
        if self._optimizer is not None and fitted:
            self._optimizer.change(fitted, self.config)

    def _modules(self, parts: Iterable[str]) -> dict[str, Any]:
        values = {part: self._held[part].lease.value for part in parts}
        return {part: value for part, value in values.items() if isinstance(value, torch.nn.Module)}

    def _drop(self, parts: list[str]) -> None:
        """Let go of parts, and of what they hold; what is pinned stays in the pool."""
        if parts:
            keys = [self._held[part].lease.key for part in parts]
            self._give_back(parts)
            self._evict(keys, rest=True)

    def _give_back(self, parts: list[str]) -> None:
        for part in parts:
            self._held.pop(part).lease.close()

    def _evict(self, keys: list[Any], *, rest: bool) -> None:
        kept = {entry.key for entry in self._pool.entries() if entry.pinned}
        gone = [key for key in keys if key not in kept and self._pool.evict(key, rest=rest)]
        if gone and self._optimizer is not None:
            self._optimizer.cleanup()

    def _wide(self, part: str) -> torch.dtype:
        """The format that the part computes in."""
        config = self._entry.config.get(part)
        overflows = part == "vae" and isinstance(config, dict) and bool(config.get("force_upcast"))
        return torch.float32 if overflows and self._dtype == torch.float16 else self._dtype

    def _storage(self, part: str) -> str | None:
        """The format in which the level lets the part rest; None: the one that it computes in."""
        if not self.config.storage_dtype or part == "vae" or not _weighs(part):
            return None
        own = str(self._dtype).removeprefix("torch.")
        found = resting_format(self.config.storage_dtype, self._stored.get(part, ""), own)
        return None if found == own else found

    def _loaded_in(self, part: str, key: ComponentKey) -> torch.dtype:
        if not _weighs(part) or part == "vae":
            return self._wide(part)
        stored = self._stored.get(part, "") if key.dtype == FP8 else ""
        loaded: torch.dtype = getattr(torch, loaded_in(key.dtype, stored))
        return loaded

    @property
    def _stored(self) -> Mapping[str, str]:
        if "stored" not in self._shapes:
            self._shapes["stored"] = sizes_of(self._entry).stored
        stored: Mapping[str, str] = self._shapes["stored"]
        return stored

    def _outlined(self, part: str) -> Any:
        if part == "vae" and (self._vae is not None or self._entry.vae_path is not None):
            # Only its file knows its shape.
            return self.get(part)
        return outline(part, part_config(self._entry, part), self._entry.view.title)


def _weighs(part: str) -> bool:
    return not part.startswith(("tokenizer", "scheduler"))


def ready(module: Any, *, channels_last: bool = True) -> Any:
    """Set a module up for inference: no gradients, no dropout, channels last where that is faster."""
    if isinstance(module, torch.nn.Module):
        module.requires_grad_(False)
        module.eval()
        attend_directly(module)
        if channels_last and gains_by_channels_last(module):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
