"""Comparisons: the same prompts and seed painted with several stacks, as one job with one grid and its numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.protocol.commands import Command
from engine.protocol.frozen import Frozen
from engine.protocol.jobs import ErrorView, ImageView, JobStatus, Progress
from engine.protocol.specs import AdapterRef, GenerationSpec

MOST_ADAPTERS = 12
MOST_PROMPTS = 8
MOST_WEIGHTS = 6
MOST_PICTURES = 150

RowRole = Literal["clean", "with_words", "without_words", "stacked", "merged", "alone"]


class ComparedRow(Frozen):
    """One line of the grid: a stack, painted once for each prompt.

    Attributes:
        title: beside the line. role: what it stands for.
        words: put before each prompt, such as trigger words. adapter: whose line it is, "" for none's. weight: its.
    """

    title: str
    role: RowRole
    adapters: tuple[AdapterRef, ...] = ()
    words: str = ""
    adapter: str = ""
    weight: float = 0.0


class ComparisonPlan(Frozen):
    """What is painted: every line with every prompt. `spec`: model, seed, size and the rest, the same for all."""

    rows: tuple[ComparedRow, ...]
    prompts: tuple[str, ...]
    spec: GenerationSpec


class RowNumbers(Frozen):
    """How far a line's pictures are from the first line's, over all prompts.

    Attributes:
        change: root of the mean squared difference of all numbers of the pictures, 0.0 (the same) to 1.0.
        decibels: −20 lg(change); None where there is no difference at all.
    """

    title: str
    role: RowRole
    change: float
    decibels: float | None = None


class SideEffect(Frozen):
    """What an adapter does where nobody asked for it.

    Attributes:
        trigger_words: "" where it has none, and then nothing can be told apart.
        with_words, without_words: `change` from the clean pictures, with its words in the prompt and without.
        share: without ÷ with: 0 is an adapter that waits for its words, 1 one that acts always.
    """

    adapter: str
    title: str
    trigger_words: str
    weight: float
    with_words: float
    without_words: float | None = None
    share: float | None = None


class ComparisonReport(Frozen):
    """The numbers. `cells`: ids of the pictures, line by line, "" for one that was left out."""

    rows: tuple[RowNumbers, ...]
    side_effects: tuple[SideEffect, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()


class ComparisonView(Frozen):
    """One comparison of the queue or of the history. `image`: the grid, once it is there.

    `merge_id`: the merge that is compared with its inputs, "" for a comparison of adapters.
    """

    id: str
    status: JobStatus
    plan: ComparisonPlan
    merge_id: str = ""
    progress: Progress = Progress()
    report: ComparisonReport | None = None
    image: ImageView | None = None
    error: ErrorView | None = None
    created_at: float = 0.0
    finished_at: float | None = None


class ComparisonList(Frozen):
    """The owner's comparisons, newest first."""

    comparisons: tuple[ComparisonView, ...] = ()


class CompareAdapters(Command[ComparisonView]):
    """Up to twelve adapters, each by itself at each weight, with each prompt; the first line has none.

    Attributes:
        spec: model, seed, size and the rest; its prompt and adapters do not count.
        side_effects: one more line for each adapter that has trigger words: without them, at the largest weight.
    """

    name = "compare_adapters"
    adapters: tuple[str, ...]
    prompts: tuple[str, ...]
    weights: tuple[float, ...] = (1.0,)
    spec: GenerationSpec
    side_effects: bool = True


class CompareMerge(Command[ComparisonView]):
    """The inputs of a finished merge as a stack, its result, and (`alone`) each input by itself."""

    name = "compare_merge"
    merge_id: str
    prompts: tuple[str, ...]
    spec: GenerationSpec
    alone: bool = True


class GetComparison(Command[ComparisonView]):
    name = "get_comparison"
    comparison_id: str


class ListComparisons(Command[ComparisonList]):
    name = "list_comparisons"
    limit: int = Field(default=30, ge=1, le=200)


class CancelComparison(Command[ComparisonView]):
    """Stop it; the pictures that are painted stay in the history."""

    name = "cancel_comparison"
    comparison_id: str
