"""The search box: finds words, never fails, and stays quick."""

from __future__ import annotations

import sqlite3
import string
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store.query import TextQuery, spaceless_text, text_query
from engine.store.search import Filters, statement
from engine.store.store import Store, open_store
from tests.engine.store.making import new_image

PROMPTS = {
    "fox": "A red fox, (masterpiece:1.2), best-quality, café",
    "castle": "castle on a hill AND sunset NOT rain, C++ “quoted” 100%",
    "cat": "可爱的猫咪, 夏天的海边, sd猫",
    "ramen": "ラーメンを食べる女の子, illustration",
    "korean": "한국어 고양이 그림",
    "thai": "แมวน่ารัก watercolor",
    "wide": "ＦＵＬＬ width 漢",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with one picture per prompt."""
    store = open_store(tmp_path_factory.mktemp("search"))
    for name, prompt in PROMPTS.items():
        image = new_image(
            prompt, id=name, negative="ugly" if name == "fox" else "", tags=("kept",) if name == "fox" else ()
        )
        store.history.record(image, media_type="image/png", owner="ann")
    yield store
    store.close()


def _found(store: Store, query: str) -> set[str]:
    page = store.history.search("ann", query)
    assert page.total == len(page.images)
    return {image.id for image in page.images}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("fox", {"fox"}),
        ("FOX red", {"fox"}),
        ("red castle", set()),
        ("ugly", {"fox"}),
        ("kept", {"fox"}),
        ("cafe", {"fox"}),
        ("cast", {"castle"}),
        ("cast ", set()),
        ("cast hill", set()),
        ("ca", set()),
        ("(masterpiece:1.2)", {"fox"}),
        ("best-quality", {"fox"}),
        ('"red fox"', {"fox"}),
        ('"fox red"', set()),
        ('"red fo"', set()),
        ('"red fox', {"fox"}),
        ("sunset NOT rain", {"castle"}),
        ("fox OR castle", set()),
        ("NEAR(red fox)", set()),
        ("prompt:fox", set()),
        ("Steps: 20", set(PROMPTS)),
        ("C++", {"castle"}),
        ("猫", {"cat"}),
        ("猫咪", {"cat"}),
        ("咪猫", set()),
        ("夏天", {"cat"}),
        ("夏天 猫", {"cat"}),
        ("sd猫", {"cat"}),
        ("猫 fox", set()),
        ("猫＂", {"cat"}),
        ("ラーメン", {"ramen"}),
        ("ﾗｰﾒﾝ", {"ramen"}),
        ("女の子 illustration", {"ramen"}),
        ("고양이", {"korean"}),
        ("น่ารัก", {"thai"}),
        ("full 漢", {"wide"}),
        ("", set(PROMPTS)),
        (" \t\n", set(PROMPTS)),
        ("!!! ...", set()),
        ('""', set()),
        ("fox\0", {"fox"}),
        ("\ud800fox", {"fox"}),
    ],
)
def test_words_find_pictures(filled: Store, query: str, names: set[str]) -> None:
    assert _found(filled, query) == names


# Everything that FTS5 gives a meaning to, words that are in the store, and any character at all.
_pieces = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.text(string.punctuation, max_size=4),
    st.sampled_from(
        ['"', "*", "^", "AND", "OR", "NOT", "NEAR", "fox", "猫", "prompt", ":", "{", "(", "-", "+", "\0", " "]
    ),
)
_queries = st.lists(_pieces, max_size=12).map("".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_queries)
def test_no_text_makes_the_search_fail(filled: Store, query: str) -> None:
    page = filled.history.search("ann", query, limit=2)
    assert len(page.images) <= page.total <= len(PROMPTS)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*PROMPTS]), data=st.data())
def test_any_word_of_a_prompt_finds_it(filled: Store, name: str, data: st.DataObject) -> None:
    words = [word for word in PROMPTS[name].split() if any(letter.isalnum() for letter in word)]
    chosen = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=4))
    assert name in _found(filled, " ".join(chosen))


@settings(max_examples=60, deadline=None)
@given(text=st.text("猫咪夏天のラー그림แม", min_size=1, max_size=12), start=st.integers(0, 11), size=st.integers(1, 12))
def test_any_piece_of_spaceless_text_is_found(text: str, start: int, size: int) -> None:
    query = text_query(text[start : start + size])
    if query is None:
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE images_cjk USING fts5 (text, tokenize = 'unicode61')")
        connection.execute("INSERT INTO images_cjk VALUES (?)", (spaceless_text("a dog", text, "a cat"),))
        found = connection.execute(
            "SELECT count(*) FROM images_cjk WHERE images_cjk MATCH ?", (query.match,)
        ).fetchone()
    assert found == (1,)


def test_a_pasted_prompt_is_not_too_long(filled: Store) -> None:
    assert _found(filled, " ".join([PROMPTS["castle"]] * 500)) == {"castle"}
    assert _found(filled, " ".join(f"word{number}" for number in range(20_000))) == set()
    assert _found(filled, "猫" * 100_000) == set()
    assert _found(filled, '"' * 10_001) == set()


def test_words_become_phrases() -> None:
    assert text_query("a-b red fo") == TextQuery("images_fts", '"a-b" AND "red" AND "fo"')
    assert text_query("red fox") == TextQuery("images_fts", '"red" AND "fox" *')
    assert text_query("猫咪 ab") == TextQuery("images_cjk", '" 猫  咪 " AND "ab"')


# --- quick at a million rows: no search reads or sorts the whole table ------------------------------------------------


def _plan(store: Store, query: str, filters: Filters) -> tuple[str, str]:
    """How SQLite reads a page, and how it counts."""
    made = statement(text_query(query), filters, before=10**17)
    values = {**made.values, "limit": 60}
    plans = [store.history._db.rows(f"EXPLAIN QUERY PLAN {sql}", values) for sql in (made.page(), made.count())]
    return "\n".join(row["detail"] for row in plans[0]), "\n".join(row["detail"] for row in plans[1])


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(owner="ann"), "images_owner "),
        (Filters(owner="ann", favourite=False), "images_owner "),
        (Filters(owner="ann", model="starter"), "images_owner_model "),
        (Filters(owner="ann", favourite=True), "images_owner_favourite "),
        (Filters(owner="ann", favourite=True, model="starter"), "images_owner_favourite "),
        (Filters(owner="ann", deleted=True), "images_owner_bin "),
        (Filters(owner="ann", since=1.0, until=2.0), "images_owner "),
    ],
)
@pytest.mark.parametrize("query", ["", "fox", "red fox", "猫"])
def test_a_search_walks_indexes_in_order(store: Store, filters: Filters, index: str, query: str) -> None:
    page, count = _plan(store, query, filters)
    assert index in page
    assert "TEMP B-TREE" not in page, "newest first without sorting"
    assert f"COVERING INDEX {index}" in count, "counting looks into no row"
    if query:
        assert "VIRTUAL TABLE INDEX" in page.splitlines()[0], "the text leads"
        assert "position=?" in page.splitlines()[1], "and one entry is looked up for each match"
        assert "position=?" in count.splitlines()[1]
    else:
        assert "SCAN" not in page
        assert "SCAN" not in count


def test_a_tag_leads_where_there_is_no_text(store: Store) -> None:
    page, _ = _plan(store, "", Filters(owner="ann", tag="best"))
    assert page.startswith("SEARCH t USING PRIMARY KEY")
    assert "position=?" in page.splitlines()[1]
    assert "SCAN" not in page
    assert "TEMP B-TREE" not in page


def test_everybodys_gallery_needs_no_sort(store: Store) -> None:
    page, _ = _plan(store, "", Filters())
    assert "TEMP B-TREE" not in page


def test_the_total_of_a_text_stops_counting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.store.search.COUNTED", 3)
    for place in range(5):
        store.history.record(new_image("fox", created_at=place), media_type="image/png", owner="ann")
    page = store.history.search("ann", "fox", limit=4)
    assert (page.total, len(page.images)) == (3, 4)
    assert len(store.history.search("ann", "fox", limit=4, cursor=page.next_cursor).images) == 1
    assert store.history.search("ann", limit=4).total == 5, "without text: exactly"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM images WHERE id = ?",
        "SELECT * FROM images WHERE name = ?",
        "SELECT * FROM images WHERE job_id = ? ORDER BY job_index",
        "SELECT * FROM images WHERE deleted_at IS NOT NULL AND deleted_at < ?",
        "SELECT * FROM jobs WHERE owner = ? AND request_id = 'r'",
        "SELECT * FROM jobs WHERE status IN ('queued', 'running') AND 1 = ?",
        "SELECT * FROM jobs WHERE owner = ? ORDER BY seq DESC LIMIT 50",
        "SELECT * FROM jobs WHERE owner = ? AND status = 'done' ORDER BY seq DESC LIMIT 50",
        "SELECT * FROM tasks WHERE image_id = ?",
        "DELETE FROM image_tags WHERE position = ?",
        "SELECT * FROM events WHERE job_id = ? ORDER BY id DESC LIMIT 50",
    ],
)
def test_look_ups_use_indexes(store: Store, sql: str) -> None:
    plan = "\n".join(row["detail"] for row in store.history._db.rows("EXPLAIN QUERY PLAN " + sql, (1,)))
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan
