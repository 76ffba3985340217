"""Recipes refused before anything is opened or written: one sentence each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.adapters.match import FAMILY_TITLES
from engine.errors import MergeError
from engine.protocol.merge import MergeInput, Reduction

LARGEST_RANK = 2048
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def require_inputs(inputs: Sequence[MergeInput], paths: Mapping[str, Path]) -> None:
    """Refuse none at all, the same file twice, weights that are no numbers, and weights that are all zero.

    Raises:
        MergeError: `merge_inputs_missing`, `merge_twice`, `merge_option_out_of_range`, `merge_weights_zero`.
    """
    if not inputs:
        raise MergeError("merge_inputs_missing", "The recipe names nothing to merge.", "Name at least one input.")
    seen: dict[Path, str] = {}
    for each in inputs:
        place = paths[each.name].resolve()
        if place in seen:
            raise MergeError(
                "merge_twice",
                f"“{each.name}” stands in the recipe twice.",
                "Take one of the rows away, and give the other the sum of both weights.",
            )
        seen[place] = each.name
    numbers = [number for each in inputs for number in (*_weights(each), *each.blocks)]
    if not all(math.isfinite(number) and abs(number) <= 1e4 for number in numbers):
        raise MergeError(
            "merge_option_out_of_range", "A weight must be a number from −10000 to 10000.", "−2 to 2 suit most."
        )
    if not any(weight for each in inputs for weight in _weights(each)):
        raise MergeError(
            "merge_weights_zero", "All weights are 0, so the result would change nothing.", "Raise at least one weight."
        )


def require_reduction(rule: Reduction | None) -> None:
    """Refuse ranks and shares outside their range.

    Raises:
        MergeError: `merge_rank_out_of_range`, `merge_option_out_of_range`.
    """
    if rule is None:
        return
    for rank in (rule.rank, rule.conv_rank):
        if rank is not None and not 1 <= rank <= LARGEST_RANK:
            raise MergeError(
                "merge_rank_out_of_range",
                f"A target rank must be from 1 to {LARGEST_RANK}, not {rank}.",
                "16 or 32 suit most.",
            )
    if rule.rule == "rank":
        if rule.rank is None:
            raise MergeError("merge_rank_out_of_range", "A fixed rank needs a number.", "16 or 32 suit most.")
        return
    keep = rule.keep
    least_one = rule.rule == "ratio"
    if keep is None or not math.isfinite(keep) or (keep < 1.0 if least_one else not 0.0 < keep <= 1.0):
        wanted = "at least 1" if least_one else "above 0 and at most 1"
        raise MergeError(
            "merge_option_out_of_range",
            f"What the rule “{rule.rule}” keeps must be {wanted}, not {'nothing' if keep is None else f'{keep:g}'}.",
            "An energy of 0.99, a cumulative share of 0.9 or a ratio of 20 suit most.",
        )


def require_possible_rank(rule: Reduction | None, largest: int) -> None:
    """Refuse a fixed rank that no layer of the result can have.

    Raises:
        MergeError: `merge_rank_out_of_range`.
    """
    if rule is not None and rule.rule == "rank" and rule.rank is not None and rule.rank > largest:
        raise MergeError(
            "merge_rank_out_of_range",
            f"The target rank {rule.rank} is above {largest}, the most that a layer of this result can have.",
            f"Take {largest} or less, or leave the rank out to keep all.",
        )


def require_one_family(families: Mapping[str, str], model: str) -> str:
    """The family of all inputs; `model`: that of the base, or "".

    Raises:
        MergeError: `merge_families_differ`.
    """
    known = {title: family for title, family in families.items() if family}
    if model:
        known["the base model"] = model
    distinct = list(dict.fromkeys(known.values()))
    if len(distinct) > 1:
        first = next(title for title, family in known.items() if family == distinct[0])
        other = next(title for title, family in known.items() if family == distinct[1])
        titles = [FAMILY_TITLES.get(family, family) for family in distinct]
        raise MergeError(
            "merge_families_differ",
            f"{first} is for {titles[0]}, {other} is for {titles[1]}: their layers do not fit each other.",
            "Merge files of one family.",
        )
    return distinct[0] if distinct else ""


def needs_base(kind: str, title: str = "") -> MergeError:
    """The refusal of a kind that is not linear in ΔW where no base is named; `title`: of the file, if it is known."""
    return MergeError(
        "merge_base_needed",
        f"{kind}{f' (in {title})' if title else ''} changes a model by its own weights, so it merges only for a named "
        "base model (or with others of its kind, for (IA)³ and GLoRA).",
        "Name the base model in the recipe.",
    )


def require_name(name: str) -> str:
    """A file name without folder and suffix, as it will stand on disk.

    Raises:
        MergeError: `merge_name_invalid`.
    """
    cleaned = name.strip().removesuffix(".safetensors")
    why = ""
    if not cleaned:
        why = "is empty"
    elif len(cleaned.encode()) > 200:
        why = "is too long"
    elif any(each in cleaned for each in '/\\:*?"<>|') or not cleaned.isprintable():
        why = "holds characters that file names cannot have"
    elif cleaned.startswith(".") or cleaned.endswith((".", " ")) or _RESERVED.fullmatch(cleaned):
        why = "cannot be a file's name on every system"
    if why:
        raise MergeError(
            "merge_name_invalid", f"The name “{name[:60]}” {why}.", "Use letters, digits, spaces, “-”, “_” and “.”."
        )
    return cleaned


def _weights(each: MergeInput) -> tuple[float, ...]:
    return tuple(weight for weight in (each.weight, each.text_weight, each.text_weight_2) if weight is not None)
