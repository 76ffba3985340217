"""Views of everything that is neither a base model nor an adapter: VAEs, ControlNets, embeddings, upscalers."""

from __future__ import annotations

from collections.abc import Sequence

from engine.library.names import unique_ids
from engine.library.scan import Found
from engine.library.sidecars import read_sidecar
from engine.protocol.library import AdvisedWeights, FileKind, FileView

KINDS: tuple[FileKind, ...] = ("vae", "controlnet", "embedding", "upscaler", "unknown")


def file_views(found: Sequence[Found]) -> list[tuple[FileView, Found]]:
    """A view for each file; ids are unique within a kind."""
    result: list[tuple[FileView, Found]] = []
    for kind in KINDS:
        files = [each for each in found if each.kind == kind]
        ids = unique_ids([each.path for each in files])
        result += [(_view(each, file_id), each) for each, file_id in zip(files, ids, strict=True)]
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
        advised=AdvisedWeights(weight=sidecar.weight, low=sidecar.weight_low, high=sidecar.weight_high),
        trigger_words=sidecar.trigger_words or identity.trigger_words,
        problem=identity.problem,
        remark=sidecar.problem,
    )
