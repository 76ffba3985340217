"""What kind of part lies behind a key of the pool, and the bytes of each kind over time."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import pytest

from engine.jobs.adapters import AdapterKey
from engine.jobs.controls import ControlKey
from engine.jobs.enlarging import UpscalerKey
from engine.jobs.hints import DetectorKey
from engine.loading.loader import ComponentKey
from engine.memory.eviction import PoolEntry
from engine.memory.views import bytes_by_kind, entry_view, kind_of, name_of
from engine.pipeline.model import VaeCopyKey


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ComponentKey("a", "unet", "float32"), "unet"),
        (ComponentKey("a", "text_encoder", "float32"), "text_encoder"),
        (ComponentKey("a", "text_encoder_2", "float32"), "text_encoder"),
        (ComponentKey("", "vae", "float32", "b"), "vae"),
        (VaeCopyKey("a|b|vae|float16", "float32"), "vae"),
        (ControlKey("a", "1", "float32"), "controlnet"),
        (AdapterKey(Path("a"), (1, 2), "tiny"), "adapter"),
        (DetectorKey("a", ()), "preprocessor"),
        (UpscalerKey("a", "1"), "upscaler"),
        ("a thing", "other"),
    ],
)
def test_every_key_has_a_kind(key: object, kind: str) -> None:
    assert kind_of(key) == kind


def test_bytes_by_kind_are_all_that_is_loaded() -> None:
    parts = ("unet", "text_encoder", "text_encoder_2", "tokenizer")
    entries = [
        PoolEntry(ComponentKey("a", part, "float32"), size) for part, size in zip(parts, (8, 2, 3, 0), strict=True)
    ]
    assert bytes_by_kind(entries) == {"unet": 8, "text_encoder": 5}


def test_an_adapter_is_called_by_its_file() -> None:
    view = entry_view(PoolEntry(AdapterKey(Path("/models/loras/ink.safetensors"), (1, 2), "tiny"), 5))
    assert (view.title, view.part) == ("ink.safetensors", "adapter")


@pytest.mark.parametrize(
    ("key", "said", "row"),
    [
        (UpscalerKey("/models/upscalers/anime.pth", "1-2"), "upscaler of anime.pth", ("upscaler", "anime.pth")),
        (VaeCopyKey("/models/vae/soft.pt|1-2|vae|float16", "float32"), "vae of soft.pt", ("vae", "soft.pt")),
        (("upscaler", "/secret/anime.pth", 1, 2), "upscaler", ("upscaler", "part without a name")),
        (("/secret", 1795), "part without a name", ("", "part without a name")),
        (7, "part without a name", ("", "part without a name")),
    ],
)
def test_a_key_is_a_name_and_never_itself(key: Hashable, said: str, row: tuple[str, str]) -> None:
    entry = PoolEntry(key, 5)
    view = entry_view(entry)
    assert name_of(entry) == said
    assert (view.part, view.title) == row
