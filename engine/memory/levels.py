"""Memory levels: what each one does, by name. No torch: choosing and showing them must cost nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from engine.errors import SpecError

AfterJob = Literal["keep", "unpin", "release"]


class OptimizationLevel(StrEnum):
    """How hard memory is saved. Each is slower than the one before, and needs less where models compute."""

    NONE = "none"
    BALANCED = "balanced"
    AGGRESSIVE = "aggressive"
    ULTRA = "ultra"

    @property
    def rank(self) -> int:
        """0 (NONE) to 3 (ULTRA)."""
        return list(OptimizationLevel).index(self)

    @property
    def harder(self) -> OptimizationLevel | None:
        """The next level that needs less, None after the last."""
        levels = list(OptimizationLevel)
        return levels[self.rank + 1] if self.rank + 1 < len(levels) else None


AUTO = "auto"
FROM_FILE = "file"
FP8 = "float8_e4m3fn"
# Free VRAM in GB below which a level is the first guess; the forecast decides.
THRESHOLDS: tuple[tuple[float, OptimizationLevel], ...] = (
    (6.0, OptimizationLevel.ULTRA),
    (8.0, OptimizationLevel.AGGRESSIVE),
    (12.0, OptimizationLevel.BALANCED),
)
SMALL_TILE = 512
# Of the UNet, at most so much stays on the GPU: a level that is asked for must save something on a large card too.
MOST_RESIDENT: dict[OptimizationLevel, float] = {OptimizationLevel.AGGRESSIVE: 0.75, OptimizationLevel.ULTRA: 0.75}
# Time against NONE, SDXL 1024² in 30 steps: what to believe until this machine has measured its own.
TIME_FACTORS: dict[OptimizationLevel, float] = {
    OptimizationLevel.NONE: 1.0,
    OptimizationLevel.BALANCED: 1.10,
    OptimizationLevel.AGGRESSIVE: 1.28,
    OptimizationLevel.ULTRA: 1.46,
}
# The same for a machine without a GPU, as `bench memory` found them: SD 1.5 at 256² in 20 steps on 2 cores.
CPU_TIME_FACTORS: dict[OptimizationLevel, float] = {
    OptimizationLevel.NONE: 1.0,
    OptimizationLevel.BALANCED: 1.31,
    OptimizationLevel.AGGRESSIVE: 1.34,
    OptimizationLevel.ULTRA: 2.13,
}
MEANINGS: dict[OptimizationLevel, str] = {
    OptimizationLevel.NONE: "Everything stays where it computes. Fastest.",
    OptimizationLevel.BALANCED: "Only the part that works now is on the GPU; large pictures are decoded in tiles.",
    OptimizationLevel.AGGRESSIVE: "Parts go through the GPU layer by layer as far as they do not fit.",
    OptimizationLevel.ULTRA: "As aggressive, with weights kept in 8 bits: pictures differ slightly.",
}
CPU_MEANINGS: dict[OptimizationLevel, str] = {
    OptimizationLevel.NONE: "Everything stays in memory. Fastest.",
    OptimizationLevel.BALANCED: "Only the part that works now is in memory; the others are read again when needed.",
    OptimizationLevel.AGGRESSIVE: "As balanced, with weights kept as their file has them and every decode in tiles.",
    OptimizationLevel.ULTRA: "As aggressive, with weights kept in 8 bits: pictures differ slightly.",
}

TECHNIQUE_WORDS: dict[str, str] = {
    "channels_last": "channels last",
    "efficient_attention": "efficient attention",
    "attention_slicing": "sliced attention where no efficient kernel exists",
    "forward_chunking": "feed-forward row by row",
    "vae_tiling": "decode in tiles",
    "vae_slicing": "decode one by one",
    "file_storage": "weights rest as their file has them",
    "fp8_storage": "weights rest in 8 bits",
    "component_offload": "parts move to the GPU for their work",
    "group_offload": "blocks travel while others compute",
    "sequential_offload": "layers travel one by one",
    "staged_loading": "parts are loaded for their stage only",
}


def first_guess(vram_gb: float) -> OptimizationLevel:
    """The level to try first with so much free VRAM: a start and a tie-break, never the decision."""
    for limit, level in THRESHOLDS:
        if vram_gb < limit:
            return level
    return OptimizationLevel.NONE


def parse_level(text: str) -> OptimizationLevel | None:
    """A level by its name, None for "auto".

    Raises:
        SpecError: `memory_level_unknown`.
    """
    name = text.strip().lower()
    if name == AUTO:
        return None
    try:
        return OptimizationLevel(name)
    except ValueError:
        known = ", ".join([AUTO, *OptimizationLevel])
        raise SpecError(
            "memory_level_unknown", f"There is no memory level “{text[:40]}”.", f"Take one of: {known}."
        ) from None


@dataclass
class MemoryOptimizationConfig:
    """A level as named parts, each of which may be switched by itself.

    Attributes:
        enable_model_offload: a component is on the GPU only while it works.
        enable_sequential_offload: every layer is on the GPU only while it works; least memory, slowest.
        enable_group_offload: layers travel in groups, the next one while the present one works.
        resident_gb: of the UNet, so much stays on the GPU while groups travel; the plan sets it to what fits.
        use_streams: groups travel beside the computation (CUDA only; takes pinned RAM).
        enable_vae_tiling, enable_vae_slicing: decode large pictures in overlapping tiles, several pictures one by one.
        vae_tile_size: side of a tile in pixels; 0 is the VAE's own (512, or 1024 for SDXL).
        vae_decode_chunk_size: pictures that are decoded together; 1 takes least memory.
        enable_attention_slicing: heads one after another; done only where no efficient attention kernel exists.
        enable_efficient_attention: the best kernel that is there.
        enable_forward_chunking: feed-forward layers in pieces.
        enable_fp8_storage: weights of UNet and text encoders rest in 8 bits and compute in 16.
        enable_channels_last: convolutions laid out as GPUs and CPUs like them.
        staged_loading: a stage's parts are loaded when it begins and let go when it ends.
        storage_dtype: number format in which weights rest: "" is the one that they compute in, "file" that of their
            file where it is narrower (nothing is rounded then).
        after_job: what happens to what was loaded: kept, made evictable and moved to RAM, or released.
        cleanup_each_step: give memory back after every step too; slows everything down.
    """

    level: OptimizationLevel = OptimizationLevel.NONE
    enable_model_offload: bool = False
    enable_sequential_offload: bool = False
    enable_group_offload: bool = False
    use_streams: bool = True
    enable_vae_tiling: bool = False
    enable_vae_slicing: bool = False
    vae_tile_size: int = 0
    vae_decode_chunk_size: int = 8
    enable_attention_slicing: bool = False
    enable_efficient_attention: bool = True
    enable_forward_chunking: bool = False
    enable_fp8_storage: bool = False
    enable_channels_last: bool = True
    staged_loading: bool = False
    storage_dtype: str = ""
    after_job: AfterJob = "keep"
    cleanup_each_step: bool = False
    resident_gb: float = 0.0

    @classmethod
    def from_level(cls, level: OptimizationLevel, *, device: str = "cuda") -> MemoryOptimizationConfig:
        """The parts of a level on a kind of device: "cuda", "mps" or "cpu".

        Where there is no GPU memory to save, a level saves RAM: staged loading, weights that rest in fewer bits.
        """
        if device == "cuda":
            return _on_gpu(cls(level=level))
        return _in_ram(cls(level=level))

    @property
    def rounds(self) -> bool:
        """Whether weights rest in fewer bits than they compute in and their file has."""
        return self.storage_dtype not in ("", FROM_FILE)

    @property
    def techniques(self) -> tuple[str, ...]:
        """Names of the parts that are switched on, in the order in which they are put on a model."""
        switches = {
            "channels_last": self.enable_channels_last,
            "efficient_attention": self.enable_efficient_attention,
            "attention_slicing": self.enable_attention_slicing,
            "forward_chunking": self.enable_forward_chunking,
            "vae_tiling": self.enable_vae_tiling,
            "vae_slicing": self.enable_vae_slicing,
            "file_storage": self.storage_dtype == FROM_FILE,
            "fp8_storage": self.enable_fp8_storage,
            "component_offload": self.enable_model_offload,
            "group_offload": self.enable_group_offload,
            "sequential_offload": self.enable_sequential_offload,
        }
        return tuple(name for name, on in switches.items() if on)

    def with_tiled_decode(self) -> MemoryOptimizationConfig:
        """The same, decoding in tiles and one picture at a time."""
        return replace(
            self,
            enable_vae_tiling=True,
            enable_vae_slicing=True,
            vae_tile_size=SMALL_TILE,
            vae_decode_chunk_size=1,
        )


def _on_gpu(config: MemoryOptimizationConfig) -> MemoryOptimizationConfig:
    rank = config.level.rank
    if rank >= 1:
        config.enable_vae_tiling = config.enable_vae_slicing = True
    if rank == 1:
        config.enable_model_offload = True
    if rank == 2:
        # Groups that travel ahead of the computation; leaf by leaf without them is the last rung of the ladder.
        config.enable_group_offload = True
        config.enable_attention_slicing = config.enable_forward_chunking = True
        config.vae_decode_chunk_size = 1
        config.after_job = "unpin"
    if rank == 3:
        config.enable_group_offload = config.enable_fp8_storage = True
        config.enable_attention_slicing = config.enable_forward_chunking = True
        config.vae_decode_chunk_size, config.vae_tile_size = 1, SMALL_TILE
        config.after_job = "release"
        config.storage_dtype = FP8
    return config


def _in_ram(config: MemoryOptimizationConfig) -> MemoryOptimizationConfig:
    rank = config.level.rank
    config.use_streams = False
    if rank >= 1:
        config.staged_loading = True
        config.enable_vae_slicing = True
    if rank >= 2:
        config.enable_vae_tiling = config.enable_attention_slicing = config.enable_forward_chunking = True
        config.vae_decode_chunk_size = 1
        # Mapped weights are laid out as in their file.
        config.enable_channels_last = False
        config.storage_dtype = FROM_FILE
        config.after_job = "unpin"
    if rank == 3:
        config.enable_fp8_storage = True
        config.vae_tile_size = SMALL_TILE
        config.storage_dtype = FP8
        config.after_job = "release"
    return config
