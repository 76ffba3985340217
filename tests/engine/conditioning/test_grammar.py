"""The prompt grammar: A1111's syntax, read in linear time, never an error."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.conditioning.grammar import WEIGHT_RANGE, parse
from engine.errors import SpecError

SIGNS = st.text(alphabet='()[]:|<>\\ ,.0123456789ab"+-AND BREAK\nlora', max_size=200)


def read(prompt: str) -> list[list[tuple[str, float]]]:
    return [[(piece.text, piece.weight) for piece in chunk] for chunk in parse(prompt).chunks]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [[("a cat", 1.0)]]),
        ("a (cat) sat", [[("a", 1.0), ("cat", 1.1), ("sat", 1.0)]]),
        ("a (cat:1.3) on", [[("a", 1.0), ("cat", 1.3), ("on", 1.0)]]),
        ("((a))", [[("a", 1.21)]]),
        ("(a (b:1.5))", [[("a", 1.1), ("b", 1.65)]]),
        ("[a]", [[("a", 0.909091)]]),
        ("([a])", [[("a", 1.0)]]),
        (r"\(a\) \[b\]", [[("(a) [b]", 1.0)]]),
        (r"(a\):1.2)", [[("a)", 1.2)]]),
        ("a \\ b", [[("a \\ b", 1.0)]]),
        ("x BREAK y", [[("x", 1.0)], [("y", 1.0)]]),
        ("BREAK BREAK x", [[("x", 1.0)]]),
        ("(a BREAK b:1.4) c", [[("a", 1.4)], [("b", 1.4), ("c", 1.0)]]),
        ("BREAKFAST AND_ SAND", [[("BREAKFAST AND_ SAND", 1.0)]]),
        ("a (b", [[("a", 1.0), ("b", 1.1)]]),
        ("a) b]", [[("a) b]", 1.0)]]),
        ("(a:b)", [[("a:b", 1.1)]]),
        ("[a:b]", [[("a:b", 0.909091)]]),
        ("C++, 1:2 and (x: 1.2 )", [[("C++, 1:2 and", 1.0), ("x", 1.2)]]),
        ("", [[("", 1.0)]]),
        ("()", [[("", 1.0)]]),
    ],
)
def test_it_reads_emphasis_escapes_and_breaks_as_a1111_does(prompt, expected):
    assert read(prompt) == expected
    assert parse(prompt).notices == ()


@pytest.mark.parametrize(
    ("prompt", "left", "named"),
    [
        ("a <lora:foo:0.8> b", "a  b", "<lora:foo:0.8>"),
        ("<lora:foo:1:0.5>", "", "<lora:foo:1:0.5>"),
        ("<hypernet:x:1> b", "b", "<hypernet:x:1>"),
        ("a [cat:dog:0.5] b", "a  b", "[cat:dog:0.5]"),
        ("[dog:5]", "", "[dog:5]"),
        ("[cat::0.25]", "", "[cat::0.25]"),
        ("a [red|blue] b", "a  b", "[red|blue]"),
        ("[(a:1.2)|[b:c:3]] d", "d", "[(a:1.2)|[b:c:3]]"),
        ("a AND b", "a,  b", "AND"),
        ("a :1.2 AND b:0.5", "a,  b", "AND"),
    ],
)
def test_what_it_does_not_know_is_cut_out_and_told(prompt, left, named):
    parsed = parse(prompt)
    assert " ".join(piece.text for chunk in parsed.chunks for piece in chunk) == left
    assert [notice.code for notice in parsed.notices] == ["syntax_removed"]
    assert named in parsed.notices[0].message


@pytest.mark.parametrize(("prompt", "weight"), [("(a:100)", 10.0), ("(a:-1)", 0.0), ("(" * 200 + "a", 10.0)])
def test_a_wild_weight_is_clamped_and_told(prompt, weight):
    parsed = parse(prompt)
    assert parsed.chunks[0][0].weight == weight
    assert [notice.code for notice in parsed.notices] == ["value_clamped"]


@given(st.one_of(SIGNS, st.text(max_size=300)))
@settings(max_examples=400, deadline=None)
def test_no_prompt_is_an_error_and_every_weight_is_in_range(prompt):
    parsed = parse(prompt)
    assert parsed.chunks
    for chunk in parsed.chunks:
        assert chunk
        assert all(WEIGHT_RANGE[0] <= piece.weight <= WEIGHT_RANGE[1] for piece in chunk)
    assert parse(prompt) == parsed


@given(st.text(alphabet="abc ,.é猫", max_size=100))
@settings(deadline=None)
def test_words_without_signs_come_back_as_they_are(prompt):
    assert read(prompt) == [[(prompt.strip(), 1.0)]]


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 10_000 + ")" * 10_000,
        "(" * 20_000,
        "[a|" * 6_600,
        "[" * 10_000 + ":1]" * 3_300,
        "<a:" * 6_600,
        "(a:1.1" * 3_300,
        "a:1 AND " * 2_500,
        "word " * 4_000,
        " " * 20_000,
        "\\" * 20_000,
        ":" * 20_000,
    ],
)
def test_the_work_grows_with_the_length_only(prompt):
    """Counted, not timed: each of three passes visits each token once."""
    assert parse(prompt).work <= 3 * len(prompt)


def test_compels_syntax_is_kept_as_it_is_and_bounded():
    assert parse("(((a)))++ b", "compel").source == "(((a)))++ b"
    with pytest.raises(SpecError) as deep:
        parse("(" * 5 + "a", "compel")
    assert deep.value.code == "prompt_too_deep"
    with pytest.raises(SpecError) as long:
        parse("a" * 2001, "compel")
    assert long.value.code == "prompt_too_long"


def test_grammar_and_sampler_table_need_no_torch():
    code = (
        "import sys, engine.conditioning.grammar, engine.sampling.table, engine.memory.eviction\n"
        "engine.sampling.table.sampler_views()\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
