"""AdapterShop: from the names in a spec to a stack of adapters, lent for the time of one picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engine.adapters.file import Adapter, Stamp, read_adapter, stamp_of
from engine.adapters.lifecycle import Transition
from engine.adapters.stack import AdapterStack
from engine.errors import StudioError
from engine.library.adapter_storage import AdapterStorage, StorageFormat, storage_format
from engine.memory.pool import Lease, ModelPool
from engine.pipeline.model import ModelBundle
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store

Find = Callable[[str], Path]
# Adapters that a sentence names.
SHOWN = 3


@dataclass(frozen=True)
class AdapterKey:
    """What a file that was read is, for the pool.

    Attributes:
        model: names the modules that it was read for.
        storage: how it is kept; None: as the file has it.
    """

    path: Path
    stamp: Stamp
    model: str
    storage: StorageFormat | None = None
    part: str = "adapter"

    @property
    def source(self) -> str:
        """The file, for a person."""
        return str(self.path)


@dataclass
class LentStack:
    """A picture's stack (None: no adapters) with the leases of its files."""

    stack: AdapterStack | None = None
    notices: tuple[Notice, ...] = ()
    leases: list[Lease[Adapter]] = field(default_factory=list)
    keep: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Give everything back."""
        if self.stack is not None:
            self.stack.close()
            self.stack = None
            self.keep()
        while self.leases:
            self.leases.pop().close()


class AdapterShop:
    """Reads adapter files through the pool, so that a file is read once for all who use it, and keeps the events.

    Args:
        find: from an adapter's id to its file.
        storage: how adapters are kept, as `[memory] adapter_storage` says.
    """

    def __init__(self, pool: ModelPool, store: Store, find: Find, *, storage: AdapterStorage = "auto") -> None:
        self._pool = pool
        self._store = store
        self._find = find
        self._storage = storage

    def lend(self, spec: GenerationSpec, bundle: ModelBundle, job_id: str, *, rounding: bool = False) -> LentStack:
        """The stack of a resolved spec for the model of `bundle`. `rounding`: its weights rest in 8 bits, too.

        Raises:
            AdapterError, ModelFileError: a file cannot be used with this model. Nothing stays lent then.
        """
        wanted = [ref for ref in spec.adapters if ref.enabled]
        if not wanted:
            return LentStack()
        told: list[Transition] = []
        stack = AdapterStack(bundle.targets, resolution=spec.conflicts, tell=told.append)
        lent = LentStack(stack, keep=partial(self._keep, told, job_id))
        try:
            storage = self._format([ref.name for ref in wanted], bundle, rounding)
            for ref in wanted:
                stack.add(ref, partial(self._read, ref.name, bundle, lent, storage))
        except BaseException:
            lent.close()
            raise
        lent.notices = tuple(_notices(stack))
        return lent

    def _read(self, name: str, bundle: ModelBundle, lent: LentStack, storage: StorageFormat | None) -> Adapter:
        key = self._key(name, bundle, storage)
        lease: Lease[Adapter] = self._pool.lease(
            key,
            lambda: read_adapter(key.path, bundle.targets, title=name, adapter_id=name, storage=storage),
            lambda adapter: adapter.nbytes,
        )
        lent.leases.append(lease)
        return lease.value

    def _key(self, name: str, bundle: ModelBundle, storage: StorageFormat | None) -> AdapterKey:
        path = self._find(name)
        return AdapterKey(path, stamp_of(path), bundle.model_key, storage)

    def _format(self, names: list[str], bundle: ModelBundle, rounding: bool) -> StorageFormat | None:
        """How a picture's adapters are kept; None: as their files have them."""
        short = self._storage == "auto" and (rounding or not self._fit(names, bundle))
        return storage_format(self._storage, short=short)

    def _fit(self, names: list[str], bundle: ModelBundle) -> bool:
        """Whether there is room for all of them as their files have them, once what nobody uses is gone."""
        sizes: dict[AdapterKey, int] = {}
        for name in names:
            # What is wrong with a file is told when it is read.
            with suppress(StudioError):
                key = self._key(name, bundle, None)
                sizes[key] = key.stamp[0]
        held = sum(
            entry.nbytes for entry in self._pool.entries() if (entry.leases or entry.pinned) and entry.key not in sizes
        )
        return held + sum(sizes.values()) <= self._pool.budget_bytes

    def _keep(self, told: list[Transition], job_id: str) -> None:
        """The way of each adapter, one entry of the log: from loading to unloading, or where it ended and why."""
        for name in dict.fromkeys(step.adapter for step in told):
            steps = [step for step in told if step.adapter == name]
            payload: dict[str, Any] = {"adapter": name, "steps": [asdict(step) for step in steps]}
            self._store.events.append("adapter", payload, job_id)


def _notices(stack: AdapterStack) -> list[Notice]:
    """What a person should know: adapters that fit only in part, and that some are kept smaller than their files."""
    adapters = [row.adapter for row in stack.adapters]
    notices = [
        Notice(code="keys_unmatched", message=adapter.report.summary, level="warning")
        for adapter in adapters
        if adapter.report.matched < adapter.report.total
    ]
    if kept := _told([adapter for adapter in adapters if adapter.stored is not None]):
        notices.append(kept)
    return notices


def _told(small: list[Adapter]) -> Notice | None:
    """One sentence for all adapters that are kept small."""
    stored = [adapter.stored for adapter in small if adapter.stored is not None]
    if not stored:
        return None
    bits = 8 if stored[0].format == "int8" else 16
    names = ", ".join(adapter.path.stem for adapter in small[:SHOWN])
    more = f" and {len(small) - SHOWN} more" if len(small) > SHOWN else ""
    now, before = sum(adapter.nbytes for adapter in small), sum(each.whole_nbytes for each in stored)
    loss = max(each.loss for each in stored)
    return Notice(
        code="precision_lowered",
        message=(
            f"To save memory, {names}{more} {'are' if len(small) > 1 else 'is'} kept in {bits} bits, which takes "
            f"{now / before:.0%} of the room; what {'they do' if len(small) > 1 else 'it does'} to the weights differs "
            f"by {max(loss * 100, 0.01):.2f} % from the {'files' if len(small) > 1 else 'file'}."
        ),
    )
