"""The starter's tokenizer is CLIP's: known ids, known checksum; a damaged download is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from training.errors import RecipeError
from training.tokenizer import MERGES_SHA256, byte_symbols, load_tokenizer, write_tokenizer

STARTER = Path(__file__).parents[2] / "models" / "starter" / "tokenizer"


def test_check_values_of_the_shipped_files() -> None:
    merges = (STARTER / "merges.txt").read_bytes()
    assert hashlib.sha256(merges).hexdigest().startswith(MERGES_SHA256)
    vocabulary = json.loads((STARTER / "vocab.json").read_text(encoding="utf-8"))
    assert len(vocabulary) == 49_408
    assert sorted(vocabulary.values()) == list(range(49_408))


def test_a_photo_of_a_cat() -> None:
    tokenizer = load_tokenizer(STARTER)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.model_max_length == 77
    assert tokenizer.pad_token_id == 49407


def test_256_distinct_byte_symbols() -> None:
    assert len(set(byte_symbols())) == 256


def test_a_damaged_or_wrong_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="damaged"):
        write_tokenizer(b"not gzip", tmp_path)
    with pytest.raises(RecipeError, match="not the expected one"):
        write_tokenizer(gzip.compress(b"header\na b\n"), tmp_path)
    assert not list(tmp_path.iterdir())
