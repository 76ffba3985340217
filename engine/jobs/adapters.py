"""AdapterShop: from the names in a spec to a stack of adapters, lent for the time of one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engine.adapters.file import Adapter, Stamp, read_adapter, stamp_of
from engine.adapters.lifecycle import Transition
from engine.adapters.stack import AdapterStack
from engine.memory.pool import Lease, ModelPool
from engine.pipeline.model import ModelBundle
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store

Find = Callable[[str], Path]


@dataclass(frozen=True)
class AdapterKey:
    """What a file that was read is, for the pool: `model` names the modules that it was read for."""

    path: Path
    stamp: Stamp
    model: str
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
    """

    def __init__(self, pool: ModelPool, store: Store, find: Find) -> None:
        self._pool = pool
        self._store = store
        self._find = find

    def lend(self, spec: GenerationSpec, bundle: ModelBundle, job_id: str) -> LentStack:
        """The stack of a resolved spec for the model of `bundle`.

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
            for ref in wanted:
                stack.add(ref, partial(self._read, ref.name, bundle, lent))
        except BaseException:
            lent.close()
            raise
        lent.notices = tuple(_notices(stack))
        return lent

    def _read(self, name: str, bundle: ModelBundle, lent: LentStack) -> Adapter:
        path = self._find(name)
        key = AdapterKey(path, stamp_of(path), bundle.model_key)
        lease: Lease[Adapter] = self._pool.lease(
            key, lambda: read_adapter(path, bundle.targets, title=name, adapter_id=name), lambda adapter: adapter.nbytes
        )
        lent.leases.append(lease)
        return lease.value

    def _keep(self, told: list[Transition], job_id: str) -> None:
        """The way of each adapter, one entry of the log: from loading to unloading, or where it ended and why."""
        for name in dict.fromkeys(step.adapter for step in told):
            steps = [step for step in told if step.adapter == name]
            payload: dict[str, Any] = {"adapter": name, "steps": [asdict(step) for step in steps]}
            self._store.events.append("adapter", payload, job_id)


def _notices(stack: AdapterStack) -> list[Notice]:
    """What a person should know of adapters that fit only in part."""
    return [
        Notice(code="keys_unmatched", message=row.adapter.report.summary, level="warning")
        for row in stack.adapters
        if row.adapter.report.matched < row.adapter.report.total
    ]
