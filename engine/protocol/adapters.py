"""What the library tells about adapters: rows of the gallery, match reports, conflicts, suggestions, named stacks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.protocol.frozen import Frozen
from engine.protocol.library import ModelDefaults
from engine.protocol.specs import AdapterRef

AdapterKind = str
"""LoRA, LoCon, LoHa, LoKr, (IA)³, GLoRA, OFT, BOFT, Full, Norm, DoRA, "mixed", "", or as an extension calls it."""


class AdapterView(Frozen):
    """An adapter file that can be stacked, or a sentence why it cannot (`problem`).

    Attributes:
        id: unique and stable: the catalogue's id, or the file's name without suffix, made unique by its folder.
        title: for people; two adapters may have the same. shared_title: whether another one has this title, so that
            the id is to stand beside it.
        file: path relative to its root folder, with forward slashes. folder: the folder part of it, "" at the top.
        kind: of most modules; "mixed" where several kinds share a file; "" while the file cannot be read.
        family: "sd1", "sd2", "sdxl", "flux", …; "" where the file does not tell.
        rank: the most frequent rank of its low-rank modules; None for kinds without one.
        hash: SHA-256 of the file (64 hex), "" until the background has computed it.
        auto_v3: the first 12 hex of the SHA-256 of all after the header, which A1111 writes as "Lora hashes".
        trigger_words: what it answers to, in the order of the file. tags: its most frequent training tags.
        default_weight: from catalogue, sidecar or metadata; 1.0 where nobody says.
        quick: sampler, schedule, steps and guidance that it needs, where it makes the model draw in few steps (LCM,
            Lightning, Turbo, …); None for every other adapter.
        has_preview: whether `LocatePreview` finds a picture.
        modified_at: seconds since the epoch.
    """

    id: str
    title: str
    shared_title: bool = False
    file: str = ""
    folder: str = ""
    kind: AdapterKind = ""
    family: str = ""
    size_bytes: int = 0
    rank: int | None = None
    dtype: str = ""
    hash: str = ""
    auto_v3: str = ""
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    default_weight: float = 1.0
    quick: ModelDefaults | None = None
    has_preview: bool = False
    description: str = ""
    problem: str = ""
    modified_at: float = 0.0

    @property
    def name(self) -> str:
        """The title, with the id where others have the same title."""
        return f"{self.title} ({self.id})" if self.shared_title else self.title


class AdapterPage(Frozen):
    """A page of the library. `next_cursor` is None on the last page; `total` counts all matches; `folders` and
    `families` are those of the whole library, to filter by. `scanning`: folders are being looked at right now."""

    adapters: tuple[AdapterView, ...]
    total: int = 0
    next_cursor: str | None = None
    folders: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    scanning: bool = False


class AdapterDetails(Frozen):
    """All that is known of one adapter.

    Attributes:
        metadata: the file's own, as text; values above 2 000 characters are cut, pictures are left out.
        tag_counts: training tags with how many pictures had them, most frequent first.
        negative_prompt: what a sidecar advises.
        examples: prompts of the sidecars.
        modules: how many modules the file changes.
        uses: in how many of the asker's pictures it was. usual_weight: the weight that it mostly had there.
    """

    view: AdapterView
    metadata: dict[str, str] = Field(default_factory=dict)
    tag_counts: dict[str, int] = Field(default_factory=dict)
    negative_prompt: str = ""
    examples: tuple[str, ...] = ()
    modules: int = 0
    uses: int = 0
    usual_weight: float | None = None


# --- match report --------------------------------------------------------------------------------------------------


class ComponentMatch(Frozen):
    """Modules of the file for one component ("unet", "text_encoder", "text_encoder_2") that the model has (`matched`)
    out of those that the file names (`total`); `conv` of the matched ones are convolutions."""

    component: str
    matched: int
    total: int
    conv: int = 0


class Unmatched(Frozen):
    """Why `count` modules do not fit, in one sentence, with a few of their names."""

    reason: str
    count: int
    examples: tuple[str, ...] = ()


class AdapterReport(Frozen):
    """Whether an adapter fits a model, before anything runs. `summary` is the sentence of the badge, `code` that of the
    error where its file cannot be read."""

    id: str
    title: str
    matched: int
    total: int
    components: tuple[ComponentMatch, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    usable: bool = True
    summary: str = ""
    code: str = ""


class PairConflict(Frozen):
    """Two adapters that change the same modules. `first` and `second` are ids; a cosine is −1…1 (1: both say the same,
    0: they do not disturb each other, −1: they undo each other); `blocks` has it by block, in the model's order.
    `compared` of the shared modules were looked at; fewer than all where that would take long."""

    first: str
    second: str
    shared_modules: int
    compared: int = 0
    mean_cosine: float
    blocks: tuple[tuple[str, float], ...] = ()


class BlockImpact(Frozen):
    """What an adapter does to one block: its share of the whole change (`energy`, 0…1), and how large the change is
    beside the block's own weights (`strength`, ‖ΔW‖ / ‖W‖)."""

    block: str
    energy: float
    strength: float


class AdapterImpact(Frozen):
    """What was measured of an adapter at weight 1, without painting.

    Attributes:
        modules: how many it changes; `measured` of them were looked at.
        strength: ‖ΔW‖ / ‖W‖ over all of these. blocks: in the model's order.
        rank, rank_in_use: of its thin modules, on average; in use are the directions that hold 99 % of the change. None
            for kinds without a rank.
        nbytes: in memory. read_seconds: reading the file. apply_seconds: making its changes once, on the CPU.
        seconds: what measuring took.
    """

    id: str
    modules: int
    measured: int
    strength: float
    blocks: tuple[BlockImpact, ...] = ()
    rank: float | None = None
    rank_in_use: float | None = None
    nbytes: int = 0
    read_seconds: float = 0.0
    apply_seconds: float = 0.0
    seconds: float = 0.0


class StackReport(Frozen):
    """Reports in the order of the stack, conflicts of its pairs, and advice in plain sentences; `impacts` where they
    were asked for, of those that can be used."""

    reports: tuple[AdapterReport, ...] = ()
    conflicts: tuple[PairConflict, ...] = ()
    advice: tuple[str, ...] = ()
    impacts: tuple[AdapterImpact, ...] = ()


# --- suggestions, completions, stacks ------------------------------------------------------------------------------


class Suggestion(Frozen):
    """An adapter that may fit what was typed, why in plain words, and the weight to try. A higher score fits better."""

    adapter: AdapterView
    reason: str
    weight: float
    score: float


class SuggestionList(Frozen):
    suggestions: tuple[Suggestion, ...] = ()


class Completion(Frozen):
    """Text that completes what is being typed. `insert` replaces the word before the caret; `detail` says more."""

    text: str
    insert: str
    kind: Literal["adapter", "trigger", "embedding", "history"]
    detail: str = ""


class CompletionList(Frozen):
    completions: tuple[Completion, ...] = ()


class NamedStack(Frozen):
    """A stack that a person has kept, with its weights and its order."""

    name: str
    adapters: tuple[AdapterRef, ...] = ()


class StackList(Frozen):
    """The owner's stacks, by name."""

    stacks: tuple[NamedStack, ...] = ()
