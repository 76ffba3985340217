"""Library: all model files that a person has, by name, with what can be done with each. No weights are read here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.errors import ModelFileError, SpecError, StudioError
from engine.library.adapter_entries import adapter_entries
from engine.library.adapter_shelf import AdapterShelf
from engine.library.catalogue import Catalogue
from engine.library.defaults import SavedDefaults
from engine.library.embeddings import EmbeddingEntry, embedding_entries
from engine.library.entries import ModelEntry, VaeEntry
from engine.library.files import file_views
from engine.library.hashing import HashingThread
from engine.library.index import FileIndex
from engine.library.model_list import STARTER, model_entries
from engine.library.names import find, nearest
from engine.library.no_collecting import no_collecting
from engine.library.roots import Roots
from engine.library.scan import Found, Place, hashed_info, read_unread, scan, state_of
from engine.library.shelf import Shelf
from engine.library.stamps import stamp_if_there
from engine.protocol.library import FileKind, FileView, ModelDefaults
from engine.settings import Settings

log = logging.getLogger(__name__)

# New adapters are read for so long while somebody waits, the rest in the background.
PATIENCE = 0.5
READ_AT_ONCE = 100
# Characters of a hash that name a file surely.
SHORT_HASH = 8


class Library:
    """What there is. `refresh` looks at the folders; everything else answers from the last look.

    Threads: readers see whole states; one lock keeps two looks at the disk apart, another two changes of state. Many
    new adapters are read in a background thread, and appear as they are known.
    """

    def __init__(self, settings: Settings, index: FileIndex) -> None:
        self._settings = settings
        self._index = index
        self._catalogue = Catalogue(settings)
        self._roots = Roots(settings, self._catalogue)
        self._saved = SavedDefaults(settings.state_dir / "model_defaults.json")
        self._scanning = threading.RLock()
        self._lock = threading.RLock()
        self._shelf: Shelf | None = None
        self._hashing: HashingThread | None = None
        # What was hashed since the shelf was arranged; put into it by the next reader, since each change costs a pass.
        self._fresh_hashes: dict[str, tuple[Found, str, str]] = {}
        self._reading: threading.Thread | None = None
        self._unread: list[Place] = []
        self._closing = threading.Event()
        self._tell: Callable[[], None] = lambda: None

    # --- looking -------------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Look at the folders again; whether anything changed."""
        with self._scanning:
            before = self._shelf
            # Readers are not kept waiting while the disk is looked at.
            with no_collecting(keep=before is None):
                looked = scan(self._roots.present(), self._index, patience=PATIENCE)
                with self._lock:
                    self._unread = looked.unread
                    self._shelf = self._arrange(looked.found)
                    shelf = self._shelf
            present = [*(each.path for each in looked.found), *(place.path for place in looked.unread)]
            gone = set(self._index.paths()).difference(map(str, present))
            # The rows of a whole folder that is away are kept.
            away = self._roots.away()
            kept = [path for path in map(Path, gone) if any(path.is_relative_to(folder) for folder in away)]
            if len(kept) < len(gone):
                self._index.prune([*present, *kept])
            if looked.unread and self._reading is None:
                self._reading = threading.Thread(target=self._read_rest, name="easel-scan", daemon=True)
                self._reading.start()
        self._hash_rest()
        return before is None or before.views != shelf.views

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` (in the background's thread) when what it read has been added."""
        self._tell = tell

    def wait_for_scan(self, timeout: float) -> bool:
        """Wait until every file has been read; False after `timeout` seconds."""
        reading = self._reading
        if reading is not None:
            reading.join(timeout)
        # The last handful is taken off the list before it is read.
        return not self._unread and (reading is None or not reading.is_alive())

    def model_folders(self) -> list[Path]:
        """Where base models go: the user's own folder first, then those of other studios."""
        return self._roots.for_models()

    # --- models --------------------------------------------------------------------------------------------------

    def models(self) -> list[ModelEntry]:
        """Every base model, the starter first and those with a problem last."""
        return list(self._now().models)

    def default_model(self) -> str:
        """The id of the model of a job that names none; "" where there is no usable model."""
        try:
            return self.find_model(None).view.id
        except StudioError:
            return ""

    def find_model(self, name: str | None) -> ModelEntry:
        """The model of that id, title, file name, hash (8 characters and more), or A1111's "name [hash]".

        Raises:
            SpecError: `model_unknown`. ModelFileError: the model cannot be used, and why.
        """
        shelf = self._now()
        usable = [entry for entry in shelf.models if not entry.view.problem]
        if name is None or not name.strip():
            name = self._settings.engine.default_model
            if name == STARTER and usable and not any(entry.view.id == STARTER for entry in shelf.models):
                return usable[0]
        ids = {entry.view.id: (entry.view.title, entry.path.name, entry.path.stem) for entry in shelf.models}
        found = find(name, ids, {entry.view.id: entry.view.hash for entry in shelf.models})
        if found is None:
            hint = nearest(name, [entry.view.id for entry in usable])
            if not usable:
                hint = f"There is no model yet: put one into {self._settings.models_dir.name}/checkpoints."
            raise SpecError("model_unknown", f"There is no model “{name[:100]}”.", hint)
        entry = next(entry for entry in shelf.models if entry.view.id == found)
        if entry.view.problem:
            raise ModelFileError(entry.problem_code or "model_file_unsupported", entry.view.problem, _hint(entry))
        return entry

    def save_defaults(self, model_id: str, defaults: ModelDefaults) -> None:
        """Keep values as this model's own; empty ones go back to the family's.

        Raises:
            SpecError: `model_unknown`. StorageError: the disk refuses.
        """
        entry = self.find_model(model_id)
        with self._lock:
            self._saved.save(entry.view.id, defaults)
            self._shelf = self._arrange(list(self._now().found))

    # --- other files ---------------------------------------------------------------------------------------------

    def files(self, kind: FileKind) -> list[FileView]:
        """The files of a kind, by title. Base models are `models()`."""
        if kind == "adapter":
            return [entry.file_view for entry in self.adapters.entries]
        return [view for view, _ in self._now().files if view.kind == kind]

    @property
    def adapters(self) -> AdapterShelf:
        """All adapters as they are known now."""
        return self._now().adapters

    def find_vae(self, name: str) -> VaeEntry:
        """The VAE of that id or file name.

        Raises:
            SpecError: `vae_unknown`. ModelFileError: it cannot be used.
        """
        view, found = self._find_file("vae", name)
        if view.problem:
            raise ModelFileError(found.identity.code or "model_file_unsupported", view.problem, "Choose another VAE.")
        return VaeEntry(view, found.path, stamp_if_there(found.path))

    def path_of(self, kind: FileKind, name: str) -> Path:
        """Where the file of that id or file name lies.

        Raises:
            SpecError: `vae_unknown`, or `adapter_unknown` for every other kind.
            ModelFileError: an adapter that cannot be used.
        """
        if kind == "adapter":
            return self.adapters.find(name).path
        return self._find_file(kind, name)[1].path

    @property
    def embeddings(self) -> list[EmbeddingEntry]:
        """Textual inversions, those with a problem too."""
        return embedding_entries(self._now().files)

    def embedding_word(self, name: str, hash_prefix: str = "") -> str | None:
        """The word that calls an embedding which a picture names: by name, or by hash where it was renamed."""
        entries = [entry for entry in self.embeddings if not entry.view.problem]
        wanted = name.strip().casefold()
        for entry in entries:
            if wanted in (entry.word.casefold(), *(token.casefold() for token in entry.tokens)):
                return entry.word
        prefix = hash_prefix if len(hash_prefix) >= SHORT_HASH else "-"
        return next((entry.word for entry in entries if entry.view.hash.startswith(prefix)), None)

    def embedding_hashes(self, words: Iterable[str]) -> dict[str, str]:
        """SHA-256 (64 hex) of embeddings by their words; "" where not known yet, no entry where it is gone."""
        hashes = {entry.word: entry.view.hash for entry in self.embeddings}
        return {word: hashes[word] for word in words if word in hashes}

    # --- hashes --------------------------------------------------------------------------------------------------

    def hash_of(self, entry: ModelEntry) -> str:
        """A1111's model hash: the first 10 characters of the file's SHA-256; "" until it is known."""
        for each in self._now().models:
            if each.view.id == entry.view.id and each.stamp == entry.stamp:
                return each.view.hash[:10]
        return ""

    def adapter_hashes(self, names: Iterable[str]) -> dict[str, tuple[str, str]]:
        """SHA-256 and AutoV3 (64 hex) of adapters by their ids; "" where not known yet, no entry where it is gone."""
        shelf = self.adapters
        found = {name: shelf.get(name) for name in names}
        return {name: (entry.view.hash, entry.auto_v3) for name, entry in found.items() if entry is not None}

    def start_hashing(self, on_done: Callable[[str], None]) -> None:
        """Hash what has no hash yet, in a background thread; `on_done(file name)` after each file."""

        def done(path: Path, sha256: str, auto_v3: str) -> None:
            if self._hashed(path, sha256, auto_v3):
                on_done(path.name)

        self._hashing = HashingThread(done)
        self._hash_rest()

    def wait_for_hashes(self, timeout: float) -> bool:
        """Wait until every file is hashed; False after `timeout` seconds."""
        return self._hashing is None or self._hashing.wait(timeout)

    def hash_first(self, paths: Iterable[Path]) -> None:
        """Hash these before all others: a picture is being made with them, and will carry the hashes."""
        if self._hashing is not None:
            self._hashing.put_first((path, True) for path in paths)

    def close(self) -> None:
        """Stop the background."""
        self._closing.set()
        if self._reading is not None:
            self._reading.join(timeout=10)
        if self._hashing is not None:
            self._hashing.stop()

    # --- inside --------------------------------------------------------------------------------------------------

    def _now(self) -> Shelf:
        shelf = self._shelf
        if shelf is None:
            with self._scanning:
                if self._shelf is None:
                    self.refresh()
                shelf = self._shelf
        if self._fresh_hashes:
            shelf = self._with_hashes()
        assert shelf is not None
        return shelf

    def _arrange(self, found: list[Found]) -> Shelf:
        checkpoints = [each for each in found if each.kind == "checkpoint"]
        models = model_entries(checkpoints, self._catalogue, self._saved.load(), self._settings.starter_dir)
        others = [each for each in found if each.kind not in ("checkpoint", "adapter")]
        entries = adapter_entries([each for each in found if each.kind == "adapter"], self._catalogue)
        adapters = AdapterShelf(entries, scanning=bool(self._unread))
        return Shelf(tuple(models), tuple(file_views(others)), tuple(found), adapters)

    def _read_rest(self) -> None:
        """The background of a scan. The shelf is arranged anew when a quarter has come to it, and at the end."""
        fresh: list[Found] = []
        while self._unread and not self._closing.is_set():
            with self._lock:
                part, self._unread = self._unread[:READ_AT_ONCE], self._unread[READ_AT_ONCE:]
            try:
                fresh += read_unread(part, self._index)
            except StudioError:
                # Not kept, so it is read again at the next start; what was found counts all the same.
                log.exception("what was read of new files could not be kept")
            with self._lock:
                known = self._now().found
                arrange = not self._unread or len(fresh) * 4 > len(known)
                if arrange:
                    here = {each.path for each in known}
                    self._shelf = self._arrange([*known, *(each for each in fresh if each.path not in here)])
                    fresh = []
                if not self._unread:
                    self._reading = None
            if arrange:
                self._tell()
        self._hash_rest()

    def _find_file(self, kind: FileKind, name: str) -> tuple[FileView, Found]:
        files = {view.id: (view, found) for view, found in self._now().files if view.kind == kind}
        ids = {key: (view.title, found.path.name, found.path.stem) for key, (view, found) in files.items()}
        chosen = find(name, ids, {key: view.hash for key, (view, _) in files.items()})
        if chosen is None:
            usable = [key for key, (view, _) in files.items() if not view.problem]
            word, code = ("VAE", "vae_unknown") if kind == "vae" else (kind, "adapter_unknown")
            raise SpecError(code, f"There is no {word} “{name[:100]}”.", nearest(name, usable))
        return files[chosen]

    def _hash_rest(self) -> None:
        if self._hashing is None:
            return
        rest = [each for each in self._now().found if not each.hash and not each.identity.problem]
        # Embeddings are done in no time.
        order = {"embedding": -1, "checkpoint": 0, "vae": 1, "adapter": 2}
        rest.sort(key=lambda each: (order.get(each.kind, 3), each.size))
        self._hashing.put((each.path, each.kind == "adapter") for each in rest)

    def _hashed(self, path: Path, sha256: str, auto_v3: str) -> bool:
        """Store a hash and show it, unless the file changed meanwhile."""
        old = self._find_found(path)
        if old is None or not self._unchanged(old):
            return False
        try:
            self._index.put(path, old.size, old.mtime_ns, hashed_info(old, auto_v3))
            self._index.set_hash(path, old.size, old.mtime_ns, sha256)
        except StudioError:
            log.exception("the hash of %s could not be kept", path.name)
        with self._lock:
            self._fresh_hashes[str(path)] = (old, sha256, auto_v3)
        return True

    def _find_found(self, path: Path) -> Found | None:
        shelf = self._shelf
        return None if shelf is None else next((each for each in shelf.found if each.path == path), None)

    def _with_hashes(self) -> Shelf:
        """The shelf with what was hashed meanwhile."""
        with self._lock:
            fresh, self._fresh_hashes = self._fresh_hashes, {}
            assert self._shelf is not None
            # A refresh may have found another file at the same place meanwhile.
            states = {str(each.path): (each.size, each.mtime_ns) for each in self._shelf.found}
            known = {
                path: (sha256, auto_v3)
                for path, (old, sha256, auto_v3) in fresh.items()
                if states.get(path) == (old.size, old.mtime_ns)
            }
            self._shelf = self._shelf.with_hashes(known)
            return self._shelf

    def _unchanged(self, found: Found) -> bool:
        state = state_of(found.path)
        return state == (found.size, found.mtime_ns)


def _hint(entry: ModelEntry) -> str:
    hints = {
        "model_file_truncated": "Fetch the file again.",
        "model_file_unsafe": "Use the .safetensors version of this model.",
        "model_file_missing": "Put the file there, or correct config.toml.",
        "model_parts_missing": "Fetch it again, or choose another model.",
    }
    return hints.get(entry.problem_code, "Choose another model.")
