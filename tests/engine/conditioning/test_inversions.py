"""Textual inversions: files read, words tokenized and encoded, and everything that can be wrong told."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from engine.conditioning.encode import count_tokens, encode
from engine.conditioning.grammar import parse
from engine.conditioning.inversion_file import inversion_of, read_inversion
from engine.conditioning.inversions import FIRST_ID, PromptWords, bundled_sources, file_sources
from engine.errors import ModelFileError
from engine.library.embeddings import EmbeddingEntry
from engine.protocol.library import FileView

WIDTH, SECOND = 32, 48


def vectors(count: int, width: int = WIDTH, seed: int = 5) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.05


def entry_of(path, **view) -> EmbeddingEntry:
    tokens = view.pop("tokens", ())
    return EmbeddingEntry(FileView(id=path.stem, title=path.stem, kind="embedding", **view), path, tokens)


@pytest.fixture
def files(tmp_path):
    """A library of embeddings: ink (3 vectors), one (1), long (40), wide (another width)."""
    for name, count in (("ink", 3), ("one", 1), ("long", 40)):
        save_file({"emb_params": vectors(count)}, tmp_path / f"{name}.safetensors")
    save_file({"emb_params": vectors(2, 64)}, tmp_path / "wide.safetensors")
    return {path.stem: entry_of(path) for path in tmp_path.iterdir()}


def made(prompt, model, files, syntax="a1111", **options):
    parsed = parse(prompt, syntax)
    return encode(parsed, *model, words=PromptWords(parsed, file_sources(files.values())), **options)


# --- files -----------------------------------------------------------------------------------------------------------


def write(path, held):
    if path.suffix == ".safetensors":
        save_file(held, path)
    else:
        torch.save(held, path)
    return path


def a1111(rows):
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": rows},
        "name": "x",
        "step": 1,
        "sd_checkpoint": None,
    }


def first_authors(rows):
    return {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": rows})}


@pytest.mark.parametrize(
    ("name", "hold"),
    [
        ("a.safetensors", lambda rows: {"emb_params": rows}),
        ("a.pt", lambda rows: {"emb_params": rows}),
        ("a.pt", a1111),
        ("a.pt", lambda rows: a1111(torch.nn.Parameter(rows))),
        ("a.pt", first_authors),
        ("a.safetensors", lambda rows: {"<a>": rows}),
        ("a.bin", lambda rows: {"<a>": rows}),
        ("a.safetensors", lambda rows: {"sks": rows}),
        ("a.bin", lambda rows: rows),
        ("a.safetensors", lambda rows: {"clip_l": rows}),
        ("a.safetensors", lambda rows: {"emb_params": rows.half()}),
    ],
)
def test_each_format_has_the_same_vectors(tmp_path, name, hold):
    rows = vectors(4).half().float()
    read = read_inversion(write(tmp_path / name, hold(rows)))
    assert (read.widths, read.length) == ((WIDTH,), 4)
    assert torch.equal(read.vectors[0], rows)
    assert read.vectors[0].dtype == torch.float32


def test_one_vector_may_have_one_dimension(tmp_path):
    assert read_inversion(write(tmp_path / "a.safetensors", {"<a>": vectors(1)[0]})).vectors[0].shape == (1, WIDTH)


def test_sdxl_has_two_parts(tmp_path):
    rows = {"clip_g": vectors(2, SECOND), "clip_l": vectors(2)}
    for name in ("a.safetensors", "a.pt"):
        assert read_inversion(write(tmp_path / name, rows)).widths == (WIDTH, SECOND)


def test_a_file_of_several_words_has_each_by_its_token(tmp_path):
    path = write(tmp_path / "a.safetensors", {"<a>": vectors(1), "<b>": vectors(2)})
    assert read_inversion(path, "<b>").length == 2
    with pytest.raises(ModelFileError, match="several words"):
        read_inversion(path)


class Payload:
    def __reduce__(self):
        return os.mkdir, ("was-here",)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.pt", pickle.dumps({"string_to_param": Payload()}), "model_file_unsafe"),
        ("a.bin", pickle.dumps(Payload()), "model_file_unsafe"),
        ("a.pt", b"", "model_file_truncated"),
        ("a.pt", b"hello", "model_file_not_a_model"),
        ("a.safetensors", b"hello", "model_file_not_a_model"),
        ("a.safetensors", b"", "model_file_truncated"),
        ("a.pt", {"string_to_param": {}}, "model_file_not_a_model"),
        ("a.pt", {"string_to_param": {"*": "text"}}, "model_file_not_a_model"),
        ("a.pt", [1, 2], "model_file_not_a_model"),
        ("a.safetensors", {"emb_params": torch.zeros(2, 3, 4)}, "model_file_not_a_model"),
        ("a.safetensors", {"emb_params": torch.zeros(0, 4)}, "model_file_not_a_model"),
        ("a.safetensors", {"emb_params": torch.ones(2, 4, dtype=torch.int64)}, "model_file_not_a_model"),
        ("a.safetensors", {"emb_params": torch.full((1, 4), float("nan"))}, "model_file_not_a_model"),
        ("a.safetensors", {"clip_g": torch.ones(1, 4)}, "model_file_not_a_model"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, monkeypatch, name, content, code):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    with pytest.raises(ModelFileError) as refused:
        read_inversion(path)
    assert refused.value.code == code
    assert refused.value.message.endswith(".")
    assert "a." in refused.value.message
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_is_cut_anywhere_is_a_sentence_or_whole(tmp_path, suffix):
    whole = write(tmp_path / f"a.{suffix}", {"emb_params": vectors(4)}).read_bytes()
    cut = tmp_path / f"b.{suffix}"
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        cut.write_bytes(whole[:end])
        with pytest.raises(ModelFileError):
            read_inversion(cut)


def test_a_file_that_is_gone_or_far_too_large_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="not there"):
        read_inversion(tmp_path / "a.pt")
    with (tmp_path / "b.pt").open("wb") as file:
        file.truncate(65 * 1024**2)
    with pytest.raises(ModelFileError, match="a few vectors"):
        read_inversion(tmp_path / "b.pt")


def test_words_inside_adapters_have_the_same_formats():
    assert inversion_of({"string_to_param.*": vectors(2)}, "x").length == 2
    assert inversion_of({"clip_l": vectors(2), "clip_g": vectors(2, SECOND)}, "x").widths == (WIDTH, SECOND)
    assert inversion_of({"emb_params": vectors(2)}, "x").length == 2


# --- encoding --------------------------------------------------------------------------------------------------------


def resized(model, rows):
    """transformers' own way: tokens added to copies, rows added to their embeddings. Returns the words for a prompt."""
    import copy

    tokenizers, encoders = copy.deepcopy(model)
    for tokenizer, encoder, part in zip(tokenizers, encoders, rows, strict=True):
        tokenizer.add_tokens([f"<v{place}>" for place in range(len(part))])
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        encoder.get_input_embeddings().weight.data[-len(part) :] = part
        for module in encoder.modules():
            if hasattr(module, "eos_token_id"):
                # With the id of old configs, transformers takes the pooled text from the highest token.
                module.eos_token_id = 49407
    return (tokenizers, encoders), " ".join(f"<v{place}>" for place in range(len(rows[0])))


@pytest.mark.parametrize(
    "prompt",
    ["{}", "a cat, {}, red", "a ({}:1.3) cat", "({}:0.5), cat", "[a {} cat]", "{} BREAK {}", "cat " * 80 + "{}, dog"],
)
def test_a_word_is_encoded_as_tokens_that_were_added_to_the_model(sd1, files, prompt):
    reference, words = resized(sd1, [vectors(3)])
    expected = encode(parse(prompt.format(*[words] * 2)), *reference)
    ours = made(prompt.format("Ink", "<INK>"), sd1, files)
    assert torch.allclose(ours.embeds, expected.embeds, atol=1e-5)
    assert ours.tokens == expected.tokens


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_sdxl_takes_the_part_for_each_encoder_and_pools_at_the_end_mark(sdxl, tmp_path, clip_skip):
    parts = [vectors(3), vectors(3, SECOND)]
    save_file({"clip_l": parts[0], "clip_g": parts[1]}, tmp_path / "ink.safetensors")
    reference, words = resized(sdxl, parts)
    ours = made("a (ink:1.2) cat", sdxl, {"ink": entry_of(tmp_path / "ink.safetensors")}, clip_skip=clip_skip)
    expected = encode(parse(f"a ({words}:1.2) cat"), *reference, clip_skip)
    assert torch.allclose(ours.embeds, expected.embeds, atol=1e-5)
    assert torch.allclose(ours.pooled, expected.pooled, atol=1e-5)


def test_a_word_may_have_other_numbers_of_vectors_for_the_two_encoders(sdxl, tmp_path):
    save_file({"clip_l": vectors(60), "clip_g": vectors(2, SECOND)}, tmp_path / "ink.safetensors")
    ours = made("ink, ink", sdxl, {"ink": entry_of(tmp_path / "ink.safetensors")})
    assert ours.embeds.shape[1] == 2 * 77
    assert torch.isfinite(ours.embeds).all()


def test_compels_own_syntax_knows_the_words_too(sd1, files):
    assert torch.allclose(
        made("a (ink)1.3 cat", sd1, files, "compel").embeds, made("a (ink:1.3) cat", sd1, files).embeds, atol=1e-6
    )


@pytest.mark.parametrize("written", ["ink", "INK", "<ink>", "embedding:ink", "embedding:ink.pt", "embedding:old/Ink"])
def test_all_spellings_mean_the_same(sd1, files, written):
    plain = made("a (ink:1.2), cat", sd1, files).embeds
    assert torch.equal(made(f"a ({written}:1.2), cat", sd1, files).embeds, plain)
    assert not torch.allclose(plain, encode(parse("a (ink:1.2), cat"), *sd1).embeds)


def test_nothing_stays_behind(sd1, files):
    tokenizer, encoder = sd1[0][0], sd1[1][0]
    before = encode(parse("a ink cat"), *sd1).embeds
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    made("a ink cat", sd1, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "forward", _fail)
        with pytest.raises(MemoryError):
            made("a ink cat", sd1, files)
    assert len(tokenizer) == 49408
    assert not encoder._forward_pre_hooks
    assert not encoder.get_input_embeddings()._forward_hooks
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(encode(parse("a ink cat"), *sd1).embeds, before)


def _fail(*_args, **_named):
    raise MemoryError


@pytest.mark.parametrize("before", range(30, 76))
def test_a_words_vectors_are_never_in_two_chunks(sd1, files, before):
    encoder = sd1[1][0]
    seen = []
    handle = encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].tolist()))
    try:
        # Ours runs after this one, so that it sees the ids of the words.
        made("cat " * before + "long", sd1, files)
    finally:
        handle.remove()
    counts = [sum(each >= FIRST_ID for each in ids) for ids in seen]
    assert sorted(set(counts)) in ([0, 40], [40])


def test_a_word_of_75_vectors_right_after_another_word(sd1, tmp_path):
    save_file({"emb_params": vectors(75)}, tmp_path / "big.safetensors")
    ours = made("a big", sd1, {"big": entry_of(tmp_path / "big.safetensors")})
    assert ours.tokens == 76
    assert ours.embeds.shape[1] == 2 * 77


def test_the_pooled_text_of_a_long_prompt_holds_whole_words_only(sdxl, tmp_path):
    save_file({"clip_l": vectors(40), "clip_g": vectors(40, SECOND)}, tmp_path / "ink.safetensors")
    entries = {"ink": entry_of(tmp_path / "ink.safetensors")}
    cats = "cat " * 50
    assert torch.allclose(made(f"{cats} ink", sdxl, entries).pooled, made(cats, sdxl, entries).pooled, atol=1e-6)


def test_each_vector_counts_as_a_token(sd1, files):
    counted = count_tokens("a ink, cat", sd1[0][0], sources=file_sources(files.values()), widths=[WIDTH])
    assert counted.tokens == 6
    assert counted.notices == ()
    counted = count_tokens("a wide, embedding:x", sd1[0][0], sources=file_sources(files.values()), widths=[WIDTH])
    assert counted.tokens == 3
    assert [notice.code for notice in counted.notices] == ["embedding_skipped"] * 2
    counted = count_tokens("long, long", sd1[0][0], sources=file_sources(files.values()), widths=[WIDTH])
    assert (counted.tokens, counted.chunks) == (81, 2)


def told(conditioning):
    return [(notice.code, notice.message) for notice in conditioning.notices]


def test_what_is_used_is_told(sd1, files):
    assert told(made("ink, ONE, ink", sd1, files)) == [
        ("embedding_used", "Embeddings in the prompt: ink (3 vectors), one (1 vector).")
    ]


def test_vectors_of_another_width_are_text_and_told(sd1, sdxl, files):
    ours = made("a wide cat", sd1, files)
    assert told(ours) == [
        (
            "embedding_skipped",
            "The word “wide” was read as text: the embedding was made for a text width of 64, and the model is for a "
            "text width of 32.",
        )
    ]
    assert torch.equal(ours.embeds, encode(parse("a wide cat"), *sd1).embeds)
    assert torch.equal(made("a <wide> cat", sd1, files).embeds, ours.embeds)
    assert [code for code, _ in told(made("a ink cat", sdxl, files))] == ["embedding_skipped"]


def test_a_damaged_file_is_text_and_told(sd1, tmp_path):
    save_file({"emb_params": torch.full((1, WIDTH), float("inf"))}, tmp_path / "bad.safetensors")
    entries = {
        "bad": entry_of(tmp_path / "bad.safetensors"),
        "evil": entry_of(tmp_path / "evil.pt", problem="evil.pt holds program code."),
        "gone": entry_of(tmp_path / "gone.pt"),
        "big": entry_of(write(tmp_path / "big.safetensors", {"emb_params": vectors(76)})),
    }
    ours = made("bad evil gone big", sd1, entries)
    assert [code for code, _ in told(ours)] == ["embedding_skipped"] * 4
    messages = " ".join(message for _, message in told(ours))
    for part in ("no numbers", "program code", "not there any more", "76 vectors"):
        assert part in messages
    assert torch.equal(ours.embeds, encode(parse("bad evil gone big"), *sd1).embeds)


def test_an_embedding_that_nobody_has_is_left_out_and_told(sd1, files):
    ours = made("a (embedding:nobody:1.2) cat, embedding:nobody", sd1, files)
    assert [code for code, _ in told(ours)] == ["embedding_skipped"]
    assert torch.equal(ours.embeds, made("a  cat, ", sd1, files).embeds)


def test_tokens_of_diffusers_files_need_their_brackets(sd1, tmp_path):
    path = write(tmp_path / "learned_embeds.safetensors", {"<cat-toy>": vectors(2)})
    entries = {"x": entry_of(path, tokens=("<cat-toy>",))}
    assert told(made("a <cat-toy>", sd1, entries))[0][0] == "embedding_used"
    assert told(made("a cat-toy", sd1, entries)) == []
    assert torch.equal(made("a learned_embeds", sd1, entries).embeds, made("a <cat-toy>", sd1, entries).embeds)


def test_the_signature_changes_with_the_file(files):
    def signature(text):
        return PromptWords(parse(text), file_sources(files.values())).signature

    first = signature("a ink")
    assert [word for word, _ in first] == ["ink"]
    assert signature("INK, ink") == first
    assert signature("cat") == ()
    save_file({"emb_params": vectors(9)}, files["ink"].path)
    assert signature("a ink") != first


def test_a_word_inside_an_adapter(sd1, files):
    parsed = parse("a pen")
    sources = bundled_sources({"pen": {"string_to_param.*": vectors(3)}}, "state", "sketch.safetensors")
    ours = encode(parsed, *sd1, words=PromptWords(parsed, sources))
    assert torch.equal(ours.embeds, made("a ink", sd1, files).embeds)
    broken = bundled_sources({"pen": {"clip_g": vectors(3)}}, "state", "sketch.safetensors")
    assert "“pen” in sketch.safetensors" in told(encode(parsed, *sd1, words=PromptWords(parsed, broken)))[0][1]
