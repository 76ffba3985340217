"""Values, events, measurements and the library index."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store.store import Store

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_json)
def test_any_json_value_comes_back(store: Store, value: object) -> None:
    store.values.set("ann", "form.last", value)  # type: ignore[arg-type]
    assert store.values.get("ann", "form.last") == value


def test_values_belong_to_their_owner(store: Store) -> None:
    store.values.set("ann", "form.last", {"steps": 20})
    store.values.set("ann", "preset.ink", 1)
    store.values.set("bob", "preset.oil", 2)
    assert store.values.get("bob", "form.last") is None
    assert store.values.keys("ann") == ["form.last", "preset.ink"]
    assert store.values.keys("ann", "preset.") == ["preset.ink"]
    assert store.values.keys("ann", "%") == []
    store.values.set("ann", "preset.ink", None)
    assert store.values.keys("ann", "preset.") == []


def test_events_newest_first(store: Store) -> None:
    first = store.events.append("engine_state", {"state": "ready"})
    store.events.append("job", {"status": "done"}, job_id="j1")
    assert [event.kind for event in store.events.recent(10)] == ["job", "engine_state"]
    assert [event.payload for event in store.events.recent(10, "j1")] == [{"status": "done"}]
    assert len(store.events.recent(1)) == 1
    assert store.events.prune(1) == 1
    assert first not in [event.id for event in store.events.recent(10)]
    assert store.events.prune(1) == 0


def test_measurements(store: Store) -> None:
    for value in (1.0, 2.5, 3.0):
        store.measurements.add("step_seconds", "starter", value, {"batch": 4})
    store.measurements.add("step_seconds", "sdxl", 9.0)
    found = store.measurements.recent("step_seconds", "starter", 2)
    assert [(number.value, number.context) for number in found] == [(3.0, {"batch": 4}), (2.5, {"batch": 4})]
    assert store.measurements.prune(2) == 2
    assert [number.value for number in store.measurements.recent("step_seconds", "starter", 9)] == [3.0]
    with pytest.raises(ValueError, match="not a measurement"):
        store.measurements.add("step_seconds", "starter", float("nan"))


def test_a_library_row_holds_for_one_state_of_a_file(store: Store) -> None:
    path = Path("models/a.safetensors")
    store.library.put(path, 100, 5, {"family": "sd1", "keys": ["a"]})
    assert store.library.get(str(path), 100, 5) == {"family": "sd1", "keys": ["a"], "hash": ""}
    assert store.library.get(path, 101, 5) is None
    assert store.library.get(path, 100, 6) is None
    assert store.library.set_hash(path, 100, 5, "ab" * 32)
    assert not store.library.set_hash(path, 100, 6, "cd" * 32), "hashed while it was being replaced"

    store.library.put(path, 100, 5, {"family": "sdxl"})
    assert store.library.get(path, 100, 5) == {"family": "sdxl", "hash": "ab" * 32}, "identified anew, hashed once"
    store.library.put(path, 100, 6, {"family": "sdxl"})
    assert store.library.get(path, 100, 6) == {"family": "sdxl", "hash": ""}, "another file: another hash"


def test_ten_thousand_files(store: Store) -> None:
    rows = [(f"/models/{number}.safetensors", number, number, {"n": number}) for number in range(10_000)]
    store.library.put_many(rows)
    everything = store.library.all()
    assert len(everything) == 10_000
    assert everything["/models/7.safetensors"] == (7, 7, '{"n": 7}', "")
    assert store.library.prune(path for path, *_ in rows[:9_990]) == 10
    assert store.library.get("/models/9995.safetensors", 9995, 9995) is None
    assert store.library.prune([]) == 9_990


def test_a_file_name_that_is_not_utf8(store: Store) -> None:
    path = os.fsdecode(b"/models/caf\xe9.safetensors")
    store.library.put(path, 1, 1, {"family": "sd1"})
    assert store.library.get(path, 1, 1) == {"family": "sd1", "hash": ""}
    assert store.library.prune([path]) == 0
