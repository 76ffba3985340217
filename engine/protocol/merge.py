"""Recipes of the merge studio: values that are saved, shared as JSON, stored inside the result, and run again.

Ranges are checked when a recipe is run (`engine.merge.recipe_checks`), so that each violation has its own sentence.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.protocol.frozen import Frozen

MERGE_SCHEMA = 1

Layout = Literal["kohya", "diffusers", "lycoris"]
"""How keys are spelt: kohya's scripts (read by every program) · diffusers and PEFT · the lycoris library."""

FileDtype = Literal["float16", "bfloat16", "float32"]
TargetKind = Literal["auto", "lora", "full"]
ReductionRule = Literal["rank", "energy", "ratio", "cumulative"]
Component = Literal["unet", "text_encoder", "text_encoder_2"]


class MergeInput(Frozen):
    """One adapter, or one checkpoint, and how strongly it goes in.

    Attributes:
        name: an id of the library, or a file's path on the command line.
        weight: for the UNet; any finite number, negative ones too. text_weight: for the text encoders, None: the same.
            text_weight_2: for SDXL's second one, None: as `text_weight`.
        blocks: A1111's block weights, that multiply by block: 17 or 26 for SD 1.x and 2.x, 12 or 20 for SDXL.
    """

    name: str
    weight: float = 1.0
    text_weight: float | None = None
    text_weight_2: float | None = None
    blocks: tuple[float, ...] = ()

    def weight_of(self, component: str) -> float:
        """The weight for "unet", "text_encoder" or "text_encoder_2", without blocks."""
        text = self.weight if self.text_weight is None else self.text_weight
        if component == "text_encoder_2":
            return text if self.text_weight_2 is None else self.text_weight_2
        return text if component == "text_encoder" else self.weight


class MethodOptions(Frozen):
    """What some methods ask for.

    Attributes:
        density: share of the values that is kept, above 0 up to 1 (TIES, DARE, magnitude prune).
        majority: how TIES elects a sign: by the sum of the values, or by how many there are.
        seed: of what DARE drops.
    """

    density: float = 0.5
    majority: Literal["total", "frequency"] = "total"
    seed: int = 0


class Reduction(Frozen):
    """How far ranks are reduced.

    Attributes:
        rule: "rank": exactly that many · "energy": until that share of Σ S² is kept · "ratio": singular values above
            the largest divided by `keep` · "cumulative": until that share of Σ S is kept.
        rank: for "rank"; with the other rules the most that there may be; None: no limit.
        conv_rank: the same for convolutions larger than 1×1; None: as `rank`.
        keep: energy and cumulative: above 0 up to 1; ratio: at least 1.
    """

    rule: ReductionRule = "rank"
    rank: int | None = None
    conv_rank: int | None = None
    keep: float | None = None


class AdapterTarget(Frozen):
    """What the adapter file becomes.

    Attributes:
        kind: "lora": a LoRA, exact unless reduced · "full": every change as it is, large · "auto": a LoRA; what only
            expands to one of large rank (LoHa, LoKr, kinds that need a base) keeps 99.9 % of its energy.
        reduction: None: ranks stay as they come out.
        text_encoders: False leaves them out.
    """

    kind: TargetKind = "auto"
    reduction: Reduction | None = None
    layout: Layout = "kohya"
    dtype: FileDtype = "float16"
    text_encoders: bool = True


class FileMetadata(Frozen):
    """What people read of a file. None leaves what the inputs say (an edit leaves what the file says).

    Attributes:
        trigger_words: in the order of use. tags: of what it shows. thumbnail: a picture as base64 (JPEG, PNG or WebP).
            Limits: `engine.merge.details`.
    """

    title: str | None = None
    author: str | None = None
    description: str | None = None
    license: str | None = None
    usage_hint: str | None = None
    trigger_words: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    thumbnail: str | None = None


class MergeRecipe(Frozen):
    """Adapters become one adapter. One input alone is resized, converted to LoRA, or scaled.

    Attributes:
        method: an id out of `engine.merge.methods`.
        normalise: divide the weights by their sum first.
        base: the model that the result is for; needed by kinds whose change depends on the weights (DoRA, OFT, BOFT,
            and (IA)³ or GLoRA beside other kinds), and where the files do not fit their family's usual shapes.
    """

    task: Literal["merge"] = "merge"
    schema_: int = Field(default=MERGE_SCHEMA, alias="schema")
    inputs: tuple[MergeInput, ...]
    method: str = "weighted_sum"
    options: MethodOptions = MethodOptions()
    normalise: bool = False
    base: str | None = None
    target: AdapterTarget = AdapterTarget()
    metadata: FileMetadata = FileMetadata()


class BakeRecipe(Frozen):
    """Adapters are worked into a checkpoint; layout and dtype of the checkpoint stay. `model`: a file or a folder."""

    task: Literal["bake"] = "bake"
    schema_: int = Field(default=MERGE_SCHEMA, alias="schema")
    model: str
    inputs: tuple[MergeInput, ...]
    metadata: FileMetadata = FileMetadata()


class ExtractRecipe(Frozen):
    """The difference of two checkpoints becomes an adapter: `tuned` − `base`; or what a stack makes of `base`, less it.

    Attributes:
        tuned: the checkpoint; "" where `inputs` are given. inputs: a stack of adapters on `base`, of whatever kinds.
        kind: "lora", or "lokr": the nearest Kronecker product of each difference.
        factor: LoKr: the first factor has at most that many rows and columns; −1: as square as it goes.
        smallest: layers whose largest difference is below it are left out.
    """

    task: Literal["extract"] = "extract"
    schema_: int = Field(default=MERGE_SCHEMA, alias="schema")
    tuned: str = ""
    inputs: tuple[MergeInput, ...] = ()
    base: str
    kind: Literal["lora", "lokr"] = "lora"
    reduction: Reduction = Reduction(rule="rank", rank=32)
    factor: int = -1
    smallest: float = 1e-6
    layout: Layout = "kohya"
    dtype: FileDtype = "float16"
    text_encoders: bool = True
    metadata: FileMetadata = FileMetadata()


class CheckpointRecipe(Frozen):
    """Checkpoints become one.

    Attributes:
        method: "weighted": Σ wᵢ Mᵢ, the weights divided by their sum unless `normalise` is off · "add_difference":
            first + weight of the second · (second − third).
    """

    task: Literal["checkpoint"] = "checkpoint"
    schema_: int = Field(default=MERGE_SCHEMA, alias="schema")
    inputs: tuple[MergeInput, ...]
    method: Literal["weighted", "add_difference"] = "weighted"
    normalise: bool = True
    metadata: FileMetadata = FileMetadata()


class ConvertRecipe(Frozen):
    """The same adapter in another spelling or precision. Its kind stays; `dtype` None: as the file has it."""

    task: Literal["convert"] = "convert"
    schema_: int = Field(default=MERGE_SCHEMA, alias="schema")
    input: str
    base: str | None = None
    layout: Layout = "kohya"
    dtype: FileDtype | None = None
    text_encoders: bool = True
    metadata: FileMetadata = FileMetadata()


AnyRecipe = Annotated[
    MergeRecipe | BakeRecipe | ExtractRecipe | CheckpointRecipe | ConvertRecipe, Field(discriminator="task")
]
