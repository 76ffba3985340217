"""Views of everything that is not a base model: adapters, VAEs, ControlNets, embeddings, upscalers."""

from __future__ import annotations

from collections.abc import Sequence

from engine.library.catalogue import Catalogue
from engine.library.identity import Identity
from engine.library.layouts import FoundFolder
from engine.library.names import unique_ids
from engine.library.scan import Found
from engine.library.sidecars import read_sidecar
from engine.protocol.library import FileKind, FileView

KINDS: tuple[FileKind, ...] = ("vae", "adapter", "controlnet", "embedding", "upscaler", "unknown")


def file_views(found: Sequence[Found], catalogue: Catalogue) -> list[tuple[FileView, Found]]:
    """A view for each file, with what the catalogue says of adapters; ids are unique within a kind."""
    result: list[tuple[FileView, Found]] = []
    listed = {path.resolve(): (lora_id, entry) for lora_id, entry, path, absent in catalogue.loras() if not absent}
    for kind in KINDS:
        files = [each for each in found if each.kind == kind]
        look = kind == "adapter" and bool(listed)
        named = [listed.get(each.path.resolve()) if look else None for each in files]
        rest = [each for each, entry in zip(files, named, strict=True) if entry is None]
        taken = [entry[0] for entry in named if entry is not None]
        ids = iter(unique_ids([each.path for each in rest], taken))
        for each, entry in zip(files, named, strict=True):
            view = _view(each, entry[0] if entry else next(ids))
            if entry:
                lora = entry[1]
                words = lora.trigger_words or view.trigger_words
                view = view.model_copy(
                    update={"title": lora.name, "default_weight": lora.default_weight, "trigger_words": words}
                )
            result.append((view, each))
    for lora_id, lora, path, absent in catalogue.loras():
        if absent:
            view = FileView(
                id=lora_id,
                title=lora.name,
                kind="adapter",
                default_weight=lora.default_weight,
                trigger_words=lora.trigger_words,
                problem=absent,
            )
            identity = Identity(kind="adapter", problem=absent, code="model_file_missing")
            result.append((view, Found(path, FoundFolder("adapter", path.parent, "catalogue"), 0, 0, identity)))
    return sorted(result, key=lambda item: (item[0].kind, bool(item[0].problem), item[0].title.casefold()))


def _view(found: Found, file_id: str) -> FileView:
    sidecar = read_sidecar(found.path)
    identity = found.identity
    return FileView(
        id=file_id,
        title=sidecar.name or identity.title or (found.path.name if found.path.is_dir() else found.path.stem),
        kind=found.kind,
        family=identity.family,
        size_bytes=found.size,
        hash=found.hash,
        default_weight=sidecar.weight if sidecar.weight is not None else 1.0,
        trigger_words=sidecar.trigger_words or identity.trigger_words,
        problem=identity.problem,
    )
