"""ExtensionHalves: the engine's halves of extensions, loaded once, before the folders of models are looked at.

A half that fails in any way adds nothing and is told; the engine goes on. Which folders, ids and manifests count is the
same as in the web process, where manifests are complained about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.control.preprocessors.table import set_added_preprocessors
from engine.errors import ConfigError
from engine.extension_folder import Manifest, extension_folders, guard, read_manifest, register_function
from engine.extension_methods import require_one_each
from engine.host import HOST_API, EngineHost
from engine.library.added_kinds import set_added_kinds
from engine.protocol.extensions import EngineHalf, EngineHalves
from engine.sampling.table import set_added_samplers

if TYPE_CHECKING:
    from engine.merge.methods.base import MergeMethod

log = logging.getLogger("easel.engine")


class ExtensionHalves:
    """All halves below `root` but the disabled ones; a root of None (safe mode) means none.

    Args:
        values: the settings that the person gave to an extension, by its id.

    Attributes:
        hosts: what those that work have collected, for whoever puts the engine together.
    """

    def __init__(
        self,
        root: Path | None,
        disabled: Sequence[str] = (),
        values: Callable[[str], Mapping[str, Any]] = lambda extension: {},
    ) -> None:
        self._root, self._disabled = root, disabled
        self._values = values
        self.hosts: tuple[EngineHost, ...] = ()
        self._told = EngineHalves(loaded=False)

    def merge_methods(self) -> dict[str, MergeMethod]:
        """Easel's merge methods and those of extensions, by id. torch is imported at the first call."""
        from engine.merge.methods.table import own_methods

        added = (method for host in self.hosts for method in host.merge_methods)
        return {**own_methods(), **{method.view.id: method for method in added}}

    def load(self) -> None:
        """Import them, on this thread. What they add takes effect here or where the engine is put together."""
        hosts: list[EngineHost] = []
        told: list[EngineHalf] = []
        _offer(())
        for folder, manifest in self._manifests():
            host = EngineHost(manifest.id, partial(self._values, manifest.id))
            reason, detail = guard(partial(_register, folder, manifest, host))
            if not reason:
                # A name that is taken is found here, before anything of this half counts.
                reason, detail = guard(partial(_offer, (*hosts, host)))
            if reason:
                _offer(hosts)
                log.warning("the engine half of %s does not work: %s (%s)", manifest.id, reason, detail)
                told.append(EngineHalf(id=manifest.id, state="broken", reason=reason, detail=detail))
                continue
            hosts.append(host)
            told.append(EngineHalf(id=manifest.id, adds=host.adds))
        self.hosts = tuple(hosts)
        self._told = EngineHalves(halves=tuple(told))

    @property
    def expected(self) -> bool:
        """Whether there is anything to load."""
        return bool(self._manifests())

    def tell(self) -> EngineHalves:
        """What became of each. Any thread."""
        return self._told

    def _manifests(self) -> list[tuple[Path, Manifest]]:
        found: dict[str, tuple[Path, Manifest]] = {}
        for folder in extension_folders(self._root) if self._root is not None else ():
            try:
                manifest = read_manifest(folder, HOST_API)
            except ConfigError:
                continue
            if manifest.engine and manifest.id not in self._disabled:
                found.setdefault(manifest.id, (folder, manifest))
        return list(found.values())


def _register(folder: Path, manifest: Manifest, host: EngineHost) -> None:
    register_function(folder, manifest.id, manifest.engine, "engine")(host)


def _offer(hosts: Sequence[EngineHost]) -> None:
    """What these halves have collected, and nothing else of extensions, stands in the tables from now on.

    Raises:
        SpecError: `extension_unusable`, two take the same name.
    """
    require_one_each([method for host in hosts for method in host.merge_methods])
    set_added_samplers(tuple(row for host in hosts for row in host.samplers))
    set_added_preprocessors(tuple(row for host in hosts for row in host.preprocessors))
    set_added_kinds(tuple(kind for host in hosts for kind in host.adapter_kinds))
