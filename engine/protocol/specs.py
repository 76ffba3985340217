"""GenerationSpec: everything that decides how a picture looks, as one value.

A spec as submitted may leave fields `None` ("the model's default"); admission (`engine.jobs.admission`) resolves every
field, and it is the resolved spec that is stored, written into the picture, and run.
Ranges are checked by admission, not here, so that a violation gets its own sentence and code.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from engine.protocol.frozen import Frozen

SPEC_SCHEMA = 1

STEPS_RANGE = (1, 150)
GUIDANCE_RANGE = (1.0, 30.0)
SIZE_RANGE = (32, 4096)
SIZE_MULTIPLE = 8
COUNT_RANGE = (1, 100)
BATCH_RANGE = (1, 16)
SEED_RANGE = (0, 2**32 - 1)
CLIP_SKIP_RANGE = (1, 12)
UPSCALE_CHOICES = (1, 2, 4)
# Px: the longest side of an enlarged picture.
LARGEST_SIDE = 16384
ADAPTER_WEIGHT_RANGE = (-10.0, 10.0)
CONTROL_WEIGHT_RANGE = (0.0, 2.0)
HINT_RESOLUTION_RANGE = (64, 2048)
PROMPT_LIMIT = 20_000

ImageFormat = Literal["png", "webp", "jpeg"]
ConflictResolution = Literal["keep", "normalize", "priority"]
PromptSyntax = Literal["a1111", "compel"]
ControlRamp = Literal["constant", "linear_in", "linear_out", "cosine"]
ControlMode = Literal["balanced", "prompt", "control", "guess"]
ResizeMode = Literal["stretch", "crop", "fill"]
PercentRule = Literal["step", "sigma"]
UnitKind = Literal["controlnet", "ip_adapter", "reference"]


class AdapterRef(Frozen):
    """One row of the adapter stack; the order of the rows is their priority, the first before the second.

    Attributes:
        name: an id of the library; title, file name and hash (10, 12 or 64 characters) are understood at admission.
        unet_weight, text_weight: −10…10; a `text_weight` of None is the same as `unet_weight`.
        start, end: fractions of the steps, 0.0–1.0.
        blocks: A1111's block weights, that multiply `unet_weight` by block: 17 or 26 of them for SD 1.x and 2.x, 12 or
            20 for SDXL; empty changes nothing.
        add_trigger_words: put its trigger words into the prompt where they are missing.
    """

    name: str
    unet_weight: float = 1.0
    text_weight: float | None = None
    enabled: bool = True
    start: float = 0.0
    end: float = 1.0
    blocks: tuple[float, ...] = ()
    add_trigger_words: bool = True


class ControlUnit(Frozen):
    """One unit: a picture that guides, through what it does so, and when and how strongly it works.

    Attributes:
        kind: "controlnet" (a hint is made of the picture, a network follows it), "ip_adapter" (the picture is a prompt
            beside the text), "reference" (the UNet looks at the picture while it draws; needs no file).
        model: the id of a ControlNet or an IP-Adapter in the library; title, file name and hash are understood at
            admission. An "ip_adapter" without one takes the first that fits; a "reference" has none.
        image: an asset reference, `asset:<sha256>`.
        preprocessor: an id of the preprocessor table; "none" takes the picture as the hint.
        hint_type: what the hint shows, for a union ControlNet, which reads several types: an id of a `ControlType`; ""
            is that of the preprocessor. Others take no notice of it.
        parameters: the preprocessor's own numbers by name; those that are left out take their defaults.
        weight: 0.0–2.0.
        start, end: fractions, 0.0–1.0, counted by `percent_rule`: "step" counts steps (A1111, diffusers), "sigma" the
            noise that is left (ComfyUI, Forge).
        ramp: how the strength moves in the window: "constant", rising ("linear_in"), falling ("linear_out"), or
            falling gently at both ends ("cosine").
        resize: what becomes of a hint of another shape than the picture: "stretch" (A1111: Just Resize), "crop" (Crop
            and Resize), "fill" (Resize and Fill).
        mode: "balanced"; "prompt" and "control" (A1111: which of the two is more important); "guess" (diffusers'
            guess mode, for empty prompts).
        resolution: shorter side of the picture that the preprocessor sees, in pixels; None fits it to the result
            ("pixel perfect").
        fidelity: of a "reference", 0.0–1.0: by how much the negative prompt's half goes without it, so that guidance
            pulls towards it.
        muted: kept in the list, but not run.
    """

    kind: UnitKind = "controlnet"
    model: str = ""
    image: str = ""
    preprocessor: str = "none"
    hint_type: str = ""
    parameters: dict[str, float] = Field(default_factory=dict)
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    ramp: ControlRamp = "constant"
    resize: ResizeMode = "crop"
    mode: ControlMode = "balanced"
    resolution: int | None = None
    percent_rule: PercentRule = "step"
    fidelity: float = 0.5
    muted: bool = False


class OutputOptions(Frozen):
    """How pictures are written. `quality` is for WebP and JPEG, 1–100; `name_pattern` see docs/file-formats.md."""

    format: ImageFormat = "png"
    quality: int = 92
    name_pattern: str | None = None


class GenerationSpec(Frozen):
    """A request for `count` pictures; picture i has seed + i.

    Attributes:
        prompt, negative_prompt: A1111 syntax unless `prompt_syntax` says "compel"; at most 20 000 characters.
            A `None` negative takes the model's default negative.
        model, vae: names from the library; `None` is the default model, and the model's own VAE.
        steps: 1–150. guidance: 1.0–30.0; 1.0 uses the prompt only (one pass a step).
        sampler, schedule: ids from the sampler table.
        width, height: pixels, multiples of 8.
        seed: 0…2³²−1; `None` draws one. count: pictures. batch_size: at most this many in one UNet call.
        clip_skip: A1111's numbers; 1 is the last layer.
        upscale: how many times as large the finished picture is made: 1, 2 or 4; `None` is the model's default.
        upscaler: a file of the library; `None` is the first.
        styles: names out of styles.csv, applied to both prompts at admission.
        noise: where the initial noise is made; "cpu" is the same on every machine.
        repeatable: pin the batch shape, so that the picture is the same bit for bit whatever runs beside it.
        on_missing: "refuse" or "skip" adapters that are not in the library.
        conflicts: where several adapters change the same module: "keep" both, "normalize" their weights to a sum of 1,
            or let only the first have it ("priority").
        ext: values of extensions, keyed by extension id.
    """

    schema_: int = Field(default=SPEC_SCHEMA, alias="schema")
    prompt: str = ""
    negative_prompt: str | None = None
    model: str | None = None
    vae: str | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    count: int = 1
    batch_size: int = 4
    clip_skip: int | None = None
    upscale: int | None = None
    upscaler: str | None = None
    styles: tuple[str, ...] = ()
    prompt_syntax: PromptSyntax = "a1111"
    noise: Literal["cpu"] = "cpu"
    repeatable: bool = False
    on_missing: Literal["refuse", "skip"] = "refuse"
    adapters: tuple[AdapterRef, ...] = ()
    conflicts: ConflictResolution = "keep"
    controls: tuple[ControlUnit, ...] = ()
    output: OutputOptions = OutputOptions()
    ext: dict[str, JsonValue] = Field(default_factory=dict)
