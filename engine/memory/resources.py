"""What the machine has: devices, memory as the driver sees it, number formats, attention kernels.

Nothing is asked at import; torch is imported by `TorchProbe` when it is asked the first time.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

from engine.memory.cgroup import memory_limit
from engine.memory.sizes import GIB

_BF16_SINCE = (8, 0)
_FLASH_SINCE = (8, 0)
_EFFICIENT_SINCE = (5, 0)


@dataclass(frozen=True)
class SystemResources:
    """The machine as it is now.

    Attributes:
        total_vram_gb, available_vram_gb: of the first GPU in GB of 1024³ bytes; available is what the driver could give
            this process now, whoever holds the rest. 0.0 without a GPU.
        total_ram_gb, available_ram_gb: of the machine, or of the container where that allows less.
        has_cuda, has_mps: NVIDIA or AMD, and Apple's.
        cuda_device_count, compute_capability: (8, 9) is Ada; None without CUDA.
        device: "cuda", "mps" or "cpu": where models compute. device_name: in words.
        unified: GPU and CPU share one memory (Apple): moving weights between them saves nothing.
        compute_dtypes, storage_dtypes: number formats, by torch's names, best first.
        attention: kernels that are there, best first: "flash_attn", "xformers", "sdpa_flash", "sdpa_efficient",
            "sdpa_math". Without one of the first four, attention keeps whole score matrices.
    """

    total_vram_gb: float
    available_vram_gb: float
    total_ram_gb: float
    available_ram_gb: float
    has_cuda: bool = False
    has_mps: bool = False
    cuda_device_count: int = 0
    compute_capability: tuple[int, int] | None = None
    device: str = "cpu"
    device_name: str = "CPU"
    unified: bool = False
    compute_dtypes: tuple[str, ...] = ("float32",)
    storage_dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16", "float8_e4m3fn", "int8", "int4")
    attention: tuple[str, ...] = ("sdpa_math",)

    @property
    def has_gpu(self) -> bool:
        """Whether there is a device with a memory of its own, so that offloading saves something."""
        return self.device != "cpu" and not self.unified

    @property
    def efficient_attention(self) -> bool:
        """Whether attention works without whole score matrices."""
        return any(kernel != "sdpa_math" for kernel in self.attention)

    @property
    def available_gb(self) -> float:
        """What models may still take where they compute: VRAM, or RAM without a GPU."""
        return self.available_vram_gb if self.device != "cpu" else self.available_ram_gb


class Probe(Protocol):
    """Asks the machine. Tests give their own answers."""

    def cuda_count(self) -> int:
        """How many CUDA devices there are."""
        ...

    def cuda_memory(self) -> tuple[int, int]:
        """(free, total) bytes of the first one, as its driver says."""
        ...

    def cuda_capability(self) -> tuple[int, int]:
        """Its compute capability."""
        ...

    def cuda_name(self) -> str:
        """Its name."""
        ...

    def mps_memory(self) -> tuple[int, int] | None:
        """(free, total) bytes of Apple's GPU, None without one."""
        ...

    def ram(self) -> tuple[int, int]:
        """(available, total) bytes of the machine."""
        ...

    def ram_limit(self) -> tuple[int, int] | None:
        """(available, total) bytes of the container, None without a limit."""
        ...

    def has_package(self, name: str) -> bool:
        """Whether a package can be imported."""
        ...

    def cpu_bf16(self) -> bool:
        """Whether the processor has instructions for bfloat16."""
        ...


class TorchProbe:
    """Asks torch's device layers, psutil and the container."""

    def cuda_count(self) -> int:
        """See `Probe`."""
        torch = _torch()
        return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0

    def cuda_memory(self) -> tuple[int, int]:
        """See `Probe`: `cudaMemGetInfo`, which counts what every process holds."""
        free, total = _torch().cuda.mem_get_info(0)
        return int(free), int(total)

    def cuda_capability(self) -> tuple[int, int]:
        """See `Probe`."""
        major, minor = _torch().cuda.get_device_capability(0)
        return int(major), int(minor)

    def cuda_name(self) -> str:
        """See `Probe`."""
        return str(_torch().cuda.get_device_name(0))

    def mps_memory(self) -> tuple[int, int] | None:
        """See `Probe`."""
        torch = _torch()
        if not torch.backends.mps.is_available():
            return None
        total = int(torch.mps.recommended_max_memory())
        return max(0, total - int(torch.mps.driver_allocated_memory())), total

    def ram(self) -> tuple[int, int]:
        """See `Probe`."""
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.available), int(memory.total)

    def ram_limit(self) -> tuple[int, int] | None:
        """See `Probe`."""
        limit = memory_limit()
        return None if limit is None else (limit.available, limit.limit)

    def has_package(self, name: str) -> bool:
        """See `Probe`; looks for it without importing it."""
        return importlib.util.find_spec(name) is not None

    def cpu_bf16(self) -> bool:
        """See `Probe`."""
        torch = _torch()
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def detect_resources(probe: Probe | None = None, *, device: str | None = None) -> SystemResources:
    """Look at the machine now. Takes microseconds once the driver is awake; ask again rather than keep the answer.

    Args:
        device: "cpu" leaves a GPU out of account; None takes the best that there is.
    """
    asked = probe or TorchProbe()
    available_ram, total_ram = asked.ram()
    limit = asked.ram_limit()
    if limit is not None and limit[1] < total_ram:
        available_ram, total_ram = min(available_ram, limit[0]), limit[1]
    ram = (total_ram / GIB, available_ram / GIB)
    count = 0 if device == "cpu" else asked.cuda_count()
    if count:
        return _cuda(asked, count, ram)
    mps = None if device == "cpu" else asked.mps_memory()
    if mps is not None:
        free, total = mps
        return SystemResources(
            total_vram_gb=total / GIB,
            available_vram_gb=min(free, available_ram) / GIB,
            total_ram_gb=ram[0],
            available_ram_gb=ram[1],
            has_mps=True,
            device="mps",
            device_name="Apple GPU",
            unified=True,
            compute_dtypes=("float16", "bfloat16", "float32"),
        )
    return SystemResources(
        total_vram_gb=0.0,
        available_vram_gb=0.0,
        total_ram_gb=ram[0],
        available_ram_gb=ram[1],
        compute_dtypes=("bfloat16", "float32") if asked.cpu_bf16() else ("float32", "bfloat16"),
        attention=("sdpa_flash", "sdpa_math"),
    )


def _cuda(asked: Probe, count: int, ram: tuple[float, float]) -> SystemResources:
    free, total = asked.cuda_memory()
    capability = asked.cuda_capability()
    bf16 = capability >= _BF16_SINCE
    storage = ("float16", "float32", "float8_e4m3fn", "int8", "int4")
    kernels = [name for name, since in (("flash_attn", _FLASH_SINCE), ("xformers", _EFFICIENT_SINCE))
               if capability >= since and asked.has_package(name)]  # fmt: skip
    kernels += ["sdpa_flash"] if capability >= _FLASH_SINCE else []
    kernels += ["sdpa_efficient"] if capability >= _EFFICIENT_SINCE else []
    return SystemResources(
        total_vram_gb=total / GIB,
        available_vram_gb=free / GIB,
        total_ram_gb=ram[0],
        available_ram_gb=ram[1],
        has_cuda=True,
        cuda_device_count=count,
        compute_capability=capability,
        device="cuda",
        device_name=asked.cuda_name(),
        compute_dtypes=("bfloat16", "float16", "float32") if bf16 else ("float16", "float32"),
        storage_dtypes=("bfloat16", *storage) if bf16 else storage,
        attention=(*kernels, "sdpa_math"),
    )


def _torch() -> Any:
    import torch

    return torch
