"""Finisher: from the last latent to a file, a row in the history, and an event."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from engine.conditioning.grammar import parse
from engine.conditioning.inversions import PromptWords, file_sources
from engine.images.embedded import embed
from engine.images.formats import media_type
from engine.images.infotext import write_infotext
from engine.images.names import file_name
from engine.images.writer import write_image
from engine.jobs.extension_work import ExtensionWork
from engine.jobs.queue import JobQueue
from engine.jobs.running import Running
from engine.jobs.snapshots import SnapshotStore
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.protocol.events import Event, ImageSaved
from engine.protocol.jobs import ImageView
from engine.protocol.specs import GenerationSpec
from engine.sampling.table import sampler_views
from engine.store.store import Store


class Finisher:
    """Writes finished pictures. A crash at any point saves a picture exactly once.

    Order: reserve the name in the store → write the file (temporary name, rename) → record the row and end the task in
    one transaction → forget the snapshot. Recovery adopts a file whose row is missing.
    """

    def __init__(
        self,
        *,
        store: Store,
        queue: JobQueue,
        library: Library,
        snapshots: SnapshotStore,
        outputs: Path,
        name_pattern: str,
        version: str,
        publish: Callable[[Event], None],
        extensions: ExtensionWork | None = None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._library = library
        self._snapshots = snapshots
        self._outputs = outputs
        self._name_pattern = name_pattern
        self._version = version
        self._publish = publish
        self._extensions = extensions

    def save(self, picture: Running, image: Image.Image) -> ImageView:
        """Write and record one picture. Raises StorageError where the disk refuses."""
        spec = spec_of(picture.claim.job.spec, picture.index)
        if self._extensions is not None:
            image = self._extensions.picture(image, spec, partial(self._queue.notice, picture.job_id))
        name = picture.claim.task.file_name or self._new_name(picture, spec)
        self._queue.reserve_file(picture.job_id, picture.index, name)
        model = self._library.find_model(spec.model)
        infotext = write_infotext(
            spec,
            model_title=model.view.id,
            model_hash=self._library.hash_of(model),
            version=self._version,
            samplers=sampler_views(),
            adapters=self._library.adapter_hashes(row.name for row in spec.adapters),
            embeddings=self._library.embedding_hashes(self._embeddings(spec, model)),
            controls={file.id: file.hash for file in self._library.files("controlnet")} if spec.controls else {},
        )
        view = ImageView(
            id=picture.image_id,
            job_id=picture.job_id,
            job_index=picture.index,
            name=name,
            url=f"/outputs/{quote(name)}",
            seed=spec.seed or 0,
            width=image.width,
            height=image.height,
            created_at=time.time(),
            spec=spec,
            infotext=infotext,
            seconds=time.monotonic() - picture.began,
        )
        write_image(
            image,
            self._outputs / name,
            infotext=infotext,
            spec_json=embed(view),
            options=spec.output,
        )
        self.record(view, picture.owner)
        return view

    def record(self, view: ImageView, owner: str) -> None:
        """The file is there: enter it, end its task, tell everybody."""
        self._store.history.record(view, media_type=media_type(view.name), owner=owner)
        self._snapshots.forget(view.id)
        self._publish(ImageSaved(owner=owner, image=view))

    def _embeddings(self, spec: GenerationSpec, model: ModelEntry) -> list[str]:
        """Words of the textual inversions that the prompts were read with."""
        sources = file_sources(self._library.embeddings)
        texts = (spec.prompt, spec.negative_prompt or "")
        loaded = [PromptWords(parse(text, spec.prompt_syntax), sources).load(model.text_widths) for text in texts]
        return list(dict.fromkeys(name for each in loaded for name in each.names))

    def _new_name(self, picture: Running, spec: GenerationSpec) -> str:
        name = file_name(
            spec.output.name_pattern or self._name_pattern,
            model=spec.model or "",
            seed=spec.seed or 0,
            when=datetime.now(),
            image_id=picture.image_id,
            spec=spec,
            index=picture.index,
        )
        return self._store.history.free_name(name)


def spec_of(spec: GenerationSpec, index: int) -> GenerationSpec:
    """The spec that makes picture `index` of a job alone."""
    return spec.model_copy(update={"seed": ((spec.seed or 0) + index) % 2**32, "count": 1})
