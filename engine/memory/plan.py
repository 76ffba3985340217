"""The forecast: what a picture will take under each memory level, and the fastest level that fits.

Peak of a stage = weights that lie where models compute + activations + the workspace of the kernels. Activations come
from the networks' configs (`engine.memory.activations`), weights from the files' headers (`engine.memory.parts`), and
peaks that were measured here correct both (`engine.memory.correction`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from engine.memory.activations import dtype_bytes, enlarge_bytes
from engine.memory.front import dominated
from engine.memory.levels import (
    FROM_FILE,
    MOST_RESIDENT,
    TIME_FACTORS,
    MemoryOptimizationConfig,
    OptimizationLevel,
    first_guess,
)
from engine.memory.parts import ModelSizes
from engine.memory.resources import SystemResources
from engine.memory.resting import resting_format
from engine.memory.sizes import GIB, MIB, in_words

MARGIN_SHARE, MARGIN_LEAST = 0.10, int(0.6 * GIB)
# Kernels' own scratch memory: what torch's allocator was seen to add on top of live tensors.
_WORKSPACE_SHARE, _WORKSPACE_LEAST = 0.08, 48 * MIB
# On a CPU oneDNN works on copies of the numbers and of a layer's weights in layouts of its own, and keeps its compiled
# kernels: so much of the activations (more in a VAE, which is in the plain layout), and for the UNet its largest layer.
# Starter and SD 1.5 at 256 to 640 px, stage by stage; what enlarging holds was measured as a whole.
_CPU_WORKSPACE_SHARE = {"encode": 0.12, "denoise": 0.12, "decode": 0.4, "enlarge": 0.0}
_CPU_WORKSPACE_LEAST = {"encode": 16 * MIB, "denoise": 16 * MIB, "decode": 16 * MIB, "enlarge": 0}
_SIZE_STEP = 64
_LARGEST_SIDE = 4096
_MOST_PICTURES = 64
# Time against NONE that it adds when a whole 16-bit UNet travels at every step, half of it behind the computation.
_TRAVEL_TIME = 0.72
# Two groups are under way at a time: the one that computes, and the one that comes next.
_GROUPS_IN_FLIGHT = 2


@dataclass(frozen=True)
class Beside:
    """Bytes that are held beside the model's weights, of adapters and of ControlNets."""

    adapters: int = 0
    controls: int = 0


@dataclass(frozen=True)
class Work:
    """What is asked for, as far as memory is concerned.

    Attributes:
        width, height: pixels. pictures: in one UNet call; guidance makes two rows of each.
        guided: whether the negative prompt costs a second row.
        adapter_bytes: of adapters that are held beside the weights. control_bytes: of ControlNets' weights, which
            compute as `controls` copies of the UNet's left half.
        upscale: how many times as large the finished picture is made; 1: not at all.
        narrow, rounded: the same where weights rest as their files have them, and where they rest in 8 bits; None: no
            other than usual.
        other_bytes: what else stays loaded (pinned models).
    """

    width: int
    height: int
    pictures: int = 1
    guided: bool = True
    adapter_bytes: int = 0
    control_bytes: int = 0
    controls: int = 0
    upscale: int = 1
    other_bytes: int = 0
    narrow: Beside | None = None
    rounded: Beside | None = None

    @property
    def rows(self) -> int:
        """Rows of a UNet call."""
        return self.pictures * (2 if self.guided else 1)

    def under(self, config: MemoryOptimizationConfig) -> Work:
        """The work with adapters and ControlNets as they are kept under a config."""
        kept = self.rounded if config.rounds else self.narrow if config.storage_dtype == FROM_FILE else None
        return self if kept is None else replace(self, adapter_bytes=kept.adapters, control_bytes=kept.controls)


@dataclass(frozen=True)
class StageForecast:
    """The bytes of one stage: "encode", "denoise", "decode" or "enlarge"."""

    stage: str
    weights: int
    activations: int
    workspace: int

    @property
    def peak(self) -> int:
        """All together."""
        return self.weights + self.activations + self.workspace


@dataclass(frozen=True)
class LevelForecast:
    """What a picture takes under one config, where models compute.

    Attributes:
        peak: bytes, the largest stage's, corrected where peaks were measured.
        ram: bytes that rest in RAM beside a GPU. time_factor: time against the level NONE.
        measured: whether peaks of this machine went into it.
    """

    level: OptimizationLevel
    config: MemoryOptimizationConfig
    stages: tuple[StageForecast, ...]
    peak: int
    ram: int
    time_factor: float
    measured: bool = False

    @property
    def largest(self) -> StageForecast:
        """The stage that takes most."""
        return max(self.stages, key=lambda stage: stage.peak)

    @property
    def activations(self) -> int:
        """The most that a stage holds beside weights: grows with size and batch, whichever stage it is."""
        return max(stage.activations + stage.workspace for stage in self.stages)


@dataclass(frozen=True)
class Budget:
    """What may be used: `usable` = free − `margin`, bytes."""

    free: int
    margin: int

    @property
    def usable(self) -> int:
        """What a forecast must fit into."""
        return max(0, self.free - self.margin)


@dataclass(frozen=True)
class Plan:
    """The answer to "will this fit, and how".

    Attributes:
        chosen: the fastest config that fits; the one that needs least where none does.
        fits: whether it fits. alternatives: every level, from fastest to slowest.
        advice: what would fit instead, in sentences. bands: name → bytes, for the panel, margin included.
    """

    chosen: LevelForecast
    fits: bool
    budget: Budget
    alternatives: tuple[LevelForecast, ...]
    advice: tuple[str, ...] = ()
    bands: Mapping[str, int] = field(default_factory=dict)
    largest_size: tuple[int, int] | None = None
    largest_batch: int = 0


Correct = Callable[[LevelForecast, Work], LevelForecast]


class Planner:
    """Forecasts for one machine.

    Args:
        resources: the machine as it is now.
        dtype: the format that weights compute in, torch's name.
        max_vram_gb: use no more, however much is free.
        time_factors: level → time against NONE, where this machine has measured it.
        correct: corrects a forecast by what was measured; see `engine.memory.correction`.
        held_bytes: what this process holds where models compute and would give back for the asking.
    """

    def __init__(
        self,
        resources: SystemResources,
        *,
        dtype: str = "float32",
        max_vram_gb: float | None = None,
        time_factors: Mapping[OptimizationLevel, float] | None = None,
        correct: Correct | None = None,
        held_bytes: int = 0,
    ) -> None:
        self._resources, self._dtype = resources, dtype
        self._max_vram_gb = max_vram_gb
        self._factors = {**TIME_FACTORS, **(time_factors or {})}
        self._correct = correct
        self._held = held_bytes

    @property
    def budget(self) -> Budget:
        """What may be used where models compute: what the driver reports free, no more than `max_vram_gb`, less a
        margin of 10 %, at least 0.6 GB (on a small machine at most a quarter)."""
        free = self._resources.available_gb * GIB + self._held
        if self._max_vram_gb is not None:
            free = min(free, self._max_vram_gb * GIB)
        margin = min(max(free * MARGIN_SHARE, MARGIN_LEAST), free / 4)
        return Budget(int(free), int(margin))

    def forecast(self, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> LevelForecast:
        """The bytes that `work` takes under `config`."""
        work = work.under(config)
        names = ("encode", "denoise", "decode", *(("enlarge",) if work.upscale > 1 else ()))
        stages = tuple(self._stage(name, model, work, config) for name in names)
        result = LevelForecast(
            config.level,
            config,
            stages,
            max(stage.peak for stage in stages),
            self._in_ram(model, work, config),
            self._factors[config.level],
        )
        return self._correct(result, work) if self._correct is not None else result

    def plan(
        self, model: ModelSizes, work: Work, *, level: OptimizationLevel | None = None, advise: bool = True
    ) -> Plan:
        """The fastest level that fits, or the one that was chosen by hand, and what would fit where it does not."""
        budget = self.budget
        every = [self._filled(model, work, each, budget) for each in OptimizationLevel]
        guess = first_guess(budget.free / GIB)
        beaten = dominated({each.level: (each.time_factor, float(each.peak)) for each in every})
        every.sort(key=lambda each: (each.time_factor, each.level in beaten, abs(each.level.rank - guess.rank)))
        candidates = [each for each in every if level is None or each.level is level]
        fitting = [each for each in candidates if self._fits(each, budget)]
        chosen = fitting[0] if fitting else min(candidates, key=lambda each: each.peak)
        fits = bool(fitting)
        if not fits:
            tiled = self.forecast(model, work, chosen.config.with_tiled_decode())
            if self._fits(tiled, budget):
                chosen, fits = tiled, True
        plan = Plan(chosen, fits, budget, tuple(every), bands=self._bands(chosen, model, work, budget))
        return self._advised(plan, model, work) if advise else plan

    def _fits(self, forecast: LevelForecast, budget: Budget) -> bool:
        rests = forecast.ram <= self._resources.available_ram_gb * GIB + self._held or not self._resources.has_gpu
        return forecast.peak <= budget.usable and rests

    def _filled(self, model: ModelSizes, work: Work, level: OptimizationLevel, budget: Budget) -> LevelForecast:
        """A level as a VRAM budget: where the UNet travels in groups, as much of it stays as fits."""
        config = MemoryOptimizationConfig.from_level(level, device=self._kind)
        bare = self.forecast(model, work, config)
        if not config.enable_group_offload:
            return bare
        denoise = next(stage for stage in bare.stages if stage.stage == "denoise")
        unet = model.nbytes("unet", self._storage("unet", config, model))
        room = min(int(unet * MOST_RESIDENT.get(level, 1.0)), max(0, budget.usable - denoise.peak))
        filled = self.forecast(model, work, replace(config, resident_gb=room / GIB))
        # The level's own factor holds where as much of the UNet stays as the level allows.
        share = max(0.0, MOST_RESIDENT[level] - room / unet) if unet else 0.0
        narrow = dtype_bytes(self._storage("unet", config, model)) / dtype_bytes(self._dtype)
        return replace(filled, time_factor=filled.time_factor + share * narrow * _TRAVEL_TIME)

    # --- one stage -------------------------------------------------------------------------------------------------

    def _stage(self, stage: str, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> StageForecast:
        activations = {
            "encode": self._encode,
            "denoise": self._denoise,
            "decode": self._decode,
            "enlarge": self._enlarge,
        }[stage]
        held = int(activations(model, work, config))
        weights = self._weights(stage, model, work, config) + work.other_bytes
        return StageForecast(stage, weights, held, self._workspace(stage, held, model))

    def _workspace(self, stage: str, held: int, model: ModelSizes) -> int:
        """Bytes of the kernels' own."""
        if self._resources.device == "cuda":
            return int(max(held * _WORKSPACE_SHARE, _WORKSPACE_LEAST))
        if self._resources.device == "cpu":
            layer = model.largest_layer * model.nbytes("unet", self._dtype) if stage == "denoise" else 0
            return int(held * _CPU_WORKSPACE_SHARE[stage] + max(layer, _CPU_WORKSPACE_LEAST[stage]))
        return 0

    def _weights(self, stage: str, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> int:
        def size(part: str) -> int:
            return model.nbytes(part, self._storage(part, config, model))

        text = [size(part) for part in model.text_parts]
        denoiser = size("unet") + work.control_bytes + work.adapter_bytes
        if not self._only_present(config):
            return sum(text) + denoiser + size("vae")
        if config.enable_sequential_offload:
            # Leaves of the model's parts travel; ControlNets stay where they compute.
            stays = work.control_bytes if stage == "denoise" else 0
            return stays + int(_GROUPS_IN_FLIGHT * model.largest_layer * size("unet"))
        if stage == "encode":
            # Moved to the GPU one after another; staged loading in RAM holds all of a stage.
            return sum(text) if config.staged_loading else max(text, default=0)
        if stage in ("decode", "enlarge"):
            return size("vae")
        if config.enable_group_offload and self._resources.has_gpu:
            resident = min(int(config.resident_gb * GIB), size("unet"))
            travelling = size("unet") - resident
            flight = int(_GROUPS_IN_FLIGHT * model.largest_layer * size("unet"))
            return resident + min(travelling, flight) + work.control_bytes + work.adapter_bytes
        return denoiser

    def _only_present(self, config: MemoryOptimizationConfig) -> bool:
        """Whether only the present stage's weights lie where models compute."""
        moves = config.enable_model_offload or config.enable_group_offload or config.enable_sequential_offload
        return config.staged_loading or (moves and self._resources.has_gpu)

    def _in_ram(self, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> int:
        if not (self._resources.has_gpu and self._only_present(config)):
            return 0
        parts = sum(model.nbytes(part, self._storage(part, config, model)) for part in model.elements)
        return parts + work.control_bytes + work.adapter_bytes - int(config.resident_gb * GIB)

    def _encode(self, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> float:
        return model.text_units * 2 * dtype_bytes(self._dtype)

    def _denoise(self, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> float:
        cells = work.width * work.height / model.latent_scale**2
        wide = dtype_bytes(self._dtype)
        numbers = model.unet.units + model.unet.skips * work.controls
        held = numbers * cells * work.rows * wide
        heads, share = model.unet.score_cells
        if not self._resources.efficient_attention and heads:
            # Scores and their softmax; sliced attention keeps those of half the heads.
            kept = heads / 2 if config.enable_attention_slicing else heads
            held += 2 * kept * (cells * share) ** 2 * work.rows * wide
        if self._storage("unet", config, model) != self._dtype:
            # The layer that works now is widened.
            held += model.largest_layer * model.nbytes("unet", self._dtype)
        return held

    def _decode(self, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> float:
        pixels = float(work.width * work.height)
        wide = 4.0 if model.vae_wide and self._dtype == "float16" else dtype_bytes(self._dtype)
        # Pictures are decoded one by one, under every level.
        canvas = 3 * pixels * wide * work.pictures
        tile = min(model.tile_pixels, config.vae_tile_size**2 or model.tile_pixels)
        if config.enable_vae_tiling and model.tiles and pixels > tile:
            # Decoded tiles are kept until they are joined, which takes the picture twice more.
            return model.vae_units * tile * wide + 3 * canvas
        return model.vae_units * pixels * wide + canvas

    def _enlarge(self, model: ModelSizes, work: Work, config: MemoryOptimizationConfig) -> float:
        return enlarge_bytes(work.width, work.height, work.upscale)

    def _storage(self, part: str, config: MemoryOptimizationConfig, model: ModelSizes) -> str:
        """The format in which a part's weights rest."""
        if part == "vae":
            return self._dtype
        return resting_format(config.storage_dtype, model.stored.get(part, ""), self._dtype)

    @property
    def _kind(self) -> str:
        return "cuda" if self._resources.has_gpu else self._resources.device

    # --- for people ------------------------------------------------------------------------------------------------

    def _bands(self, chosen: LevelForecast, model: ModelSizes, work: Work, budget: Budget) -> dict[str, int]:
        """The bytes of the largest stage by what they are for; what is left and the margin are bands of their own."""
        stage, work = chosen.largest, work.under(chosen.config)
        own = work.other_bytes + work.adapter_bytes + work.control_bytes
        bands = {
            "model": max(0, stage.weights - own),
            "adapters": work.adapter_bytes,
            "controls": work.control_bytes,
            "pinned": work.other_bytes,
            "activations": stage.activations,
            "workspace": stage.workspace,
        }
        # What measuring corrected belongs to no part: it is the machine's own.
        bands["workspace"] += max(0, chosen.peak - sum(bands.values()))
        return {**bands, "free": max(0, budget.usable - chosen.peak), "margin": budget.margin}

    def _advised(self, plan: Plan, model: ModelSizes, work: Work) -> Plan:
        def fits(other: Work) -> bool:
            return self.plan(model, other, level=None, advise=False).fits

        size = _largest_size(work, fits)
        batch = _largest_batch(work, fits)
        if plan.fits:
            return replace(plan, largest_size=size, largest_batch=batch)
        advice: list[str] = []
        easier = next((each for each in plan.alternatives if self._fits(each, plan.budget)), None)
        if easier is not None:
            advice.append(f"The level {easier.level.value} fits: it needs {in_words(easier.peak)}.")
        if batch and batch < work.pictures:
            advice.append(f"{batch} at once instead of {work.pictures} fit.")
        if size is not None and size != (work.width, work.height):
            advice.append(f"The largest size of this shape that fits is {size[0]} × {size[1]}.")
        if not advice:
            need = in_words(plan.chosen.peak - plan.budget.usable)
            advice.append(f"{model.title} does not fit at any size: {need} more would be needed.")
        return replace(plan, advice=tuple(advice), largest_size=size, largest_batch=batch)


def _largest_size(work: Work, fits: Callable[[Work], bool]) -> tuple[int, int] | None:
    """The largest size of the same shape that fits; None where not even the smallest does."""
    longer = max(work.width, work.height)

    def scaled(steps: int) -> Work:
        factor = steps * _SIZE_STEP / longer
        return replace(
            work,
            width=max(_SIZE_STEP, int(work.width * factor) // 8 * 8),
            height=max(_SIZE_STEP, int(work.height * factor) // 8 * 8),
        )

    best = _last_true(1, _LARGEST_SIDE // _SIZE_STEP, lambda steps: fits(scaled(steps)))
    return None if best == 0 else (scaled(best).width, scaled(best).height)


def _largest_batch(work: Work, fits: Callable[[Work], bool]) -> int:
    return _last_true(1, _MOST_PICTURES, lambda count: fits(replace(work, pictures=count)))


def _last_true(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The last number of low…high for which it holds, given that it holds for none after one that it does not; 0 where
    it holds for none."""
    if not holds(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
