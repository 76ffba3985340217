"""Number formats: which one weights rest in and which one they compute in, and the conversion.

16 bits are a plain cast. FP8 goes through diffusers' layerwise casting, which runs on CPU, CUDA and MPS alike; 8 and 4
bit integers through `engine.memory.rounded`. Neither needs a library that exists for one kind of GPU only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

from engine.errors import SpecError
from engine.memory.resources import SystemResources
from engine.memory.rounded import RoundedWeight, round_layers

# First and last layers, and what carries the time step: few weights, and all of the picture goes through them.
KEPT_WIDE = ("conv_in", "conv_out", "time_embedding", "add_embedding", "time_emb_proj", "embeddings")
INT4 = "int4"


class DTypePolicy(StrEnum):
    """Number format of the weights.

    AUTO: bfloat16 on a GPU (float16 before Ampere and on Apple's), float32 on a CPU; 8-bit storage only where it spares
    an offload. SEED: int8 below 8 GB of free VRAM, float16 below 12, float32 from there on. The rest: as named; INT4
    is experimental.
    """

    AUTO = "auto"
    SEED = "seed"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    FP8 = "float8_e4m3fn"
    INT4 = "int4"


@dataclass(frozen=True)
class DTypeChoice:
    """Weights rest in `storage_dtype` and compute in `compute_dtype`; both are names of torch's, or "int4"."""

    storage_dtype: str
    compute_dtype: str
    why: str = ""

    @property
    def rounds(self) -> bool:
        """Whether the weights rest in fewer bits than they compute in."""
        return self.storage_dtype != self.compute_dtype


def choose_dtype(
    policy: DTypePolicy, resources: SystemResources, *, weights_16: int = 0, budget_bytes: int | None = None
) -> DTypeChoice:
    """The number formats for this machine.

    Args:
        weights_16: bytes of the model's weights in 16 bits; AUTO stores them in FP8 where they fit into `budget_bytes`
            only then, so that nothing has to travel.
    """
    compute = resources.compute_dtypes[0] if resources.device != "cpu" else "float32"
    if policy is DTypePolicy.SEED:
        storage = _by_vram(resources.available_vram_gb)
        return DTypeChoice(storage, compute if storage == "int8" else storage, "by free VRAM: below 8 GB, below 12 GB")
    if policy is DTypePolicy.AUTO:
        if resources.has_gpu and budget_bytes is not None and weights_16 / 2 <= budget_bytes < weights_16:
            return DTypeChoice("float8_e4m3fn", compute, "in 8 bits all weights fit, so that nothing has to travel")
        return DTypeChoice(compute, compute)
    if policy in (DTypePolicy.INT8, DTypePolicy.FP8, DTypePolicy.INT4):
        why = "4 bits are experimental: pictures differ visibly" if policy is DTypePolicy.INT4 else ""
        return DTypeChoice(policy.value, compute, why)
    return DTypeChoice(policy.value, policy.value)


def _by_vram(vram_gb: float) -> str:
    return "int8" if vram_gb < 8 else "float16" if vram_gb < 12 else "float32"


class QuantizationEngine:
    """Brings a module's weights into another format, in place."""

    def __init__(self, compute: torch.dtype | None = None) -> None:
        """`compute`: the format that layers compute in; None: that of the model's widest weights."""
        self._compute = compute

    def quantize_model(self, model: Any, target_dtype: torch.dtype | str, calibration_data: Any = None) -> Any:
        """The same module with its weights in `target_dtype`.

        Args:
            target_dtype: torch.float32, float16, bfloat16 (cast), float8_e4m3fn, int8, or "int4" (at rest only: the
                layers compute in the module's former format).
            calibration_data: accepted and not needed, because only weights are rounded.

        Raises:
            SpecError: `dtype_unknown`.
        """
        name = str(target_dtype).removeprefix("torch.")
        if name in ("float32", "float16", "bfloat16"):
            return model.to(getattr(torch, name))
        if name == "float8_e4m3fn":
            return self._fp8(model)
        if name in ("int8", INT4):
            round_layers(model, 8 if name == "int8" else 4, skip=KEPT_WIDE)
            return model
        raise SpecError(
            "dtype_unknown",
            f"Weights cannot be kept as {name[:40]}.",
            "Take float32, float16, bfloat16, float8_e4m3fn, int8 or int4.",
        )

    def _fp8(self, model: Any) -> Any:
        from diffusers.hooks import apply_layerwise_casting

        compute = self._compute or compute_dtype_of(model)
        apply_layerwise_casting(
            model,
            storage_dtype=torch.float8_e4m3fn,
            compute_dtype=compute,
            skip_modules_pattern=("norm", *KEPT_WIDE),
        )
        for weight in model.parameters():
            # What is not cast layer by layer may have been loaded narrower than it computes.
            if weight.is_floating_point() and 1 < weight.dtype.itemsize < compute.itemsize:
                weight.data = weight.data.to(compute)
        return model


def storage_dtype_of(module: Any) -> str:
    """The narrowest format in which layers of the module rest, by torch's name, or "int4"."""
    rounded = [layer.bits for layer in module.modules() if isinstance(layer, RoundedWeight)]
    if rounded:
        return INT4 if min(rounded) == 4 else "int8"
    dtypes = {parameter.dtype for parameter in module.parameters()}
    return str(min(dtypes, key=lambda dtype: dtype.itemsize, default=torch.float32)).removeprefix("torch.")


def compute_dtype_of(module: Any) -> torch.dtype:
    """The format that the module computes in: of the widest of its weights."""
    dtypes = {p.dtype for p in module.parameters() if p.is_floating_point() and p.dtype.itemsize > 1}
    dtypes |= {layer.compute_dtype for layer in module.modules() if isinstance(layer, RoundedWeight)}
    return max(dtypes, key=lambda dtype: dtype.itemsize, default=torch.float32)
