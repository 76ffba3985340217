"""What crosses about memory: the state of the pool, the levels, the forecast. Bytes everywhere, -1 where unknown."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.protocol.frozen import Frozen
from engine.protocol.notices import Notice

LevelName = Literal["auto", "none", "balanced", "aggressive", "ultra"]
PolicyName = Literal["lru", "lfu", "size", "score"]
TierName = Literal["pinned", "warm", "on_demand"]


class PoolEntryView(Frozen):
    """A loaded part. `key` is what pin and release take; `place` says whether it is where models compute ("loaded") or
    rests in RAM ("resting"); `used_at` is seconds since the epoch, 0.0 for never."""

    key: str
    title: str
    part: str = ""
    nbytes: int = 0
    dtype: str = ""
    device: str = ""
    place: Literal["loaded", "resting"] = "loaded"
    tier: TierName = "on_demand"
    uses: int = 0
    uses_24h: int = 0
    leases: int = 0
    queued: int = 0
    used_at: float = 0.0


class LevelView(Frozen):
    """A memory level on this machine. `meaning` is a sentence; `time_factor` is time against "none", `measured` whether
    this machine has measured it; `peak` is the forecast for the default model and size, -1 where there is none, and
    `saved` what that is less than under "none". `beaten_by` names a level that takes no more time nor memory here:
    "auto" never chooses one that is beaten."""

    level: LevelName
    meaning: str
    techniques: tuple[str, ...] = ()
    time_factor: float = 1.0
    measured: bool = False
    peak: int = -1
    saved: int = 0
    fits: bool = True
    beaten_by: str = ""


class MeasuredLevelView(Frozen):
    """What a picture of 20 steps took under a level on this machine: `seconds`, of them `step_seconds` a step; `peak`
    bytes beside what the process takes anyway; `saved` bytes and `price` (time ÷ time) against "none", None where that
    was not measured at the same size; `cold_seconds` of a first picture of two steps, which reads the files.
    `width`, `height`: of the picture, in pixels; 0 where it is not known any more."""

    level: LevelName
    seconds: float
    step_seconds: float
    peak: int
    width: int = 0
    height: int = 0
    saved: int | None = None
    price: float | None = None
    cold_seconds: float = 0.0
    beaten_by: str = ""


class AttentionView(Frozen):
    """Seconds of one attention call with a kernel, on this machine."""

    kernel: str
    seconds: float


class MeasuredView(Frozen):
    """A model's measured levels, and a measurement that is under way: `job_id` is "" where none is; `fraction` 0.0–1.0,
    `seconds_left` None while unknown. `error` says why the last one failed. `width` and `height` are those of the
    newest measurement, ended or not; each level says the size that it was measured at."""

    model: str = ""
    title: str = ""
    width: int = 0
    height: int = 0
    levels: tuple[MeasuredLevelView, ...] = ()
    attention: tuple[AttentionView, ...] = ()
    job_id: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    error: str = ""
    notes: tuple[str, ...] = ()


class SampleView(Frozen):
    """Memory at one moment; `at` is seconds since the epoch, `mark` what happened then.

    `parts`: of `pool`, the bytes of each kind ("unet", "text_encoder", "vae", "controlnet", "adapter", "preprocessor",
    "upscaler", "other").
    """

    at: float
    vram: int = 0
    ram: int = 0
    pool: int = 0
    parts: dict[str, int] = Field(default_factory=dict)
    mark: str = ""


class CacheView(Frozen):
    """A cache: bytes kept and allowed, values in it, and how often what was asked for was there or not."""

    name: str
    nbytes: int = 0
    limit: int = 0
    values: int = 0
    hits: int = 0
    misses: int = 0


class MemoryEventView(Frozen):
    """Something that the pool or a level did. `at` is seconds since the epoch."""

    at: float
    kind: str
    message: str


class MemoryView(Frozen):
    """Memory as the panel shows it.

    vram_*: of the GPU, as its driver says, 0 without one. engine_ram: private to the engine's process. pool_*: what the
    pool holds and may hold where models compute; rest_*: in RAM beside it. pool_gb: the size that was asked
    for in GB of 1024³ bytes, 0 chooses by itself. level: what was asked for; effective_level: what it comes to now.
    attention: kernels, best first. waiting: wishes that the worker has not seen yet. ahead: titles of models that were
    asked for ahead and are not there yet. measured: what the levels took on this machine.
    """

    device: str = ""
    vram_total: int = 0
    vram_free: int = 0
    ram_total: int = 0
    ram_available: int = 0
    engine_ram: int = 0
    pool_used: int = 0
    pool_limit: int = 0
    pool_gb: float = 0.0
    rest_used: int = 0
    rest_limit: int = 0
    fragmentation: float = 0.0
    level: LevelName = "auto"
    effective_level: LevelName = "none"
    policy: PolicyName = "lru"
    compute_dtypes: tuple[str, ...] = ()
    storage_dtypes: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    entries: tuple[PoolEntryView, ...] = ()
    levels: tuple[LevelView, ...] = ()
    timeline: tuple[SampleView, ...] = ()
    events: tuple[MemoryEventView, ...] = ()
    hits: int = 0
    loads: int = 0
    evictions: int = 0
    waiting: int = 0
    caches: tuple[CacheView, ...] = ()
    ahead: tuple[str, ...] = ()
    measured: MeasuredView = MeasuredView()
    hint: str = ""


class BandView(Frozen):
    """A part of the budget: what it is for, and its bytes."""

    name: str
    nbytes: int


class StageView(Frozen):
    """Predicted bytes of a stage."""

    stage: str
    weights: int
    activations: int
    workspace: int
    peak: int


class ForecastView(Frozen):
    """Whether a spec will fit, and how. `free` is what the driver reports, `margin` stays unused; `level` is what would
    be chosen; `advice` are sentences on what would fit instead; `largest_*` are the largest that fit, 0 where none."""

    model: str
    level: LevelName
    fits: bool
    peak: int
    ram: int = 0
    free: int = 0
    margin: int = 0
    measured: bool = False
    stages: tuple[StageView, ...] = ()
    bands: tuple[BandView, ...] = ()
    levels: tuple[LevelView, ...] = ()
    advice: tuple[str, ...] = ()
    largest_width: int = 0
    largest_height: int = 0
    largest_batch: int = 0
    notices: tuple[Notice, ...] = ()
