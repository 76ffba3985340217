"""Answers about finished pictures. Files are the truth; the rows can be rebuilt from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.errors import StorageError
from engine.images.scan import scan_folder
from engine.protocol.commands import (
    DeleteImages,
    Done,
    GetImage,
    ImageFile,
    ImagePage,
    LocateImage,
    MarkImage,
    RebuildHistory,
    RestoreImages,
    SearchHistory,
)
from engine.protocol.events import Event, HistoryChanged
from engine.protocol.jobs import ImageView, Rebuilt
from engine.server.dispatch import Answers
from engine.store.store import Store


class HistoryAnswers:
    """Deleted pictures move to the bin, so that a delete can be undone."""

    def __init__(self, store: Store, outputs: Path, bin_folder: Path, publish: Callable[[Event], None]) -> None:
        self._store, self._outputs, self._bin, self._publish = store, outputs, bin_folder, publish

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            SearchHistory: self.search,
            GetImage: self.get,
            LocateImage: self.locate,
            DeleteImages: self.delete,
            RestoreImages: self.restore,
            MarkImage: self.mark,
            RebuildHistory: self.rebuild,
        }

    def search(self, command: SearchHistory) -> ImagePage:
        """A page of the owner's pictures."""
        return self._store.history.search(
            command.owner,
            command.query,
            model=command.model,
            favourite=command.favourite,
            limit=command.limit,
            cursor=command.cursor,
        )

    def get(self, command: GetImage) -> ImageView:
        """One picture."""
        return self._store.history.get(command.image_id, command.owner)

    def locate(self, command: LocateImage) -> ImageFile:
        """The file of a picture of the owner's."""
        found = self._store.history.locate(command.image_name, command.owner)
        return ImageFile(path=str(self._outputs / found.file_name), media_type=found.media_type)

    def delete(self, command: DeleteImages) -> Done:
        """Move to the bin."""
        names = self._store.history.delete(command.image_ids, command.owner)
        for name in names:
            _move(self._outputs / name, self._bin / name)
        self._tell(command.owner, command.image_ids, "deleted")
        return Done(count=len(names))

    def restore(self, command: RestoreImages) -> Done:
        """Take out of the bin."""
        names = self._store.history.restore(command.image_ids, command.owner)
        for name in names:
            _move(self._bin / name, self._outputs / name)
        self._tell(command.owner, command.image_ids, "restored")
        return Done(count=len(names))

    def mark(self, command: MarkImage) -> ImageView:
        """Favourite and tags."""
        view = self._store.history.mark(command.image_id, command.owner, favourite=command.favourite, tags=command.tags)
        self._tell(command.owner, (command.image_id,), "changed")
        return view

    def rebuild(self, command: RebuildHistory) -> Rebuilt:
        """Read every picture under the outputs folder again."""
        rebuilt = self._store.history.replace_all_from(scan_folder(self._outputs), owner=command.owner)
        self._tell(command.owner, (), "rebuilt")
        return rebuilt

    def _tell(self, owner: str, ids: tuple[str, ...], action: str) -> None:
        self._publish(HistoryChanged(owner=owner, image_ids=ids, action=action))


def _move(source: Path, target: Path) -> None:
    if not source.exists():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    except OSError as error:
        raise StorageError(
            "disk_error", f"{source.name} could not be moved: {error.strerror}.", "Check the disk and try again."
        ) from error
