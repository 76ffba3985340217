"""A model's modules under the names files use. Underscores hide where dots were: names are looked up, not parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from engine.adapters.keys.spelling import Spelling
from engine.adapters.modules import ModuleKey, Targets
from engine.families.keys import UNET_PREFIX, unet_name

_TEXT_ROOT = "text_model_"
_TABLES_KEPT = 8


@dataclass(frozen=True)
class NameTable:
    """(component, name with underscores) → the module; the UNet's also under their original (LDM) names."""

    modules: Mapping[tuple[str, str], ModuleKey]

    def find(self, spelling: Spelling) -> ModuleKey | None:
        """The module that a key means; None: the model has none of that name."""
        for component in spelling.components:
            if (key := self.modules.get((component, spelling.module))) is not None:
                return key
        return None


@lru_cache(maxsize=_TABLES_KEPT)
def name_table(targets: Targets) -> NameTable:
    """The table of a model. Where two modules would share a name, the one under its own (diffusers) name wins."""
    own: dict[tuple[str, str], ModuleKey] = {}
    other: dict[tuple[str, str], ModuleKey] = {}
    for key in targets.modules:
        component, path = key
        name = path.replace(".", "_")
        own[component, name] = key
        if component == "unet":
            if original := original_name(path, targets):
                other[component, original.replace(".", "_")] = key
        elif name.startswith(_TEXT_ROOT):
            other[component, name.removeprefix(_TEXT_ROOT)] = key
        else:
            other[component, _TEXT_ROOT + name] = key
    return NameTable({**other, **own})


def original_name(path: str, targets: Targets) -> str | None:
    """A UNet module's path in the original code ("input_blocks.4.1.proj_in"); None where that has no such module."""
    try:
        place = unet_name(f"{path}.weight", targets.unet_config).name
    except (KeyError, IndexError, TypeError):
        return None
    return place.removeprefix(UNET_PREFIX).removesuffix(".weight")
