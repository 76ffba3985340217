"""What the library tells about files: models, adapters, ControlNets, VAEs, samplers."""

from __future__ import annotations

from typing import Literal

from engine.protocol.frozen import Frozen

FileKind = Literal["checkpoint", "vae", "adapter", "controlnet", "embedding", "upscaler", "unknown"]


class ModelDefaults(Frozen):
    """Values that a form takes when the model is chosen; `None` leaves the family's value."""

    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    clip_skip: int | None = None
    upscale: int | None = None
    negative_prompt: str | None = None


class ModelView(Frozen):
    """A base model that can be chosen, or a sentence why it cannot (`problem`).

    `id` is unique and stable (catalogue id, or the file's name without suffix, made unique by its folder);
    `hash` is the SHA-256 of the file in hex, empty until the background has computed it.
    """

    id: str
    title: str
    family: str
    format: Literal["diffusers", "single_file", "hub"]
    size_bytes: int = 0
    dtype: str = ""
    prediction_type: str = ""
    hash: str = ""
    defaults: ModelDefaults = ModelDefaults()
    supported_loras: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    description: str = ""
    problem: str = ""


class AdvisedWeights(Frozen):
    """The weights that a side file advises, None where it says nothing: to start with, and from where to where."""

    weight: float | None = None
    low: float | None = None
    high: float | None = None


class FileView(Frozen):
    """Any other file of the library: adapters, VAEs, ControlNets, embeddings.

    `advised` and `remark` (what is odd about the side file, in a sentence) come from the side file.
    """

    id: str
    title: str
    kind: FileKind
    family: str = ""
    size_bytes: int = 0
    hash: str = ""
    default_weight: float = 1.0
    advised: AdvisedWeights = AdvisedWeights()
    trigger_words: tuple[str, ...] = ()
    problem: str = ""
    remark: str = ""


class ScheduleView(Frozen):
    """A noise schedule: id and title."""

    id: str
    title: str


class SamplerView(Frozen):
    """A sampler with the schedules that exist for it, and advice in plain words.

    `evaluations_per_step` is 2 for second-order samplers; `advised_steps` a range (low, high).
    """

    id: str
    title: str
    schedules: tuple[ScheduleView, ...]
    evaluations_per_step: float = 1.0
    advised_steps: tuple[int, int] = (20, 30)
    advice: str = ""
    stochastic: bool = False
