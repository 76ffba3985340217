"""CLIP's byte-pair tokenizer files, made from the vocabulary that CLIP's packages carry.

The list of merges is OpenAI's (MIT). Vocabulary: 256 bytes, the same 256 with `</w>`, 48 894 merges, two specials.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from training.errors import RecipeError
from training.files import write_atomically

MERGES = 48_894
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
MERGES_SHA256 = "9fd691f7"
"""First characters of the SHA-256 of merges.txt."""


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes, in CLIP's order (printable ones first)."""
    codes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(code) for code in codes]
    extra = 0
    for byte in range(256):
        if byte not in codes:
            symbols.append(chr(256 + extra))
            extra += 1
    return symbols


def write_tokenizer(archive: bytes, folder: Path) -> None:
    """`archive` (bpe_simple_vocab_16e6.txt.gz) → the four tokenizer files. Raises `RecipeError` on a wrong archive."""
    try:
        lines = gzip.decompress(archive).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RecipeError(
            "The CLIP vocabulary is damaged.", "Delete the download and run the data step again."
        ) from error
    merges = lines[1 : MERGES + 1]
    text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    if not hashlib.sha256(text.encode("utf-8")).hexdigest().startswith(MERGES_SHA256):
        raise RecipeError("The CLIP vocabulary is not the expected one.", "Use the pinned version of its package.")
    symbols = byte_symbols()
    tokens = [
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        *("".join(merge.split()) for merge in merges),
        START,
        END,
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    _write(folder / "merges.txt", text)
    _write(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    _write(folder / "special_tokens_map.json", json.dumps(
        {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}, indent=2) + "\n")  # fmt: skip
    _write(folder / "tokenizer_config.json", json.dumps({
        "tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "bos_token": START, "eos_token": END,
        "pad_token": END, "unk_token": END, "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
    }, indent=2) + "\n")  # fmt: skip


def load_tokenizer(folder: Path) -> Any:
    """A transformers `CLIPTokenizer`."""
    if not (folder / "vocab.json").exists():
        raise RecipeError("The tokenizer files are not there.", "Run `python -m training data` first.")
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(folder))


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))
