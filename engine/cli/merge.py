"""`launch.py merge RECIPE.json --out FILE`: run a merge recipe without a browser, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, TypeAdapter, ValidationError

from engine.errors import MergeError, ModelFileError, SpecError, StudioError
from engine.launcher.command_parser import CommandParser
from engine.library.entries import ModelEntry
from engine.library.headers import read_header
from engine.library.index import KnownRow
from engine.library.layouts import FoundFolder
from engine.library.library import Library
from engine.library.models import FamilyConfigs, Naming, build_entry
from engine.library.scan import look_at
from engine.protocol.merge import AnyRecipe
from engine.protocol.merge_reports import MergeProgress, MergeReport
from engine.settings import ROOT, Settings, load_settings

if TYPE_CHECKING:
    from engine.merge.methods.base import MergeMethod

_RECIPE: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)
_LARGEST = 10_000_000
_PATIENCE = 600.0


class _PassingIndex:
    """An index for one look: a running studio may hold the real one, which has a single writer."""

    def all(self) -> dict[str, KnownRow]:
        return {}

    def paths(self) -> list[str]:
        return []

    def put(self, path: str | Path, size: int, mtime_ns: int, info: Mapping[str, JsonValue]) -> None:
        return

    def put_many(self, rows: Iterable[tuple[str | Path, int, int, Mapping[str, JsonValue]]]) -> None:
        return

    def set_hash(self, path: str | Path, size: int, mtime_ns: int, hash_: str) -> bool:
        return False

    def prune(self, existing: Iterable[str | Path]) -> int:
        return 0


def main(arguments: list[str] | None = None) -> int:
    """The process entry; prints the made file on standard output, everything else on standard error."""
    parser = CommandParser("merge", description="Run a merge recipe.")
    parser.add_argument("recipe", type=Path, help="a JSON file; its names are files or ids of the library")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="what to make: .safetensors or a folder"
    )
    parser.add_argument("--replace", action="store_true", help="overwrite a file of that name")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--data", metavar="FOLDER")
    try:
        found = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
        recipe = read_recipe(found.recipe)
        settings = load_settings(found.config, data=found.data)
        report = run_recipe(recipe, found.out, found.recipe.resolve().parent, settings, replace=found.replace)
    except StudioError as error:
        sys.stderr.write(f"\rEasel: {error} [{error.code}]\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Nothing of the file is left.\n")
        return 130
    sys.stderr.write("\r" + summary(report) + "\n")
    sys.stdout.write(f"{found.out}\n")
    return 0


def read_recipe(path: Path) -> AnyRecipe:
    """A recipe from a JSON file, or from inside a file that was made by one.

    Raises:
        SpecError: `bad_request`. ModelFileError: the safetensors file cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            text = read_header(path).metadata.get("easel.recipe", "")
        else:
            text = path.read_bytes()[:_LARGEST].decode("utf-8")
        return _RECIPE.validate_json(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("bad_request", f"{path.name} cannot be read: {error}.", "Name a recipe file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        raise SpecError(
            "bad_request", f"{path.name} is no merge recipe: {place or 'it'}: {first['msg']}.", "Correct the field."
        ) from error


def run_recipe(recipe: AnyRecipe, out: Path, beside: Path, settings: Settings, *, replace: bool = False) -> MergeReport:
    """Run it, with a line of progress on a terminal.

    Args:
        beside: the folder that relative paths of the recipe start from.

    Raises:
        StudioError: what is wrong; nothing of the file is left.
    """
    from engine.loading.torchvision_guard import guard_torchvision
    from engine.merge.files import RecipeFiles, names_of
    from engine.merge.recipe_checks import require_name
    from engine.merge.run import run

    guard_torchvision()
    require_name(out.name)
    adapters, models = names_of(recipe)
    library = _Names(settings, beside)
    try:
        files = RecipeFiles(
            {name: library.adapter(name) for name in adapters}, {name: library.model(name) for name in models}
        )
    finally:
        library.close()
    report = None
    for progress in run(recipe, files, out, replace=replace, methods=_methods(settings)):
        _show(progress)
        report = progress.report
    if report is None:
        raise MergeError("merge_nothing_left", "The recipe made nothing.", "Check its inputs.")
    return report


def summary(report: MergeReport) -> str:
    """The result in one line, and its notices."""
    parts = [f"{report.file}: {report.size_bytes / 1e6:.1f} MB in {report.seconds:.1f} s"]
    if report.modules:
        parts.append(f"{len(report.modules)} modules, error {report.error:.2e}, energy kept {report.energy:.2%}")
    if report.parity is not None:
        parts.append(f"difference from stacking {report.parity:.2e}")
    return "\n".join(["; ".join(parts), *report.notices])


def _methods(settings: Settings) -> dict[str, MergeMethod]:
    """Easel's methods and those of extensions, as in the studio."""
    from engine.server.extension_halves import ExtensionHalves

    halves = ExtensionHalves(ROOT / "extensions", settings.extensions.disabled)
    halves.load()
    return halves.merge_methods()


class _Names:
    """What a recipe's names stand for: files by their path, else the library's, which is looked through only then."""

    def __init__(self, settings: Settings, beside: Path) -> None:
        self._settings = settings
        self._beside = beside
        self._library: Library | None = None

    def adapter(self, name: str) -> Path:
        path = self._path(name)
        return path if path is not None else self._opened().adapters.find(name).path

    def model(self, name: str) -> ModelEntry:
        path = self._path(name)
        if path is None:
            return self._opened().find_model(name)
        entry = build_entry(
            look_at(path, FoundFolder("checkpoint", path.parent, "Easel")), Naming(id=path.stem), FamilyConfigs()
        )
        if entry.view.problem:
            raise ModelFileError(entry.problem_code or "model_file_unsupported", entry.view.problem)
        return entry

    def close(self) -> None:
        if self._library is not None:
            self._library.close()

    def _path(self, name: str) -> Path | None:
        path = self._beside / Path(name).expanduser()
        return path.resolve() if path.exists() else None

    def _opened(self) -> Library:
        if self._library is None:
            self._library = Library(self._settings, _PassingIndex())
            self._library.wait_for_scan(_PATIENCE)
        return self._library


def _show(progress: MergeProgress) -> None:
    if sys.stderr.isatty():
        left = "" if progress.seconds_left is None else f", about {progress.seconds_left:.0f} s left"
        sys.stderr.write(f"\r\x1b[K{progress.stage} {progress.fraction:.0%}{left}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
