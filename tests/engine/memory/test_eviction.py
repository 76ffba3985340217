"""Eviction: a pure function over what is loaded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.memory.eviction import (
    EvictionPolicy,
    PoolEntry,
    Tier,
    choose_victims,
    eviction_score,
    largest_first,
    least_often_used,
    order_of,
    used_bytes,
)

ENTRIES = st.lists(
    st.builds(
        PoolEntry,
        key=st.integers(),
        nbytes=st.integers(0, 100),
        last_used=st.integers(0, 50),
        uses=st.integers(0, 9),
        leases=st.integers(0, 1),
        pinned=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda entry: entry.key,
)


@given(ENTRIES, st.integers(0, 150), st.integers(0, 400))
def test_victims_make_room_and_are_never_leased_or_pinned(entries, need, budget):
    victims = choose_victims(entries, need, budget)
    free = [entry for entry in entries if not entry.leases and not entry.pinned]
    if victims is None:
        assert used_bytes(entries) - used_bytes(free) + need > budget
        return
    chosen = [entry for entry in entries if entry.key in victims]
    assert all(not entry.leases and not entry.pinned for entry in chosen)
    assert used_bytes(entries) - used_bytes(chosen) + need <= budget
    # Nothing goes that need not go: without the last victim it would not fit.
    if victims:
        last = next(entry for entry in chosen if entry.key == victims[-1])
        assert used_bytes(entries) - used_bytes(chosen) + last.nbytes + need > budget


def test_the_least_recently_used_goes_first():
    entries = [PoolEntry("a", 10, last_used=3), PoolEntry("b", 10, last_used=1), PoolEntry("c", 10, last_used=2)]
    assert choose_victims(entries, 10, 30) == ("b",)
    assert choose_victims(entries, 15, 30) == ("b", "c")
    assert choose_victims(entries, 0, 30) == ()
    assert choose_victims(entries, 31, 30) is None


def test_other_orders():
    entries = [PoolEntry("a", 5, last_used=1, uses=9), PoolEntry("b", 20, last_used=2, uses=1)]
    assert choose_victims(entries, 1, 25, least_often_used) == ("b",)
    assert choose_victims(entries, 1, 25, largest_first) == ("b",)
    assert choose_victims(entries, 1, 25) == ("a",)


HOUR = 3600.0


@pytest.mark.parametrize(
    ("hours", "uses", "tier", "queued", "score"),
    [
        (0, 0, Tier.ON_DEMAND, 0, 0),
        (3, 0, Tier.ON_DEMAND, 0, 30),
        (3, 4, Tier.ON_DEMAND, 0, 10),
        (3, 4, Tier.WARM, 0, -90),
        (3, 4, Tier.WARM, 2, -130),
        (100, 0, Tier.PINNED, 0, 0),
    ],
)
def test_the_score(hours, uses, tier, queued, score):
    assert eviction_score(hours_idle=hours, uses_24h=uses, tier=tier, queued=queued) == score


def test_the_highest_score_goes_first():
    entries = [
        PoolEntry("fresh", 10, last_used=4, used_at=100 * HOUR),
        PoolEntry("old", 10, last_used=1, used_at=90 * HOUR),
        PoolEntry("old and used", 10, last_used=2, used_at=90 * HOUR, uses_24h=15),
        PoolEntry("old and waited for", 10, last_used=3, used_at=90 * HOUR, queued=6),
        PoolEntry("old and warm", 10, last_used=0, used_at=90 * HOUR, warm=True),
    ]
    order = order_of(EvictionPolicy.SCORE, now=100 * HOUR)
    assert choose_victims(entries, 40, 50, order) == ("old", "old and used", "old and warm", "fresh")


def test_pinned_is_never_a_candidate_however_long_it_was_idle():
    entries = [PoolEntry("pinned", 10, pinned=True), PoolEntry("new", 10, last_used=9, used_at=200 * HOUR)]
    order = order_of(EvictionPolicy.SCORE, now=200 * HOUR)
    assert choose_victims(entries, 10, 20, order) == ("new",)
    assert choose_victims(entries, 20, 20, order) is None


def test_every_policy_has_an_order():
    entries = [PoolEntry("a", 5, last_used=1, uses=9), PoolEntry("b", 20, last_used=2, uses=1)]
    found = {policy: choose_victims(entries, 1, 25, order_of(policy)) for policy in EvictionPolicy}
    assert found == {
        EvictionPolicy.LRU: ("a",),
        EvictionPolicy.LFU: ("b",),
        EvictionPolicy.SIZE: ("b",),
        EvictionPolicy.SCORE: ("a",),
    }
