"""`<lora:…>` tags: every documented form, odd text, and that writing is the reverse of reading."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conditioning.adapter_tags import BLOCK_SETS, cut_tags, read_tag, write_tag
from engine.protocol.specs import AdapterRef


def row(tag: str, *, steps: int | None = 20, text_first: bool = False) -> AdapterRef:
    rest, (found,) = cut_tags(tag)
    assert rest == ""
    return read_tag(found, steps=steps, text_first=text_first).ref


@pytest.mark.parametrize(
    ("tag", "unet", "text"),
    [
        ("<lora:ink>", 1.0, None),
        ("<lora:ink:0.8>", 0.8, None),
        ("<lora:ink:-1.5>", -1.5, None),
        ("<lora:ink:.5>", 0.5, None),
        ("<lora:ink:0.8:0.5>", 0.8, 0.5),
        ("<lora:ink:te=0.5:unet=1>", 1.0, 0.5),
        ("<lora:ink:unet=0.5>", 0.5, 1.0),
        ("<lora:ink:0.8:te=0>", 0.8, 0.0),
        ("<lyco:ink:0.7>", 0.7, None),
        ("<LORA:ink:0.7>", 0.7, None),
        ('<lora:"ink":0.7>', 0.7, None),
    ],
)
def test_weights(tag: str, unet: float, text: float | None) -> None:
    ref = row(tag)
    assert (ref.name, ref.unet_weight, ref.text_weight) == ("ink", unet, text)


def test_in_a1111s_files_the_text_encoder_comes_first() -> None:
    ref = row("<lora:ink:0.8:0.5>", text_first=True)
    assert (ref.unet_weight, ref.text_weight) == (0.5, 0.8)
    assert row("<lora:ink:0.8>", text_first=True).text_weight is None


@pytest.mark.parametrize(
    ("tag", "start", "end"),
    [
        ("<lora:ink:1:start=0.2:stop=0.8>", 0.2, 0.8),
        ("<lora:ink:1:start=0.2:end=0.8>", 0.2, 0.8),
        ("<lora:ink:1:start=5>", 0.25, 1.0),
        ("<lora:ink:1:stop=15>", 0.0, 0.75),
        ("<lora:ink:1:step=5-10>", 0.25, 0.5),
        ("<lora:ink:1:stop=500>", 0.0, 1.0),
        ("<lora:ink:1:start=x:stop=-1>", 0.0, 1.0),
    ],
)
def test_steps(tag: str, start: float, end: float) -> None:
    ref = row(tag)
    assert (ref.start, ref.end) == (start, end)


def test_block_weights() -> None:
    listed = ",".join(["0.5"] * 17)
    assert row(f"<lora:ink:1:lbw={listed}>").blocks == (0.5,) * 17
    assert row(f"<lora:ink:1:{listed}>").blocks == (0.5,) * 17
    assert row("<lora:ink:1:OUTD>").blocks == row("<lora:ink:1:lbw=outd>").blocks == BLOCK_SETS["OUTD"]
    assert all(len(weights) == 17 for weights in BLOCK_SETS.values())


def test_what_nobody_reads_is_named() -> None:
    _, (tag,) = cut_tags("<lora:ink:0.5:dyn=8:what:lbw=NEW>")
    read = read_tag(tag)
    assert read.ref.unet_weight == 0.5
    assert read.unknown == ("dyn=8", "what", "lbw=NEW")


def test_the_rest_of_the_prompt_stays_as_it_is() -> None:
    assert cut_tags("a, <lora:x:1>, b <lyco:y> ") == ("a, , b", cut_tags("<lora:x:1><lyco:y>")[1])
    for text in ("a <lora:> b", "a < lora:x > b", "1 < 2 > 0", "<hypernet:x:1>", " spaces stay ", "<lora:x"):
        assert cut_tags(text) == (text, [])


def test_a_hostile_prompt_takes_no_time() -> None:
    began = time.perf_counter()
    for text in ("<lora:" * 4000, "<lora:a" + ":1" * 9000, "<lora:x:" + "1" * 19_000 + ">", "<" * 20_000):
        for tag in cut_tags(text)[1]:
            read_tag(tag, steps=20)
    assert time.perf_counter() - began < 2


weights = st.floats(-10, 10).map(lambda value: round(value, 6))
fractions = st.integers(0, 1000)


@given(
    st.text(st.characters(categories=("L", "N"), include_characters="_-. /"), min_size=1, max_size=40),
    weights,
    st.none() | weights,
    st.tuples(fractions, fractions).map(sorted).filter(lambda pair: pair[0] < pair[1]),
    st.sampled_from([0, 12, 17, 20, 26]).flatmap(lambda n: st.lists(weights, min_size=n, max_size=n)),
)
def test_writing_is_the_reverse_of_reading(
    name: str, unet: float, text: float | None, span: list[int], blocks: list[float]
) -> None:
    name = name.strip() or "x"
    ref = AdapterRef(
        name=name,
        unet_weight=unet,
        text_weight=None if text == unet else text,
        start=span[0] / 1000,
        end=span[1] / 1000,
        blocks=tuple(blocks),
    )
    _, (tag,) = cut_tags(write_tag(ref))
    assert read_tag(tag).ref == ref


def test_a_name_that_would_end_its_tag_loses_those_signs() -> None:
    assert write_tag(AdapterRef(name="a:b<c>")) == "<lora:a_b_c_:1>"
