"""The prompt grammar of A1111: text to weighted fragments, in linear time and without torch.

Emphasis `(x)` = 1.1, `(x:1.2)`, `[x]` = 1/1.1, nesting multiplies; `\\(` and its like are plain characters; `BREAK`
starts a new chunk of 75 tokens. What Easel does not know yet (`<lora:…>`, `[a:b:0.5]`, `[a|b]`, `AND`) is cut out and
told in a notice, never read as words. Nothing in a prompt of this syntax is an error.

Three passes over one list of tokens (lex, match brackets, emit), each visiting a token once; `ParsedPrompt.work` counts
the visits, so that a test can hold the parser to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine.errors import SpecError
from engine.protocol.notices import Notice
from engine.protocol.specs import PromptSyntax

ROUND_FACTOR = 1.1
SQUARE_FACTOR = 1 / 1.1
WEIGHT_RANGE = (0.0, 10.0)
COMPEL_DEPTH = 4
COMPEL_LENGTH = 2000
# A number after a colon is a handful of tokens (`-`, `1`, `.`, `25`); anything longer is text.
NUMBER_TOKENS = 8
SHOWN = 3

_LEXER = re.compile(
    r"""(?P<escape>\\[\\()\[\]])
      | (?P<network><\w+:[^<>]*>)
      | (?P<open>[(\[])
      | (?P<close>[)\]])
      | (?P<colon>:)
      | (?P<pipe>\|)
      | (?P<word>\w+)
      | (?P<text>[^\w\\()\[\]:|<]+|.)""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\Z")
_TRAILING_WEIGHT = re.compile(r"\s*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\Z")
_CLOSERS = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class WeightedText:
    """A run of text with one weight; 1.0 is plain."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class ParsedPrompt:
    """What a prompt says. `chunks` are the parts between BREAKs, never empty: an empty prompt is one empty chunk.

    With `syntax` "compel" the chunks hold the raw source, and compel's own parser reads it when it is encoded.
    """

    chunks: tuple[tuple[WeightedText, ...], ...]
    notices: tuple[Notice, ...] = ()
    syntax: PromptSyntax = "a1111"
    source: str = ""
    work: int = field(default=0, compare=False, repr=False)

    @property
    def plain(self) -> str:
        """The words alone, without any syntax."""
        return " ".join(piece.text.strip() for chunk in self.chunks for piece in chunk if piece.text.strip())


def parse(prompt: str, syntax: PromptSyntax = "a1111") -> ParsedPrompt:
    """Read a prompt.

    Raises:
        SpecError: only for `syntax="compel"`: `prompt_too_deep` beyond 4 levels of brackets, `prompt_too_long` beyond
            2 000 characters (compel's parser needs time exponential in the depth).
    """
    if syntax == "compel":
        return _check_compel(prompt)
    return _Parser(prompt).parse()


def _check_compel(prompt: str) -> ParsedPrompt:
    if len(prompt) > COMPEL_LENGTH:
        raise SpecError(
            "prompt_too_long",
            f"The prompt has {len(prompt):,} characters; compel's own syntax is read up to {COMPEL_LENGTH:,}.",
            "Shorten it, or use the A1111 syntax.",
        )
    depth = deepest = 0
    for letter in prompt:
        if letter == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif letter == ")":
            depth = max(0, depth - 1)
    if deepest > COMPEL_DEPTH:
        raise SpecError(
            "prompt_too_deep",
            f"The prompt nests brackets {deepest} deep; compel's own syntax is read up to {COMPEL_DEPTH}.",
            "Take out some brackets, or use the A1111 syntax.",
        )
    return ParsedPrompt(((WeightedText(prompt),),), syntax="compel", source=prompt, work=len(prompt))


@dataclass
class _Token:
    kind: str
    text: str


@dataclass
class _Group:
    """A bracket that opened at token `start`: its factor, and what is not text in it."""

    bracket: str
    last_colon: int | None = None
    has_pipe: bool = False
    factor: float = 1.0
    end: int | None = None
    removed: bool = False


class _Parser:
    """One prompt on its way through the three passes."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._tokens: list[_Token] = []
        self._groups: dict[int, _Group] = {}
        self._closing: dict[int, int] = {}
        # Tokens that carry a weight (`:1.2`): jump from the colon to the closing bracket.
        self._jump: dict[int, int] = {}
        self._removed: list[str] = []
        self._clamped = False
        self._work = 0

    def parse(self) -> ParsedPrompt:
        self._lex()
        self._match()
        chunks = self._emit()
        return ParsedPrompt(tuple(chunks), self._notices(), "a1111", self._prompt, self._work)

    def _lex(self) -> None:
        for match in _LEXER.finditer(self._prompt):
            self._work += 1
            kind, text = match.lastgroup or "text", match.group()
            if kind == "word" and text in ("BREAK", "AND"):
                kind = text.lower()
            elif kind == "escape":
                kind, text = "text", text[1]
            self._tokens.append(_Token(kind, text))

    def _match(self) -> None:
        """Pair the brackets; a closing one without partner is plain text, an open one lasts to the end."""
        stack: list[int] = []
        for index, token in enumerate(self._tokens):
            self._work += 1
            if token.kind == "open":
                self._groups[index] = _Group(token.text, factor=ROUND_FACTOR if token.text == "(" else SQUARE_FACTOR)
                stack.append(index)
            elif token.kind == "close":
                if stack and _CLOSERS[self._groups[stack[-1]].bracket] == token.text:
                    start = stack.pop()
                    self._close(start, index)
                else:
                    token.kind = "text"
            elif token.kind == "colon" and stack:
                self._groups[stack[-1]].last_colon = index
            elif token.kind == "pipe" and stack:
                self._groups[stack[-1]].has_pipe = True

    def _close(self, start: int, end: int) -> None:
        group = self._groups[start]
        group.end = end
        self._closing[end] = start
        number = self._number_after(group.last_colon, end)
        if group.bracket == "(":
            if number is not None and group.last_colon is not None:
                group.factor = number
                self._jump[group.last_colon] = end
        elif group.has_pipe or number is not None:
            group.removed = True

    def _number_after(self, colon: int | None, end: int) -> float | None:
        """The number that fills the tokens between `colon` and `end`, or None."""
        if colon is None or not 0 < end - colon - 1 <= NUMBER_TOKENS:
            return None
        text = "".join(token.text for token in self._tokens[colon + 1 : end])
        return float(text) if _NUMBER.match(text) else None

    def _emit(self) -> list[tuple[WeightedText, ...]]:
        writer = _Writer()
        weights = [1.0]
        saw_and = False
        index = 0
        while index < len(self._tokens):
            self._work += 1
            token = self._tokens[index]
            group = self._groups.get(index) if token.kind == "open" else None
            if group is not None and group.removed and group.end is not None:
                self._cut(index, group.end)
                index = group.end + 1
                continue
            if group is not None:
                weights.append(self._clamp(weights[-1] * group.factor))
            elif token.kind == "close" and index in self._closing:
                weights.pop()
            elif token.kind == "network":
                self._removed.append(token.text)
            elif token.kind == "break":
                writer.next_chunk()
            elif token.kind == "and":
                saw_and = True
                self._removed.append("AND")
                writer.strip_weight()
                writer.write(", ", weights[-1])
            elif index in self._jump:
                index = self._jump[index]
                continue
            else:
                writer.write(token.text, weights[-1])
            index += 1
        if saw_and:
            writer.strip_weight()
        return writer.chunks()

    def _cut(self, start: int, end: int) -> None:
        shown = "".join(token.text for token in self._tokens[start : min(end + 1, start + 40)])
        self._removed.append(shown if end - start < 40 else f"{shown}…")

    def _clamp(self, weight: float) -> float:
        low, high = WEIGHT_RANGE
        if not low <= weight <= high:
            self._clamped = True
        return round(min(max(weight, low), high), 6)

    def _notices(self) -> tuple[Notice, ...]:
        notices = []
        if self._removed:
            named = list(dict.fromkeys(self._removed))
            shown = ", ".join(f"“{text[:60]}”" for text in named[:SHOWN])
            more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
            notices.append(
                Notice(
                    code="syntax_removed",
                    message=f"This was left out of the prompt, because Easel does not know it yet: {shown}{more}.",
                    level="warning",
                )
            )
        if self._clamped:
            low, high = WEIGHT_RANGE
            notices.append(
                Notice(
                    code="value_clamped",
                    message=f"A weight in the prompt was outside {low:g} to {high:g}; it was set to the nearer end.",
                    level="warning",
                )
            )
        return tuple(notices)


class _Writer:
    """Collects text of equal weight into fragments, and fragments into chunks."""

    def __init__(self) -> None:
        self._chunks: list[list[tuple[list[str], float]]] = [[]]

    def write(self, text: str, weight: float) -> None:
        chunk = self._chunks[-1]
        if chunk and chunk[-1][1] == weight:
            chunk[-1][0].append(text)
        else:
            chunk.append(([text], weight))

    def next_chunk(self) -> None:
        self._chunks.append([])

    def strip_weight(self) -> None:
        """Take a trailing `:1.2` (the weight of a part before AND) off the newest fragment."""
        if not self._chunks[-1]:
            return
        pieces, _ = self._chunks[-1][-1]
        tail = "".join(pieces[-NUMBER_TOKENS:])
        pieces[-NUMBER_TOKENS:] = [_TRAILING_WEIGHT.sub("", tail).rstrip() if len(tail) < 100 else tail]

    def chunks(self) -> list[tuple[WeightedText, ...]]:
        done = []
        for chunk in self._chunks:
            fragments = [
                WeightedText(text, weight) for text, weight in ((("".join(t)).strip(), w) for t, w in chunk) if text
            ]
            if fragments:
                done.append(tuple(fragments))
        return done or [(WeightedText(""),)]
