"""Textual inversions in pictures: the latents of diffusers' `load_textual_inversion`; cache, snapshots, adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapters.file import read_adapter
from engine.adapters.stack import AdapterStack
from engine.library.embeddings import EmbeddingEntry
from engine.pipeline.encode import begin, resume
from engine.pipeline.model import EmbeddingCache
from engine.protocol.library import FileView
from engine.protocol.specs import AdapterRef
from tests.engine.pipeline.conftest import bundle_of, picture, run_out
from tests.engine.pipeline.diffusers_pipes import assert_same, latents_of, open_pipe, scheduler_of

WIDTHS = {"sd1": (32,), "sdxl": (32, 48)}
COUNT = 3


def rows(width: int, count: int = COUNT, seed: int = 9) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.05


@pytest.fixture
def folder(tmp_path: Any) -> Any:
    """Embeddings as each tool writes them: ink (SD, A1111's pickle), pen (SD, diffusers), duo (SDXL)."""
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": rows(32)}, "name": "ink"}, tmp_path / "ink.pt")
    save_file({"<pen>": rows(32)}, tmp_path / "pen.safetensors")
    save_file({"clip_l": rows(32), "clip_g": rows(48)}, tmp_path / "duo.safetensors")
    return tmp_path


def entries(folder: Any) -> list[EmbeddingEntry]:
    return [
        EmbeddingEntry(FileView(id=path.stem, title=path.stem, kind="embedding"), path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".pt", ".safetensors")
    ]


def with_embeddings(bundle: Any, folder: Any) -> Any:
    bundle.find_embeddings = lambda: entries(folder)
    return bundle


def loaded(pipe: Any, sources: list[Any]) -> Any:
    """The same pipeline from disk, since diffusers' way changes tokenizer and text encoder for good."""
    own = open_pipe(pipe.folder)
    parts = [(own.tokenizer, own.text_encoder)]
    if len(sources) > 1:
        parts.append((own.tokenizer_2, own.text_encoder_2))
    for source, (tokenizer, encoder) in zip(sources, parts, strict=True):
        own.load_textual_inversion(source, token="myword", tokenizer=tokenizer, text_encoder=encoder)
        for module in encoder.modules():
            if hasattr(module, "eos_token_id"):
                # With the id of old configs, transformers pools at the highest id, which the added tokens have now.
                module.eos_token_id = 49407
    return own


def theirs(pipe: Any, spec: Any) -> torch.Tensor:
    pipe.scheduler = scheduler_of(pipe, spec)
    return latents_of(pipe, spec)


PROMPTS = [("a myword cat", "dog"), ("a red cat", "myword, dog"), ("myword", "myword")]


@pytest.mark.parametrize("name", ["ink", "pen"])
@pytest.mark.parametrize(("prompt", "negative"), PROMPTS)
def test_sd1_latents_are_those_of_diffusers(sd1_pipe, sd1, spec, folder, name, prompt, negative):
    file = folder / ("ink.pt" if name == "ink" else "pen.safetensors")
    source = torch.load(file, weights_only=True) if name == "ink" else load_file(file)
    wanted = spec(sampler="euler", prompt=prompt, negative_prompt=negative)
    reference = theirs(loaded(sd1_pipe, [source]), wanted)
    ours = wanted.model_copy(
        update={"prompt": prompt.replace("myword", name), "negative_prompt": negative.replace("myword", name.upper())}
    )
    assert_same(picture(with_embeddings(sd1, folder), ours), reference)
    assert not torch.allclose(picture(bundle_of(sd1_pipe), ours), reference, atol=1e-3)


@pytest.mark.parametrize(("prompt", "negative"), PROMPTS)
def test_sdxl_latents_are_those_of_diffusers(sdxl_pipe, sdxl, spec, folder, prompt, negative):
    state = load_file(folder / "duo.safetensors")
    wanted = spec(sampler="euler", prompt=prompt, negative_prompt=negative)
    reference = theirs(loaded(sdxl_pipe, [state["clip_l"], state["clip_g"]]), wanted)
    ours = wanted.model_copy(
        update={"prompt": prompt.replace("myword", "Duo"), "negative_prompt": negative.replace("myword", "<duo>")}
    )
    assert_same(picture(with_embeddings(sdxl, folder), ours), reference)


def test_a_changed_file_is_read_anew_and_an_unchanged_one_is_not_encoded_again(sd1, spec, folder):
    bundle, cache = with_embeddings(sd1, folder), EmbeddingCache()
    wanted = spec(prompt="a pen")
    first, again = (begin(bundle, wanted, 0, context_id=name, cache=cache) for name in "ab")
    assert torch.equal(first.text.embeds, again.text.embeds)
    assert len(cache) == 2
    save_file({"<pen>": rows(32, 5, seed=1)}, folder / "pen.safetensors")
    changed = begin(bundle, wanted, 0, context_id="c", cache=cache)
    assert not torch.allclose(first.text.embeds, changed.text.embeds)
    assert len(cache) == 3


def test_a_half_done_picture_goes_on_only_with_the_same_file(sd1, spec, folder):
    bundle, wanted = with_embeddings(sd1, folder), spec(prompt="a pen")
    context = begin(bundle, wanted, 0, context_id="a")
    kept = context.snapshot()
    went_on = resume(bundle, wanted, 0, kept, context_id="b")
    assert went_on is not None
    run_out(bundle, [went_on])
    assert torch.equal(went_on.latents, picture(bundle, wanted))
    save_file({"<pen>": rows(32, 5, seed=1)}, folder / "pen.safetensors")
    assert resume(bundle, wanted, 0, kept, context_id="c") is None


def test_notices_come_out_with_the_picture(sd1, spec, folder):
    context = begin(with_embeddings(sd1, folder), spec(prompt="a pen, duo", negative_prompt="ink"), 0, context_id="a")
    assert sorted(notice.code for notice in context.notices) == [
        "embedding_skipped",
        "embedding_used",
        "embedding_used",
    ]


def test_a_word_inside_an_adapter_counts_while_the_adapter_is_on(sd1, spec, folder, tmp_path):
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{module}.lora_down.weight": torch.zeros(2, 32),
        f"{module}.lora_up.weight": torch.zeros(32, 2),
        "bundle_emb.sketch.string_to_param.*": rows(32),
    }
    file = tmp_path / "sketch_style.safetensors"
    save_file(tensors, file)
    adapter = read_adapter(file, sd1.targets, title="sketch style")
    wanted, bare = spec(prompt="a sketch"), begin(sd1, spec(prompt="a sketch"), 0, context_id="x")

    def embeds(enabled: bool) -> torch.Tensor:
        stack = AdapterStack(sd1.targets)
        stack.add(AdapterRef(name="sketch style", enabled=enabled), lambda: adapter)
        return begin(sd1, wanted, 0, context_id="a", stack=stack).text.embeds

    assert torch.equal(embeds(False), bare.text.embeds)
    named = begin(with_embeddings(sd1, folder), spec(prompt="a ink"), 0, context_id="y")
    sd1.find_embeddings = tuple
    assert torch.equal(embeds(True), named.text.embeds)
