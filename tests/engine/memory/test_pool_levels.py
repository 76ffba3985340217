"""The pool's second level in RAM, models by name, tiers, live budgets and wishes of other threads."""

from __future__ import annotations

import threading

import pytest

from engine.errors import ConflictError, OutOfMemoryError
from engine.memory.eviction import EvictionPolicy
from engine.memory.pool import ModelPool, PartRequest


class Truck:
    """Notes what it moved."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, object]] = []

    def to_rest(self, value: object) -> object:
        self.moves.append(("rest", value))
        return value

    def to_work(self, value: object) -> object:
        self.moves.append(("work", value))
        return value


def fill(pool: ModelPool, *names: str, size: int = 10) -> None:
    for name in names:
        pool.lease(name, lambda name=name: name.upper(), size).close()


def test_what_is_evicted_rests_and_comes_back_without_loading():
    truck, told = Truck(), []
    pool = ModelPool(20, rest_bytes=20, mover=truck, on_change=lambda what, entry: told.append((what, entry.key)))
    fill(pool, "a", "b", "c")
    assert [entry.key for entry in pool.resting()] == ["a"]
    assert pool.resting_bytes == 10
    with pool.lease("a", lambda: pytest.fail("it was loaded again"), 10) as value:
        assert value == "A"
    assert truck.moves == [("rest", "A"), ("rest", "B"), ("work", "A")]
    assert told[-2:] == [("rested", "b"), ("returned", "a")]
    assert (pool.loads, pool.returns) == (3, 1)


def test_the_second_level_has_its_own_budget():
    pool = ModelPool(10, rest_bytes=20, mover=Truck())
    fill(pool, "a", "b", "c", "d")
    assert [entry.key for entry in pool.resting()] == ["b", "c"]
    assert pool.clear() == 30
    assert pool.resting() == ()


def test_without_a_mover_nothing_rests():
    pool = ModelPool(10, rest_bytes=20)
    fill(pool, "a", "b")
    assert pool.resting() == ()
    assert not pool.has_rest


def test_a_return_without_room_leaves_it_resting():
    pool = ModelPool(10, rest_bytes=20, mover=Truck())
    fill(pool, "a")
    held = pool.lease("b", lambda: "B", 10)
    with pytest.raises(OutOfMemoryError):
        pool.lease("a", lambda: "A", 10)
    assert [entry.key for entry in pool.resting()] == ["a"]
    held.close()


def test_a_smaller_budget_counts_at_once_or_when_things_are_given_back():
    pool = ModelPool(30)
    fill(pool, "a", "b")
    held = pool.lease("c", lambda: "C", 10)
    pool.resize(5)
    assert [entry.key for entry in pool.entries()] == ["c"]
    held.close()
    assert pool.entries() == ()


def test_demand_and_tiers_reach_the_policy():
    now = [0.0]
    pool = ModelPool(30, eviction_policy=EvictionPolicy.SCORE, clock=lambda: now[0])
    fill(pool, "waited", "warm", "plain")
    pool.warm("warm")
    pool.expect({"waited": 3})
    now[0] = 7200.0
    fill(pool, "new")
    assert {entry.key for entry in pool.entries()} == {"waited", "warm", "new"}
    assert {entry.key: entry.queued for entry in pool.entries()}["waited"] == 3


def test_uses_of_the_last_day():
    now = [0.0]
    pool = ModelPool(30, clock=lambda: now[0])
    fill(pool, "a")
    now[0] = 90_000.0
    fill(pool, "a", "a")
    entry = pool.entries()[0]
    assert (entry.uses, entry.uses_24h) == (3, 2)


def test_evicting_what_is_in_use_is_one_sentence():
    pool = ModelPool(30)
    with pool.lease("a", lambda: "A", 10), pytest.raises(ConflictError) as refused:
        pool.evict_unused("a")
    assert refused.value.code == "in_use"


def parts(model: str) -> list[PartRequest]:
    """Two models that share a VAE."""
    return [PartRequest(f"{model}.unet", lambda: f"{model}'s UNet", 10), PartRequest("vae", lambda: "the VAE", 5)]


def test_models_by_name_share_their_parts():
    pool = ModelPool(30, parts_of=parts)
    first, second = pool.load("one"), pool.load("two")
    assert pool.used_bytes == 25
    assert first.model["vae"] is second.model["vae"]
    pool.unload("one")
    assert not pool.is_loaded("one")
    assert pool.is_loaded("two")
    assert set(pool.loaded_models) == {"two"}
    pool.unload("two")
    assert pool.used_bytes == 0


def test_a_handle_does_not_keep_alive_what_was_evicted():
    pool = ModelPool(20, parts_of=lambda name: [PartRequest(name, lambda: [name], 10)])
    handle = pool.load("one")
    assert handle.model == ["one"]
    pool.load("two")
    pool.load("three")
    with pytest.raises(ConflictError) as gone:
        _ = handle.model
    assert gone.value.code == "not_loaded"


def test_wishes_are_granted_on_the_thread_that_uses_the_pool():
    pool, threads = ModelPool(30), []
    poster = threading.Thread(target=lambda: pool.post(lambda it: threads.append(threading.get_ident())))
    poster.start()
    poster.join()
    assert threads == []
    assert pool.attend() == 1
    assert threads == [threading.get_ident()]
    pool.post(lambda it: it.clear())
    fill(pool, "a")
    assert pool.attend() == 0
