"""Encoding: compel's embeddings out of Easel's grammar."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.conditioning.encode import count_tokens, encode
from engine.conditioning.grammar import parse
from engine.errors import SpecError

PROMPT = "a photo of a red cat, on a mat"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a (cat:1.3) on a mat", "a (cat)1.3 on a mat"),
        ("a (cat) on", "a (cat)1.1 on"),
        ("a (cat:0.5), (bird:0.2) dog", "a (cat)0.5, (bird)0.2 dog"),
        ("(a (cat:1.5) on:1.2)", "(a)1.2 (cat)1.8 (on)1.2"),
        ("two BREAK parts", '("two", "parts").and()'),
        ("plain words", "plain words"),
    ],
)
def test_a1111_weights_are_compels_weights(sd1, ours, theirs):
    from compel import Compel

    expected = Compel(sd1[0][0], sd1[1][0], truncate_long_prompts=False)(theirs)
    assert torch.equal(encode(parse(ours), *sd1).embeds, expected)


def test_compels_own_syntax_by_the_switch(sd1):
    from compel import Compel

    prompt = "a cat++ (in a hat)0.8"
    expected = Compel(sd1[0][0], sd1[1][0], truncate_long_prompts=False)(prompt)
    assert torch.equal(encode(parse(prompt, "compel"), *sd1).embeds, expected)


def test_weights_really_change_the_embeddings(sd1):
    plain = encode(parse("a cat"), *sd1).embeds
    assert not torch.allclose(plain, encode(parse("a (cat:1.3)"), *sd1).embeds)
    assert not torch.allclose(plain, encode(parse("a [cat]"), *sd1).embeds)


def test_what_compel_cannot_read_is_a_sentence(sd1):
    with pytest.raises(SpecError) as refused:
        encode(parse('("a", "b").blend(1)', "compel"), *sd1)
    assert refused.value.code == "bad_request"


def test_swap_is_left_out_and_told(sd1):
    made = encode(parse("a cat.swap(dog) on a mat", "compel"), *sd1)
    assert [notice.code for notice in made.notices] == ["syntax_removed"]
    assert torch.equal(made.embeds, encode(parse("a cat on a mat"), *sd1).embeds)


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_reads_the_layer_that_diffusers_reads(sd1, clip_skip):
    tokenizer, encoder = sd1[0][0], sd1[1][0]
    ids = tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids, output_hidden_states=True)
        expected = encoder.text_model.final_layer_norm(states.hidden_states[-clip_skip])
        if clip_skip == 1:
            assert torch.allclose(expected, states.last_hidden_state)
    assert torch.allclose(encode(parse(PROMPT), *sd1, clip_skip).embeds, expected, atol=1e-6)


def test_a_clip_skip_beyond_the_layers_is_clamped_and_told(sd1):
    made = encode(parse("a cat"), *sd1, 12)
    assert [notice.code for notice in made.notices] == ["value_clamped"]
    assert torch.equal(made.embeds, encode(parse("a cat"), *sd1, 3).embeds)


def test_sdxl_has_both_encoders_side_by_side_and_a_pooled_text(sdxl):
    tokenizers, encoders = sdxl
    made = encode(parse(PROMPT), tokenizers, encoders)
    parts = []
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        ids = tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            parts.append(encoder(ids, output_hidden_states=True))
    assert torch.allclose(made.embeds, torch.cat([part.hidden_states[-2] for part in parts], -1), atol=1e-6)
    assert torch.allclose(made.pooled, parts[1].text_embeds, atol=1e-6)
    assert torch.equal(made.embeds, encode(parse(PROMPT), tokenizers, encoders, 2).embeds)
    assert not torch.equal(made.embeds, encode(parse(PROMPT), tokenizers, encoders, 3).embeds)


def test_the_pooled_text_is_made_of_words_not_of_syntax(sdxl):
    assert torch.equal(encode(parse("a (cat:1.3)"), *sdxl).pooled, encode(parse("a cat"), *sdxl).pooled)


def test_long_prompts_are_read_in_chunks_of_75_tokens(sd1):
    made = encode(parse("cat, " * 100), *sd1)
    assert made.tokens == 200
    assert made.embeds.shape[1] == 3 * 77
    assert [notice.code for notice in made.notices] == ["prompt_chunked"]
    # A chunk is what it would be alone: 37 times "cat," fit into 75 tokens.
    assert torch.allclose(made.embeds[:, :77], encode(parse("cat, " * 37), *sd1).embeds, atol=1e-5)


def test_tokens_are_counted_as_they_are_encoded(sd1):
    tokenizer = sd1[0][0]
    assert count_tokens("a (cat:1.3), <lora:x:1>", tokenizer).tokens == 3
    counted = count_tokens("cat, " * 100, tokenizer)
    assert (counted.tokens, counted.chunks, counted.limit) == (200, 3, 225)
    assert count_tokens("", tokenizer).model_dump(exclude={"notices"}) == {"tokens": 0, "limit": 75, "chunks": 1}
    assert count_tokens("a BREAK b", tokenizer).chunks == 2
    assert count_tokens("(a)1.2 b", tokenizer, "compel").tokens == 2


@pytest.mark.parametrize("prompt", ["cat, " * 3_900, "[a] b " * 70], ids=["too many chunks", "too many weakened parts"])
def test_what_would_keep_the_encoder_busy_for_minutes_is_refused(sd1, prompt):
    with pytest.raises(SpecError) as refused:
        encode(parse(prompt), *sd1)
    assert refused.value.code == "prompt_too_long"


@given(prompt=st.one_of(st.text(alphabet="()[]:! <|endoftext|>.,aé\u200b1", max_size=60), st.text(max_size=60)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_prompt_gives_numbers_or_a_sentence(sdxl, prompt):
    try:
        made = encode(parse(prompt), *sdxl)
    except SpecError:
        return
    assert torch.isfinite(made.embeds).all()
    assert made.embeds.shape[1] % 77 == 0
