"""What the store remembers about memory."""

from __future__ import annotations

import time

from engine.store.memory import PoolRow
from engine.store.store import Store, open_store


def test_settings_last(store: Store) -> None:
    assert store.memory.setting("level") is None
    store.memory.set_setting("level", "ultra")
    store.memory.set_setting("level", "balanced")
    assert store.memory.setting("level") == "balanced"


def test_pins_outlive_the_entry_and_the_engine(store: Store) -> None:
    unet, vae = PoolRow("k1", "anime", "unet", 100, pinned=True, loaded=True), PoolRow("k2", "anime", "vae", 5)
    store.memory.save_pool([unet, vae])
    store.memory.save_pool([vae])
    store.memory.pin_model("anime")
    store.memory.pin_model("anime")
    folder = store.path.parent
    store.close()
    again = open_store(folder)
    rows = {row.key: row for row in again.memory.pool()}
    assert rows["k1"].pinned
    assert not rows["k1"].loaded
    assert again.memory.pinned_models() == ["anime"]
    again.memory.pin_model("anime", pinned=False)
    assert again.memory.pinned_models() == []
    again.close()


def test_what_was_loaded_long_ago_is_forgotten_but_for_its_pins(store: Store) -> None:
    store.memory.save_pool([PoolRow("pinned", "x", nbytes=1, pinned=True, used_at=0.0)])
    store.memory.save_pool([PoolRow(f"k{index}", "x", nbytes=1, used_at=float(index + 1)) for index in range(600)])
    rows = [row.key for row in store.memory.pool()]
    assert len(rows) == 501
    assert "pinned" in rows
    assert "k599" in rows


def test_uses(store: Store) -> None:
    now = time.time()
    store.memory.used("old", now - 90 * 86_400)
    store.memory.used("a", now - 10)
    store.memory.used("b")
    assert [model for model, _ in store.memory.uses(now - 60)] == ["a", "b"]
    assert store.memory.prune() == 1
