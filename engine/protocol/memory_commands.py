"""Commands about memory: what the panel asks and decides. Each is answered with the whole view, as it is afterwards."""

from __future__ import annotations

from engine.protocol.commands import Command
from engine.protocol.memory import ForecastView, LevelName, MemoryView, PolicyName
from engine.protocol.specs import GenerationSpec


class GetMemory(Command[MemoryView]):
    name = "get_memory"


class Forecast(Command[ForecastView]):
    """Whether a spec will fit, before it is submitted. `level` asks for that level; None takes the present setting."""

    name = "forecast"
    spec: GenerationSpec
    level: LevelName | None = None


class ReleaseMemory(Command[MemoryView]):
    """Free everything that is neither in use nor pinned; with `key` that one part only."""

    name = "release_memory"
    key: str | None = None


class PinModel(Command[MemoryView]):
    """Keep something loaded, or stop doing so: a part by the `key` of its entry, or a whole `model` of the library,
    which is then loaded at the start too. `warm` keeps a part rather than others instead of always."""

    name = "pin_model"
    key: str | None = None
    model: str | None = None
    pinned: bool = True
    warm: bool = False


class PreloadModel(Command[MemoryView]):
    """Load a model of the library before a picture needs it; the worker does it soon (`ahead` of the view says which
    are still to come)."""

    name = "preload_model"
    model: str


class MeasureLevels(Command[MemoryView]):
    """Run a model through the memory levels, as one job, and keep what each takes; None is the starter, or the default
    model where there is none. `width` and `height`: of the pictures; None is the model's own size. `cancel` ends the
    one that is under way."""

    name = "measure_levels"
    model: str | None = None
    width: int | None = None
    height: int | None = None
    cancel: bool = False


class SetLevel(Command[MemoryView]):
    """Change the memory level, the eviction policy or the pool's size, live; None leaves a value as it is.

    `pool_gb` is GB of 1024³ bytes; 0 is half of what is free.
    """

    name = "set_level"
    level: LevelName | None = None
    policy: PolicyName | None = None
    pool_gb: float | None = None
