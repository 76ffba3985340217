"""Which base models there are, and what each is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.library.catalogue import Catalogue
from engine.library.entries import ModelEntry
from engine.library.models import FamilyConfigs, Naming, build_entry, missing_entry
from engine.library.names import unique_ids
from engine.library.scan import Found
from engine.protocol.library import ModelDefaults

STARTER = "starter"


def model_entries(
    checkpoints: list[Found], catalogue: Catalogue, saved: dict[str, ModelDefaults], starter_dir: Path
) -> list[ModelEntry]:
    """The catalogue's models, the starter and all other checkpoints: the starter first, those with a problem last.

    Args:
        saved: what the person keeps as each model's own values, by id.
    """
    shipped = FamilyConfigs()
    entries: list[ModelEntry] = []
    by_path = {each.path.resolve(): each for each in checkpoints}
    listed: set[Path] = set()
    for naming, path in catalogue.models(saved):
        found = by_path.get(path.resolve())
        listed.add(path.resolve())
        if naming.problem or found is None:
            problem = naming.problem or f"{path.name}, which config.toml names, is not a base model."
            code = naming.code or "model_file_unsupported"
            entries.append(missing_entry(replace(naming, problem=problem, code=code), path))
        else:
            entries.append(build_entry(found, naming, shipped))
    taken = [entry.view.id for entry in entries]
    rest = [each for path, each in by_path.items() if path not in listed]
    starter = starter_dir.resolve()
    for each in [each for each in rest if each.path.resolve() == starter]:
        if STARTER not in taken:
            entries.append(build_entry(each, Naming(STARTER, saved=saved.get(STARTER, ModelDefaults())), shipped))
            taken.append(STARTER)
        rest.remove(each)
    for each, model_id in zip(rest, unique_ids([each.path for each in rest], [*taken, STARTER]), strict=True):
        entries.append(build_entry(each, Naming(model_id, saved=saved.get(model_id, ModelDefaults())), shipped))
    return sorted(entries, key=_order)


def _order(entry: ModelEntry) -> tuple[bool, bool, str]:
    return bool(entry.view.problem), entry.view.id != STARTER, entry.view.title.casefold()
