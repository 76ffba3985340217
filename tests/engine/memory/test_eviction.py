"""Eviction: a pure function over what is loaded."""

from hypothesis import given
from hypothesis import strategies as st

from engine.memory.eviction import PoolEntry, choose_victims, largest_first, least_often_used, used_bytes

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
