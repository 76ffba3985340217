"""compel's own prompt syntax (`x++`, `(x)1.2`, `.blend()`, `.and()`), read within the bounds that the grammar sets."""

from __future__ import annotations

from typing import Any

from engine.conditioning.grammar import ParsedPrompt
from engine.errors import SpecError
from engine.protocol.notices import Notice


def read_native(parsed: ParsedPrompt) -> tuple[Any, tuple[Notice, ...]]:
    """compel's Conjunction for a prompt of its own syntax, without what Easel does not carry out.

    Raises:
        SpecError: `bad_request` where compel cannot read it.
    """
    import pyparsing
    from compel.prompt_parser import PromptParser

    # Memoising turns compel's exponential time in the bracket depth into a linear one; other users of pyparsing in this
    # process are left as they were.
    pyparsing.ParserElement.enable_packrat(cache_size_limit=4096, force=True)
    try:
        conjunction = PromptParser().parse_conjunction(parsed.source)
    except (PromptParser.ParsingException, pyparsing.ParseBaseException, ValueError, RecursionError) as error:
        raise SpecError(
            "bad_request",
            f"The prompt is not valid compel syntax: {str(error)[:200]}.",
            "Correct it, or use the A1111 syntax.",
        ) from error
    finally:
        pyparsing.ParserElement.disable_memoization()
    return conjunction, _without_unknown(conjunction)


def plain_text(conjunction: Any) -> str:
    """The words of the first part: what the pooled embedding of SDXL is made from."""
    first: Any = conjunction.prompts[0] if conjunction.prompts else None
    while first is not None and hasattr(first, "prompts"):
        first = first.prompts[0]
    return " ".join(child.text for child in first.children) if first is not None else ""


def _without_unknown(conjunction: Any) -> tuple[Notice, ...]:
    """Take `.swap()` (the original stays) and `withLora()` out; tell it."""
    from compel.prompt_parser import CrossAttentionControlSubstitute

    removed = []
    if conjunction.lora_weights:
        removed.append("withLora()")
    for prompt in conjunction.prompts:
        children: list[Any] = []
        for child in getattr(prompt, "children", []):
            if isinstance(child, CrossAttentionControlSubstitute):
                removed.append(".swap()")
                children.extend(child.original)
            else:
                children.append(child)
        if hasattr(prompt, "children"):
            prompt.children = children
    if not removed:
        return ()
    named = ", ".join(dict.fromkeys(removed))
    return (
        Notice(
            code="syntax_removed",
            message=f"This was left out of the prompt, because Easel does not know it yet: {named}.",
            level="warning",
        ),
    )
