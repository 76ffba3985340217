"""What a person types into the search box, as an FTS5 expression that cannot fail.

Words are looked up as they are: each must occur, "quoted words" as a phrase, and the last word may be unfinished. No
operator of FTS5 gets through. Chinese, Japanese, Korean, Thai and their neighbours write without spaces, so FTS5 would
take a whole sentence for one word: text in those scripts is kept in a second index, character by character, and a word
becomes a phrase of characters. (A trigram index finds nothing shorter than three characters, and most Chinese and
Japanese words have one or two.)
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

# A phrase of 100 000 characters would keep the database busy for seconds.
MAX_WORDS = 200
MAX_CHARACTERS = 2000
# FTS5 can look up unfinished words of three letters and more quickly (prefix = '3').
MIN_PREFIX = 3

_UNFINISHED = re.compile(rf"[^\W_]{{{MIN_PREFIX},}}$")
_TERM = re.compile(r'"([^"]*)(?:"|$)|([^\s"]+)')
# Thai, Lao, Burmese, Hangul parts, Khmer, kana, Bopomofo, Han with its extensions, Hangul syllables.
_SPACELESS = (
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SPACELESS_CHARACTER = re.compile(_SPACELESS)


@dataclass(frozen=True)
class TextQuery:
    """Which index to ask, and with what; an empty `match` can match nothing."""

    table: Literal["images_fts", "images_cjk"]
    match: str


def text_query(text: str) -> TextQuery | None:
    """The query that a person's words make; None for a blank one. Of a long text the beginning counts."""
    clean = _printable(text[:MAX_CHARACTERS])
    if not clean.strip():
        return None
    terms = [(quoted or word, bool(word)) for quoted, word in _TERM.findall(clean)]
    if len(text) > MAX_CHARACTERS and len(terms) > 1:
        # The cut may have gone through the last one.
        terms.pop()
    terms = [(term, is_word) for term, is_word in terms if any(letter.isalnum() for letter in term)]
    if _SPACELESS_CHARACTER.search(unicodedata.normalize("NFKC", clean)):
        return TextQuery("images_cjk", _conjunction([f'"{spaced(term)}"' for term, _ in terms]))
    phrases = [f'"{term}"' for term, _ in terms]
    if terms and terms[-1][1] and _UNFINISHED.search(clean):
        phrases[-1] += " *"
    return TextQuery("images_fts", _conjunction(phrases))


def spaceless_text(*texts: str) -> str | None:
    """The content of a row of `images_cjk`, or None where no text has a script without spaces."""
    whole = spaced("\n".join(texts))
    return whole if _SPACELESS_CHARACTER.search(whole) else None


def spaced(text: str) -> str:
    """Text in which every character of a script without spaces stands alone."""
    return _SPACELESS_CHARACTER.sub(r" \g<0> ", unicodedata.normalize("NFKC", text)).replace('"', " ")


def _conjunction(phrases: list[str]) -> str:
    return " AND ".join([*dict.fromkeys(phrases)][:MAX_WORDS])


def _printable(text: str) -> str:
    """Without control characters (NUL ends a statement for SQLite) and halves of surrogate pairs (not UTF-8)."""
    return "".join(" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)
