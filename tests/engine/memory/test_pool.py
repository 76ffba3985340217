"""The pool: leases, one budget, least recently used goes first."""

import pytest

from engine.errors import OutOfMemoryError
from engine.memory.cache import ByteCache
from engine.memory.pool import ModelPool


def keys(pool: ModelPool) -> list[object]:
    return [entry.key for entry in pool.entries()]


def test_a_thing_is_loaded_once_and_shared():
    pool, loads = ModelPool(100), []

    def load() -> list[int]:
        loads.append(1)
        return [1]

    with pool.lease("a", load, 10) as first, pool.lease("a", load, 10) as second:
        assert first is second
        assert pool.entries()[0].leases == 2
    assert loads == [1]
    assert pool.entries()[0].leases == 0
    assert pool.used_bytes == 10


def test_room_is_made_before_loading_and_the_oldest_goes():
    events: list[tuple[str, object]] = []
    pool = ModelPool(30, on_change=lambda what, entry: events.append((what, entry.key)))
    for key in "abc":
        pool.lease(key, object, 10).close()
    pool.lease("a", object, 10).close()
    pool.lease("d", lambda: events.append(("loading", "d")), 10).close()
    assert keys(pool) == ["c", "a", "d"]
    assert events[3:6] == [("evicted", "b"), ("loading", "d"), ("loaded", "d")]


def test_what_is_leased_or_pinned_stays():
    pool = ModelPool(30)
    leased = pool.lease("leased", object, 10)
    pool.lease("pinned", object, 10, pin=True).close()
    pool.lease("free", object, 10).close()
    assert not pool.evict("leased")
    with pytest.raises(OutOfMemoryError) as refused:
        pool.lease("big", object, 20)
    assert refused.value.code == "out_of_memory"
    assert set(keys(pool)) == {"leased", "pinned", "free"}
    pool.lease("small", object, 10).close()
    assert set(keys(pool)) == {"leased", "pinned", "small"}
    leased.close()
    assert pool.clear() == 20
    assert keys(pool) == ["pinned"]


def test_what_is_larger_than_the_budget_is_refused_before_loading():
    def load() -> None:
        raise AssertionError("it was loaded")

    pool = ModelPool(5 * 1024**3)
    with pytest.raises(OutOfMemoryError) as refused:
        pool.lease("model", load, 7 * 1024**3)
    assert refused.value.code == "model_larger_than_budget"
    assert "needs 7.0 GB" in refused.value.message
    assert "5.0 GB" in refused.value.message


def test_a_measured_size_counts_like_a_told_one():
    pool = ModelPool(10)
    pool.lease("a", lambda: b"12345678", len).close()
    pool.lease("b", lambda: b"1234", len).close()
    assert keys(pool) == ["b"]
    with pytest.raises(OutOfMemoryError):
        pool.lease("c", lambda: b"12345678901", len)


def test_a_failing_load_changes_nothing():
    pool = ModelPool(10)

    def load() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        pool.lease("a", load, 5)
    assert pool.entries() == ()


def test_a_closed_lease_is_no_more():
    pool = ModelPool(10)
    lease = pool.lease("a", object, 1)
    lease.close()
    lease.close()
    assert pool.entries()[0].leases == 0
    with pytest.raises(AssertionError):
        _ = lease.value


def test_facts_outlive_eviction():
    pool = ModelPool(10)
    pool.facts("vae")["dtype"] = "float32"
    pool.lease("vae", object, 5).close()
    pool.evict("vae")
    assert pool.facts("vae") == {"dtype": "float32"}


def test_a_cache_keeps_the_newest_bytes():
    cache: ByteCache[str] = ByteCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert cache.get("b") is None
    assert cache.nbytes == 8
    cache.put("huge", "H", 11)
    assert cache.get("huge") is None
    assert (len(cache), cache.hits, cache.misses) == (2, 1, 2)
