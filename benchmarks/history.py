"""The history with many pictures: how long a page of the gallery and of a search takes.

Fills a store of its own with `PICTURES` made-up rows (EASEL_BENCH_PICTURES overrides the number; a million takes about
five minutes and 2 GB), then asks for pages. The words of a prompt are spread as in real prompts: few common, many rare.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.clock import median_ms
from benchmarks.report import Report, Row
from engine.protocol.jobs import ImageView
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store, open_store

PICTURES = 100_000
TURNS = 7
# A page is what scrolling waits for. The first one also counts all matches.
PAGE_LIMIT_MS = 50.0
FIRST_PAGE_LIMIT_MS = 500.0
SEARCHES: dict[str, dict[str, Any]] = {
    "gallery": {},
    "one model": {"model": "model3"},
    "favourites": {"favourite": True},
    "word in every picture": {"query": "masterpiece "},
    "word in every second": {"query": "castle "},
    "unfinished word": {"query": "cast"},
    "rare word": {"query": "masterpiece rareword "},
    "two Japanese characters": {"query": "夏の"},
    "common word, one model": {"query": "castle ", "model": "model3"},
}


def run() -> Report:
    """Fill a store and measure."""
    count = int(os.environ.get("EASEL_BENCH_PICTURES", PICTURES))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        began = time.perf_counter()
        store.history.replace_all_from(_pictures(count), owner="local")
        rows = [Row(f"enter {count} pictures", round(time.perf_counter() - began, 1), "s")]
        for title, search in SEARCHES.items():
            rows += _measure(store, title, search)
        store.close()
    return Report("history", tuple(rows))


def _measure(store: Store, title: str, search: dict[str, Any]) -> list[Row]:
    page = store.history.search("local", **search)
    first = median_ms(lambda: store.history.search("local", **search), TURNS)
    rows = [Row(f"{title}: first page", first, "ms", FIRST_PAGE_LIMIT_MS)]
    if page.next_cursor is not None:
        later = median_ms(lambda: store.history.search("local", cursor=page.next_cursor, **search), TURNS)
        rows.append(Row(f"{title}: next page", later, "ms", PAGE_LIMIT_MS))
    return rows


def _pictures(count: int) -> Iterator[ImageView]:
    random_ = random.Random(1)
    vocabulary = [f"word{int(random_.paretovariate(0.6)) % 20_000}" for _ in range(50_000)]
    for number in range(count):
        words = [random_.choice(vocabulary) for _ in range(30)] + ["masterpiece"]
        words += ["castle"] * (number % 2) + ["rareword"] * (number % 10_000 == 7) + ["夏の猫"] * (number % 10 == 0)
        prompt, name = " ".join(words), f"bench_{number}.png"
        yield ImageView(
            id=uuid.uuid4().hex,
            job_id=f"job{number // 4}",
            job_index=number % 4,
            name=name,
            url=f"/outputs/{name}",
            seed=number,
            width=512,
            height=512,
            created_at=1.7e9 + number,
            spec=GenerationSpec(prompt=prompt, model=f"model{number % 20}", steps=20, seed=number),
            infotext=f"{prompt}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: {number}, Size: 512x512",
            favourite=number % 1000 == 0,
        )
