"""MemoryOptimizer: puts a memory level on a model, changes it while the model is in use, and takes it off again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel
from engine.memory.meter import Meter, ProcessMeter
from engine.memory.resources import SystemResources, detect_resources
from engine.memory.technique import Applied, Machine
from engine.memory.techniques import TECHNIQUES

# Two of these cannot be on one model together; what is later in the list wins.
_MOVERS = ("component_offload", "group_offload", "sequential_offload")
# After these, memory lies free that only a cleanup gives back.
_FREEING = (*_MOVERS, "fp8_storage", "file_storage")


class MemoryOptimizer:
    """Applies a config to models. Works on a plain diffusers pipeline and on named modules.

    Args:
        config: what to do; see `MemoryOptimizationConfig.from_level`. It may be changed before it is applied.
        resources: the machine; detected where it is None.
        meter: measures and releases; the process itself where it is None.
        device: where models compute; the machine's best where it is None.
        compute: the format that they compute in, where weights may rest in a narrower one.
    """

    def __init__(
        self,
        config: MemoryOptimizationConfig | None = None,
        *,
        resources: SystemResources | None = None,
        meter: Meter | None = None,
        device: str | torch.device | None = None,
        compute: torch.dtype | None = None,
    ) -> None:
        self.resources = resources or detect_resources()
        self.device = torch.device(device or self.resources.device)
        self.meter: Meter = meter or ProcessMeter(self.device.type)
        self.config = config or MemoryOptimizationConfig.from_level(OptimizationLevel.NONE, device=self.device.type)
        self._machine = Machine(self.resources, self.device, compute=compute)
        self.report: tuple[Applied, ...] = ()

    def optimize_pipeline(self, pipe: Any) -> Any:
        """Apply the config to a diffusers pipeline; returns the same pipeline. What was done is in `report`.

        Applying another config later replaces this one. On a machine without a GPU offloading does nothing and says so.
        """
        modules = modules_of(pipe)
        if not self.config_moves:
            for module in modules.values():
                module.to(self.device)
        self.optimize_modules(modules)
        return pipe

    def optimize_modules(self, modules: Mapping[str, Any]) -> tuple[Applied, ...]:
        """The same for modules by part name ("unet", "vae", "text_encoder", "text_encoder_2", "controlnet", …).

        Each module remembers what it carries, so only what differs is done, and modules may come and go.
        """
        wanted = self._wanted()
        still, moving = [name for name in wanted if name not in _MOVERS], [name for name in wanted if name in _MOVERS]
        done: list[Applied] = []
        # Weights that change their format must do so where they lie, before anything begins to move them.
        done += [self._remove(name, modules) for name in _MOVERS if name in applied_to(modules)]
        for part, module in modules.items():
            done += self._fit(part, module, still)
        for name in moving:
            result = TECHNIQUES[name].apply(modules, self._machine, self.config)
            done.append(result)
            if result.done:
                _remember(modules.values(), {name})
        self.report = _merged(done)
        if any(result.name in _FREEING or result.reload for result in done if result.done):
            self.cleanup()
        return self.report

    def _fit(self, part: str, module: Any, wanted: Sequence[str]) -> list[Applied]:
        """One module: take off what is not wanted, put on what it does not carry yet."""
        one = {part: module}
        asked, carried = getattr(module, _ASKED, None) or (), applied_to(one)
        if tuple(wanted) == asked:
            return []
        done = [self._remove(name, one) for name in reversed(list(TECHNIQUES)) if name in carried - set(wanted)]
        new = [name for name in wanted if name not in carried and name not in asked]
        fresh = [TECHNIQUES[name].apply(one, self._machine, self.config) for name in new]
        _remember([module], {result.name for result in fresh if result.done})
        if isinstance(module, torch.nn.Module):
            # What does not concern this part is not asked again.
            setattr(module, _ASKED, tuple(wanted))
        return [*done, *fresh]

    def change(self, modules: Mapping[str, Any], config: MemoryOptimizationConfig) -> tuple[Applied, ...]:
        """Another config, live: only what differs is taken off and put on.

        Call it between steps, never inside one. Parts that `Applied.reload` names should be loaded again from their
        file when there is time: their weights were rounded by the former level.
        """
        self.config = config
        return self.optimize_modules(modules)

    def settle(self, modules: Mapping[str, Any]) -> None:
        """Take off what moves weights, so that they lie still and may be written to; `optimize_modules` puts it on."""
        for name in _MOVERS:
            if name in applied_to(modules):
                self._remove(name, modules)

    def remove(self, modules: Mapping[str, Any]) -> tuple[Applied, ...]:
        """Take everything off; the modules lie where they compute afterwards."""
        names = applied_to(modules)
        self.report = tuple(self._remove(name, modules) for name in reversed(list(TECHNIQUES)) if name in names)
        self.cleanup()
        return self.report

    def cleanup(self) -> None:
        """Give back at once what nobody holds: wait for the GPU, collect, empty torch's cache, trim the heap."""
        self.meter.release()

    @contextmanager
    def cleaned(self) -> Iterator[None]:
        """Clean up after whatever runs inside, also after an error."""
        try:
            yield
        finally:
            self.cleanup()

    @property
    def config_moves(self) -> bool:
        """Whether the config moves weights on this machine."""
        return self._machine.travels and any(name in _MOVERS for name in self.config.techniques)

    def _wanted(self) -> list[str]:
        names = list(self.config.techniques)
        movers = [name for name in names if name in _MOVERS]
        return [name for name in names if name not in movers[:-1]]

    def _remove(self, name: str, modules: Mapping[str, Any]) -> Applied:
        carrying = {part: module for part, module in modules.items() if name in applied_to({part: module})}
        result = TECHNIQUES[name].remove(carrying, self._machine)
        for module in carrying.values():
            setattr(module, _MARK, applied_to({"": module}) - {name})
            setattr(module, _ASKED, None)
        return result


def modules_of(pipe: Any) -> dict[str, Any]:
    """The networks of a diffusers pipeline by part name."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


_MARK = "_easel_memory_techniques"
_ASKED = "_easel_memory_asked"


def applied_to(modules: Mapping[str, Any]) -> set[str]:
    """Names of the techniques that any of these modules carries: the modules themselves remember them, so that several
    optimizers and shared components agree."""
    names: set[str] = set()
    for module in modules.values():
        names |= getattr(module, _MARK, set())
    return names


def moves(module: Any) -> bool:
    """Whether the module's weights rest in RAM and travel to the GPU by themselves."""
    return any(name in _MOVERS for name in applied_to({"": module}))


def _remember(modules: Iterable[Any], names: set[str]) -> None:
    for module in modules:
        if isinstance(module, torch.nn.Module):
            setattr(module, _MARK, applied_to({"": module}) | names)


def _merged(done: Sequence[Applied]) -> tuple[Applied, ...]:
    """One line for each technique, however many parts it was asked for."""
    lines: dict[str, Applied] = {}
    for result in done:
        known = lines.get(result.name)
        if known is None or (result.done and not known.done):
            lines[result.name] = replace(result, reload=(*(known.reload if known else ()), *result.reload))
        else:
            lines[result.name] = replace(known, reload=(*known.reload, *result.reload))
    return tuple(lines.values())
