"""Ten thousand adapters: how long the first look takes, the second start, and a page, a search and a suggestion.

Writes `ADAPTERS` real LoRA headers (EASEL_BENCH_ADAPTERS overrides the number) with the metadata of trainers and a side
file for every fourth, as people's folders have them. The data behind the headers is a hole in the file: no weight is
ever read here.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.clock import median_ms
from benchmarks.report import Report, Row
from engine.errors import SpecError
from engine.library.library import Library
from engine.library.previews import CoverFolder
from engine.server.gallery import Gallery
from engine.settings import parse_settings
from engine.store.store import open_store

ADAPTERS = 10_000
FOLDERS = 40
MODULES = 192
TURNS = 7
FIRST_LIMIT_S = 60.0
SECOND_LIMIT_S = 1.0
PAGE_LIMIT_MS = 100.0


def run() -> Report:
    """Write the files, look at them twice, ask."""
    count = int(os.environ.get("EASEL_BENCH_ADAPTERS", ADAPTERS))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        _write_files(data / "models" / "loras", count)
        rows = [*_first_look(data, count), *_second_start(data)]
    return Report("adapter_library", tuple(rows))


def _first_look(data: Path, count: int) -> list[Row]:
    settings = parse_settings({"paths": {"data": str(data)}})
    store = open_store(settings.state_dir)
    library = Library(settings, store.library)
    gallery = Gallery(library, store, CoverFolder(settings.state_dir / "previews"))
    began = time.perf_counter()
    library.refresh()
    answered = time.perf_counter() - began
    waits: list[float] = []
    # What a page of the gallery waits for while the rest is being read.
    while not library.wait_for_scan(0.05):
        asked = time.perf_counter()
        gallery.page("", family=None, folder=None, limit=60, cursor=None)
        waits.append((time.perf_counter() - asked) * 1000)
    gallery.sync()
    whole = time.perf_counter() - began
    found = len(library.adapters.entries)
    library.close()
    store.close()
    if found < count:
        raise AssertionError(f"{found} of {count} adapters were found")
    return [
        Row(f"first look at {count} files: done", round(whole, 2), "s", FIRST_LIMIT_S),
        Row("first look: the library answers", round(answered, 2), "s"),
        Row("a page during the first look: median", round(statistics.median(waits or [0.0]), 2), "ms", PAGE_LIMIT_MS),
        Row("a page during the first look: longest", round(max(waits, default=0.0), 2), "ms"),
    ]


def _second_start(data: Path) -> list[Row]:
    settings = parse_settings({"paths": {"data": str(data)}})
    store = open_store(settings.state_dir)
    began = time.perf_counter()
    library = Library(settings, store.library)
    library.refresh()
    seconds = time.perf_counter() - began
    gallery = Gallery(library, store, CoverFolder(settings.state_dir / "previews"))
    synced = time.perf_counter()
    gallery.sync()
    rows = [
        Row("second start", round(seconds, 2), "s", SECOND_LIMIT_S),
        Row("second start: the text index follows", round(time.perf_counter() - synced, 2), "s"),
    ]

    known = library.adapters.entries[777 % len(library.adapters.entries)].view.id

    def page(query: str = "", cursor: str | None = None, folder: str | None = None) -> Callable[[], object]:
        return lambda: gallery.page(query, family=None, folder=folder, limit=60, cursor=cursor)

    for title, call in (
        ("list: first page", page()),
        ("list: page 100", page(cursor="5940")),
        ("list: one folder", page(folder="folder7")),
        ("search: word in every file", page("style")),
        ("search: two words", page("castle night")),
        ("search: unfinished word", page("cas")),
        ("search: part of a word", page("yle")),
        ("find by name", lambda: library.adapters.find(known)),
        ("find nothing, with the nearest names", lambda: _nothing(library)),
        ("complete a word", lambda: gallery.completions("local", "cas", 12)),
        ("suggest for a prompt", lambda: gallery.suggestions("local", "a castle at night, watercolor", None, 8)),
    ):
        rows.append(Row(title, median_ms(call, TURNS), "ms", PAGE_LIMIT_MS))
    library.close()
    store.close()
    return rows


def _nothing(library: Library) -> None:
    with contextlib.suppress(SpecError):
        library.adapters.find("castel_00777")


def _write_files(folder: Path, count: int) -> None:
    chance = random.Random(1)
    vocabulary = ["castle", "night", "watercolor", "portrait", "forest", *(f"word{n}" for n in range(3000))]
    tensors, size = _tensors()
    for number in range(count):
        word = vocabulary[int(chance.paretovariate(0.6)) % len(vocabulary)]
        place = folder / f"folder{number % FOLDERS}"
        place.mkdir(parents=True, exist_ok=True)
        file = place / f"{word}_{number:05}.safetensors"
        tags = {vocabulary[int(chance.paretovariate(0.5)) % len(vocabulary)]: 30 - n for n in range(30)}
        metadata = {
            "ss_output_name": f"{word}_{number:05}",
            "ss_base_model_version": "sd_v1",
            "ss_network_dim": "16",
            "modelspec.title": f"{word} style {number}",
            "ss_tag_frequency": json.dumps({f"10_{word}": {f"{word} style": 30} | tags}),
        }
        header = json.dumps({"__metadata__": metadata} | tensors).encode()
        header += b" " * (-len(header) % 8)
        with file.open("wb") as out:
            out.write(len(header).to_bytes(8, "little") + header)
            out.truncate(8 + len(header) + size)
        if number % 4 == 0:
            side = {"activation text": f"{word} style", "preferred weight": 0.8}
            file.with_suffix(".json").write_text(json.dumps(side), encoding="utf-8")
            file.with_suffix(".preview.png").touch()


def _tensors() -> tuple[dict[str, object], int]:
    """The entries of a LoRA's header for every attention layer, and the bytes that they describe."""
    entries: dict[str, object] = {}
    place = 0
    for number in range(MODULES):
        name = f"lora_unet_down_blocks_{number}_attentions_0_transformer_blocks_0_attn2_to_k"
        for suffix, shape in (("lora_down.weight", [16, 768]), ("lora_up.weight", [320, 16]), ("alpha", [])):
            end = place + 2 * (shape[0] * shape[1] if shape else 1)
            entries[f"{name}.{suffix}"] = {"dtype": "F16", "shape": shape, "data_offsets": [place, end]}
            place = end
    return entries, place
