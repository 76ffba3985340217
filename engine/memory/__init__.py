"""What stays in memory: the pool, its leases, and which entry goes first; levels, the forecast, and what measures."""

from importlib import import_module
from typing import Any

# Loaded when asked for, so that `engine.memory.eviction` and its like stay free of torch.
_PUBLIC = {
    "DTypePolicy": "quantize",
    "EfficientAttention": "attention",
    "EvictionPolicy": "eviction",
    "GenerationStep": "steps",
    "LoadedModel": "lease",
    "LoadingStrategy": "steps",
    "MemoryManager": "manager",
    "MemoryMonitor": "monitor",
    "MemoryOptimizationConfig": "levels",
    "MemoryOptimizer": "optimizer",
    "ModelOffloader": "offload",
    "ModelPool": "pool",
    "OffloadConfig": "offload",
    "OffloadStrategy": "offload",
    "OptimizationLevel": "levels",
    "QuantizationEngine": "quantize",
    "SystemResources": "resources",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"engine.memory has no {name}")
    return getattr(import_module(f"engine.memory.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
