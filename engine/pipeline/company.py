"""Who may share a UNet call: pictures of the same weights, and pictures whose adapters can ride beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.pipeline.context import ExecutionKey, GenerationContext


def company_key(context: GenerationContext) -> ExecutionKey | None:
    """Equal for pictures that may share a call though their adapters differ; None for one that may not.

    Not where the batch shape is pinned (`repeatable`: such a picture is the same bit for bit in any company), not with
    adapters that are no products of thin matrices, and not with control units, which may ask for rows of their own.
    """
    key = context.key
    if key.pinned or key.controls or not context.unet_plan.thin:
        return None
    return replace(key, adapters="")


def of_one_mind(contexts: Sequence[GenerationContext]) -> bool:
    """Whether they all carry the same adapters, so that their call needs no rows of their own.

    Raises:
        ValueError: they may not share a call.
    """
    if len({context.key for context in contexts}) <= 1:
        return True
    keys = {company_key(context) for context in contexts}
    if len(keys) > 1 or None in keys:
        raise ValueError("these contexts may not share a UNet call")
    return False
