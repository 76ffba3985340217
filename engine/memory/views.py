"""What the panel sees of pool and plan, as values that cross the process boundary."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping

from engine.memory.eviction import PoolEntry
from engine.memory.experience import LevelResult
from engine.memory.front import dominated
from engine.memory.levels import CPU_MEANINGS, MEANINGS, TECHNIQUE_WORDS, MemoryOptimizationConfig, OptimizationLevel
from engine.memory.plan import LevelForecast, Plan
from engine.memory.resources import SystemResources
from engine.protocol.memory import BandView, ForecastView, LevelView, MeasuredLevelView, PoolEntryView, StageView

PART_KINDS = ("unet", "text_encoder", "controlnet", "adapter", "preprocessor", "upscaler", "vae")
_NAMELESS = "part without a name"


def key_text(key: Hashable) -> str:
    """A pool key as text that says nothing of folders, the same at every start."""
    return hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()


def title_of(key: Hashable) -> str:
    """What a person calls the thing behind a pool key: the file or folder that it comes from. A key that names none is
    never shown as it is: it may have folders and numbers in it."""
    source = str(getattr(key, "source", "") or getattr(key, "vae", ""))
    if not source:
        return key[:120] if isinstance(key, str) else _NAMELESS
    path = source.partition("|")[0].replace("\\", "/").rstrip("/")
    return path.rsplit("/", 1)[-1][:120]


def part_of(key: Hashable) -> str:
    """Which part of a model lies behind a pool key, as it says itself; "" where it does not say."""
    kind = kind_of(key)
    return str(getattr(key, "part", "" if kind == "other" or isinstance(key, str) else kind))


def name_of(entry: PoolEntry) -> str:
    """Such as "unet of anime.safetensors"."""
    part, title = part_of(entry.key).replace("_", " "), title_of(entry.key)
    if title == _NAMELESS:
        return part or title
    return f"{part} of {title}" if part else title


def kind_of(key: Hashable) -> str:
    """What kind of part lies behind a pool key: "unet", "text_encoder", "vae", "controlnet", "adapter", "preprocessor",
    "upscaler" or "other"."""
    named = getattr(key, "part", key[0] if isinstance(key, tuple) and key else "")
    # A copy of a VAE in another precision has the VAE's identity as its name.
    text = str(named).lower().replace(" ", "_")
    return next((kind for kind in PART_KINDS if kind in text), "other")


def bytes_by_kind(entries: Iterable[PoolEntry]) -> dict[str, int]:
    """Bytes that lie where models compute, by kind of part; a component that several pictures use counts once."""
    found: dict[str, int] = {}
    for entry in entries:
        if entry.nbytes:
            kind = kind_of(entry.key)
            found[kind] = found.get(kind, 0) + entry.nbytes
    return found


def entry_view(entry: PoolEntry, place: str = "loaded") -> PoolEntryView:
    """One part. `place`: "loaded" or "resting"."""
    return PoolEntryView.model_validate(
        {
            "key": key_text(entry.key),
            "title": title_of(entry.key),
            "part": part_of(entry.key),
            "nbytes": entry.nbytes,
            "dtype": entry.dtype or str(getattr(entry.key, "dtype", "")),
            "device": entry.device if place == "loaded" else "cpu",
            "place": place,
            "tier": entry.tier.value,
            "uses": entry.uses,
            "uses_24h": entry.uses_24h,
            "leases": entry.leases,
            "queued": entry.queued,
            "used_at": entry.used_at,
        }
    )


def level_views(
    resources: SystemResources,
    factors: Mapping[OptimizationLevel, float],
    measured: frozenset[OptimizationLevel],
    forecasts: Mapping[OptimizationLevel, LevelForecast] | None = None,
    usable: int = 0,
) -> tuple[LevelView, ...]:
    """The levels on this machine, fastest first by their number."""
    kind = "cuda" if resources.has_gpu else resources.device
    meanings = MEANINGS if resources.has_gpu else CPU_MEANINGS
    views: list[LevelView] = []
    costs = {level: (factors.get(level, 1.0), float(found.peak)) for level, found in (forecasts or {}).items()}
    beaten = dominated(costs)
    none = (forecasts or {}).get(OptimizationLevel.NONE)
    for level in OptimizationLevel:
        found = (forecasts or {}).get(level)
        config = MemoryOptimizationConfig.from_level(level, device=kind)
        names = list(config.techniques)
        if config.staged_loading:
            names.append("staged_loading")
        views.append(
            LevelView.model_validate(
                {
                    "level": level.value,
                    "meaning": meanings[level],
                    "techniques": tuple(TECHNIQUE_WORDS.get(name, name) for name in names),
                    "time_factor": factors.get(level, 1.0),
                    "measured": level in measured,
                    "peak": -1 if found is None else found.peak,
                    "saved": 0 if found is None or none is None else none.peak - found.peak,
                    "fits": found is None or found.peak <= usable,
                    # Of estimates nobody is told that one level is worse than another.
                    "beaten_by": beaten[level].value if level in beaten and level in measured else "",
                }
            )
        )
    return tuple(views)


def measured_levels(found: Mapping[OptimizationLevel, LevelResult]) -> tuple[MeasuredLevelView, ...]:
    """What was measured of a model, level by level; compared are only pictures of one size."""
    views: list[MeasuredLevelView] = []
    for level, result in found.items():
        alike = {other: each for other, each in found.items() if each.size == result.size}
        none = alike.get(OptimizationLevel.NONE)
        beaten = dominated({other: (each.seconds, float(each.peak)) for other, each in alike.items()})
        views.append(
            MeasuredLevelView.model_validate(
                {
                    "level": level.value,
                    "width": result.width,
                    "height": result.height,
                    "seconds": result.seconds,
                    "step_seconds": result.step_seconds,
                    "peak": result.peak,
                    "saved": None if none is None else none.peak - result.peak,
                    "price": result.seconds / none.seconds if none is not None and none.seconds else None,
                    "cold_seconds": result.cold_seconds,
                    "beaten_by": beaten[level].value if level in beaten else "",
                }
            )
        )
    return tuple(views)


def forecast_view(model: str, plan: Plan, levels: tuple[LevelView, ...]) -> ForecastView:
    """A plan for the panel and for the line beside Generate."""
    width, height = plan.largest_size or (0, 0)
    return ForecastView.model_validate(
        {
            "model": model,
            "level": plan.chosen.level.value,
            "fits": plan.fits,
            "peak": plan.chosen.peak,
            "ram": plan.chosen.ram,
            "free": plan.budget.free,
            "margin": plan.budget.margin,
            "measured": plan.chosen.measured,
            "stages": tuple(
                StageView(
                    stage=stage.stage,
                    weights=stage.weights,
                    activations=stage.activations,
                    workspace=stage.workspace,
                    peak=stage.peak,
                )
                for stage in plan.chosen.stages
            ),
            "bands": tuple(BandView(name=name, nbytes=size) for name, size in plan.bands.items()),
            "levels": levels,
            "advice": plan.advice,
            "largest_width": width,
            "largest_height": height,
            "largest_batch": plan.largest_batch,
        }
    )
