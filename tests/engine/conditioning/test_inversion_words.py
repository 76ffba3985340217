"""Finding words of inversions in texts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conditioning.inversion_words import Word, WordFinder

NAMES = [
    "easynegative",
    "bad-hands-5",
    "bad-hands",
    "Style_1.0",
    "<cat-toy>",
    "my style",
    "sub/twice",
    "-minus",
    "foo (v2)",
]


def found(text: str) -> list[str]:
    return [word.name for word in WordFinder(NAMES).words(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("EasyNegative, blurry", ["easynegative"]),
        ("easynegative2, myeasynegative, easynegative_x", []),
        ("a,easynegative.", ["easynegative"]),
        ("bad-hands-5, bad-hands, bad-hands-6", ["bad-hands-5", "bad-hands", "bad-hands"]),
        ("style_1.0 style_1.05", ["Style_1.0"]),
        ("My Style; my  style", ["my style"]),
        ("sub/twice twice", ["sub/twice"]),
        ("a -minus b, c-minus", ["-minus", "-minus"]),
        ("a foo (v2) cat", ["foo (v2)"]),
        ("<easynegative> < easynegative > <other>", ["easynegative", "easynegative"]),
        ("<cat-toy> cat-toy", ["<cat-toy>"]),
        ("embedding:EasyNegative", ["easynegative"]),
        ("embedding:easynegative.pt, embedding:bad-hands.safetensors", ["easynegative", "bad-hands"]),
        ("embedding:folder/easynegative.", ["easynegative"]),
        ("embedding:my style", ["my style"]),
        ("embedding:nobody", [""]),
        ("embedding: easynegative", ["easynegative"]),
        ("the embedding of words", []),
        ("<a easynegative>", ["easynegative"]),
        ("", []),
    ],
)
def test_a_word_is_found_as_each_studio_writes_it(text, names):
    assert found(text) == names


def test_what_is_cut_out_is_the_whole_of_what_was_written():
    assert WordFinder(NAMES).split("a embedding:easynegative.pt, b") == [
        "a ",
        Word("easynegative", "easynegative", "embedding:easynegative.pt"),
        ", b",
    ]
    assert WordFinder(NAMES).split("x <EasyNegative>y") == [
        "x ",
        Word("easynegative", "EasyNegative", "<EasyNegative>"),
        "y",
    ]


@given(text=st.text(alphabet="<>embding:- easynative()./5_h\\ü", max_size=60))
def test_nothing_of_a_text_gets_lost(text):
    parts = WordFinder([*NAMES, "e", "ü", "-"]).split(text)
    assert "".join(part.source if isinstance(part, Word) else part for part in parts) == text


def test_thousands_of_names_and_a_long_text_take_no_time():
    finder = WordFinder([f"word{number}" for number in range(5_000)] + [f"same x{number}" for number in range(100)])
    for text in ("word4999 " * 2_000, "<" * 20_000, "embedding:" * 2_000, "same x" * 3_000, "word" * 5_000):
        began = time.perf_counter()
        finder.split(text)
        assert time.perf_counter() - began < 1.0
