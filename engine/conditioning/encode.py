"""From a parsed prompt to embeddings, through compel.

compel weighs fragments by comparing with the empty prompt; its values (Conjunction, FlattenedPrompt, Fragment) are
built here from Easel's own grammar. Beyond 75 tokens a prompt is read in chunks of 75. Import this module after
`engine.loading.torchvision_guard.guard_torchvision()`: compel and transformers are imported when a prompt is encoded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.conditioning.grammar import ParsedPrompt, parse
from engine.conditioning.inversions import PromptWords, Sources
from engine.conditioning.native import plain_text, read_native
from engine.errors import SpecError
from engine.protocol.commands import TokenCount
from engine.protocol.notices import Notice
from engine.protocol.specs import PromptSyntax

CHUNK = 75
# Each chunk is one pass through the text encoder, and each weakened part one more.
MAX_CHUNKS = 64
MAX_WEAKENED = 64
# A chunk ends at a comma or full stop if one is among its last tokens, else at a word's end.
PHRASE_REACH = 20
PHRASE_ENDS = (",</w>", ".</w>", ";</w>", ":</w>")


@dataclass(frozen=True)
class Conditioning:
    """What a prompt means to a model.

    Attributes:
        embeds: shape (1, n, d), n a multiple of 77, in the text encoder's dtype.
        pooled: shape (1, p), or None for families without it.
        tokens: tokens of the prompt, without start and end marks; each vector of an inversion is one.
    """

    embeds: torch.Tensor
    pooled: torch.Tensor | None
    tokens: int
    notices: tuple[Notice, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return self.embeds.nbytes + (self.pooled.nbytes if self.pooled is not None else 0)


def encode(
    parsed: ParsedPrompt,
    tokenizers: Sequence[Any],
    text_encoders: Sequence[Any],
    clip_skip: int = 1,
    words: PromptWords | None = None,
) -> Conditioning:
    """Encode a prompt.

    Args:
        tokenizers, text_encoders: one of each (SD 1.x and 2.x), or two (SDXL: embeddings side by side, pooled from the
            second).
        clip_skip: A1111's numbers: 1 is the last layer, 2 the one before. SDXL always starts one layer before the last,
            so that 1 and 2 mean the same there, as in other studios.
        words: the textual inversions that the prompt names; None: every word is text.

    Raises:
        SpecError: `prompt_too_long` beyond 64 chunks of 75 tokens or 64 weakened parts; `bad_request` for compel syntax
            that compel cannot read.
    """
    double = len(text_encoders) > 1
    notices = list(parsed.notices)
    if clip_skip > (layers := min(_layers(encoder) for encoder in text_encoders)):
        notices.append(
            Notice(
                code="value_clamped",
                message=f"This model's text encoder has {layers} layers: clip skip is {layers}, not {clip_skip}.",
                level="warning",
            )
        )
        clip_skip = layers
    loaded = (words or PromptWords(parsed, {})).load([_width(encoder) for encoder in text_encoders])
    notices.extend(loaded.notices)
    tokenizers = loaded.tokenizers(tokenizers)
    with torch.inference_mode(), loaded.in_encoders(tokenizers, text_encoders):
        parts = []
        for tokenizer, encoder in zip(tokenizers, text_encoders, strict=True):
            conjunction, text = _conjunction(parsed, tokenizer, notices)
            compel = _compel(tokenizer, encoder, clip_skip, is_xl=double)
            with _fault_of_the_prompt():
                embeds, _, _ = compel.build_conditioning_tensor_for_conjunction(conjunction, return_tokenization=True)
            parts.append(embeds)
        pooled = compel.conditioning_provider.get_pooled_embeddings([text], device=encoder.device) if double else None
        embeds = torch.cat(_same_length(parts), dim=-1) if double else parts[0]
    tokens = _count(parsed, tokenizers[0])
    if tokens > CHUNK:
        notices.append(_chunk_notice(tokens, embeds.shape[1] // 77))
    return Conditioning(embeds, pooled, tokens, tuple(dict.fromkeys(notices)))


def count_tokens(
    prompt: str,
    tokenizer: Any,
    syntax: PromptSyntax = "a1111",
    sources: Sources | None = None,
    widths: Sequence[int] = (),
) -> TokenCount:
    """How long a prompt is for a model.

    Args:
        tokenizer: the first one, where the model has two.
        sources: the textual inversions that there are; their words count as many tokens as they have vectors.
        widths: of the model's text encoders.

    Raises:
        SpecError: as `parse` and `encode`.
    """
    parsed = parse(prompt, syntax)
    loaded = PromptWords(parsed, sources or {}).load(widths)
    tokenizer = loaded.tokenizers([tokenizer])[0]
    tokens = chunks = 0
    for texts in _texts(parsed):
        ids = _ids(texts, tokenizer)
        tokens += len(ids)
        chunks += _chunks_of(ids, tokenizer)
    told = (*parsed.notices, *(notice for notice in loaded.notices if notice.level == "warning"))
    return TokenCount(tokens=tokens, limit=max(chunks, 1) * CHUNK, chunks=max(chunks, 1), notices=told)


def _conjunction(parsed: ParsedPrompt, tokenizer: Any, notices: list[Notice]) -> tuple[Any, str]:
    """compel's value for a prompt, and the words for the pooled embedding."""
    from compel.prompt_parser import Conjunction, FlattenedPrompt

    if parsed.syntax == "compel":
        conjunction, told = read_native(parsed)
        notices.extend(told)
        _check_work(_texts_of(conjunction), tokenizer)
        return conjunction, plain_text(conjunction)
    chunks = []
    for chunk in parsed.chunks:
        # A fragment without any token has no place among the tokens, which compel would look for.
        lengths = _lengths([piece.text for piece in chunk], tokenizer)
        chunks.append([piece for piece, length in zip(chunk, lengths, strict=True) if length])
    _check_work([[(piece.text, piece.weight) for piece in chunk] for chunk in chunks], tokenizer)
    prompts = [FlattenedPrompt([(piece.text, piece.weight) for piece in chunk] or [("", 1.0)]) for chunk in chunks]
    return Conjunction(prompts), " ".join(piece.text for piece in parsed.chunks[0])


def _compel(tokenizer: Any, encoder: Any, clip_skip: int, *, is_xl: bool) -> Any:
    """compel around one text encoder, reading the layer that `clip_skip` names, and splitting in linear time."""
    from compel import Compel

    with contextlib.suppress(AttributeError):
        # Longer prompts are meant to be: no warning about it.
        tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    compel = Compel(tokenizer=tokenizer, text_encoder=encoder, truncate_long_prompts=False, device=encoder.device)
    provider = compel.conditioning_provider
    read: dict[tuple[bytes, bytes], torch.Tensor] = {}

    def layer(token_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        mask = b"" if attention_mask is None else attention_mask.cpu().numpy().tobytes()
        key = (token_ids.cpu().numpy().tobytes(), mask)
        if key not in read:
            read[key] = _layer(encoder, token_ids, attention_mask, clip_skip, is_xl)
        return read[key]

    def split(token_ids: list[int], max_length: int, *_: Any) -> int:
        return _split_point(token_ids, max_length, tokenizer)

    provider._encode_token_ids_to_embeddings = layer
    provider._find_next_best_split_point = split
    return compel


def _layer(
    encoder: Any, token_ids: torch.Tensor, attention_mask: torch.Tensor | None, clip_skip: int, is_xl: bool
) -> torch.Tensor:
    """One layer's hidden states, shape (1, 77, d)."""
    if clip_skip <= 1 and not is_xl:
        return encoder(token_ids, attention_mask, return_dict=True).last_hidden_state
    states = encoder(token_ids, attention_mask, output_hidden_states=True, return_dict=True).hidden_states
    if is_xl:
        return states[-max(2, clip_skip)]
    return encoder.text_model.final_layer_norm(states[-clip_skip])


def _layers(encoder: Any) -> int:
    return int(encoder.config.num_hidden_layers)


def _width(encoder: Any) -> int:
    """How long the vector of a token is."""
    return int(encoder.config.hidden_size)


def _split_point(token_ids: list[int], max_length: int, tokenizer: Any) -> int:
    """How many tokens go into the next chunk: up to a phrase's end near the end, else a word's, else all that fit."""
    if len(token_ids) <= max_length:
        return max_length
    words = tokenizer.convert_ids_to_tokens(token_ids[:max_length])
    for place in range(max_length - 1, max_length - 1 - PHRASE_REACH, -1):
        if words[place] in PHRASE_ENDS:
            return place + 1
    for place in range(max_length - 1, -1, -1):
        if words[place].endswith("</w>"):
            return place + 1
    return max_length


def _check_work(parts: list[list[tuple[str, float]]], tokenizer: Any) -> None:
    """Refuse what would keep the text encoder busy for minutes."""
    chunks = sum(_chunks_of(_ids([text for text, _ in part], tokenizer), tokenizer) for part in parts)
    if chunks > MAX_CHUNKS:
        raise SpecError(
            "prompt_too_long",
            f"The prompt fills {chunks} chunks of {CHUNK} tokens; the limit is {MAX_CHUNKS}.",
            "Shorten it: the first 75 tokens count most.",
        )
    weakened = sum(1 for part in parts for _, weight in part if weight < 1)
    if weakened > MAX_WEAKENED:
        raise SpecError(
            "prompt_too_long",
            f"The prompt has {weakened} parts with a weight below 1; the limit is {MAX_WEAKENED}.",
            "Take out some of the [brackets].",
        )


def _texts(parsed: ParsedPrompt) -> list[list[str]]:
    """The texts of each chunk."""
    if parsed.syntax == "compel":
        return [[text for text, _ in part] for part in _texts_of(read_native(parsed)[0])]
    return [[piece.text for piece in chunk] for chunk in parsed.chunks]


def _texts_of(conjunction: Any) -> list[list[tuple[str, float]]]:
    parts: list[list[tuple[str, float]]] = []
    for prompt in conjunction.prompts:
        for leaf in getattr(prompt, "prompts", [prompt]):
            parts.append([(child.text, child.weight) for child in leaf.children])
    return parts


def _ids(texts: list[str], tokenizer: Any) -> list[int]:
    """Token ids of texts that follow each other, without marks."""
    if not texts:
        return []
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids: list[int] = []
    for row in tokenizer(texts, truncation=False, padding="do_not_pad", return_tensors=None, verbose=False)[
        "input_ids"
    ]:
        first = 1 if row and row[0] == start else 0
        last = len(row) - 1 if len(row) > first and row[-1] == end else len(row)
        ids.extend(row[first:last])
    return ids


def _lengths(texts: list[str], tokenizer: Any) -> list[int]:
    return [len(_ids([text], tokenizer)) for text in texts]


def _chunks_of(ids: list[int], tokenizer: Any) -> int:
    """How many chunks the ids fill; at least one."""
    chunks, place = 1, 0
    while len(ids) - place > CHUNK:
        place += _split_point(ids[place : place + CHUNK + 1], CHUNK, tokenizer)
        chunks += 1
    return chunks


def _count(parsed: ParsedPrompt, tokenizer: Any) -> int:
    return sum(len(_ids(texts, tokenizer)) for texts in _texts(parsed))


def _same_length(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Repeat along the tokens up to a common length; attention reads repeated tokens as the tokens themselves."""
    target = math.lcm(*(part.shape[1] for part in parts))
    return [part.repeat(1, target // part.shape[1], 1) for part in parts]


def _chunk_notice(tokens: int, chunks: int) -> Notice:
    return Notice(
        code="prompt_chunked",
        message=f"The prompt has {tokens} tokens; it is read in {chunks} chunks of up to {CHUNK}.",
    )


@contextlib.contextmanager
def _fault_of_the_prompt() -> Any:
    """compel reports tokens that it cannot place as RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "fragment" not in str(error):
            raise
        raise SpecError(
            "bad_request",
            "The prompt could not be read: one of its weighted parts has no words of its own.",
            "Take out brackets around single signs.",
        ) from error
