"""The ladder after "out of memory": which step comes next, and what to tell. Pure; the worker climbs it.

release → next level → decode in tiles → smaller batch → other number format → refusal that names what would fit. While
decoding, tiles come before the level: nothing else helps there as much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from engine.errors import OutOfMemoryError
from engine.memory.levels import OptimizationLevel
from engine.protocol.notices import Notice

Action = Literal["release", "level", "tile", "batch", "dtype", "refuse"]
Stage = Literal["load", "encode", "denoise", "decode"]
# Where a dtype may go when memory is short; None: there is nothing narrower that computes.
_NARROWER = {"float32": "bfloat16"}


@dataclass(frozen=True)
class Rung:
    """How a job runs now: what the next attempt is made with.

    Attributes:
        released: whether everything that nobody uses was already given back for this job.
        tiled: decode in tiles. batch: pictures in one call. dtype: that the weights compute in.
    """

    level: OptimizationLevel = OptimizationLevel.NONE
    released: bool = False
    tiled: bool = False
    batch: int = 1
    dtype: str = "float32"


@dataclass(frozen=True)
class Step:
    """What to do next. `rung` is how the job goes on from its last step; `notice` is for the user; with "refuse" the
    job ends with `error`."""

    action: Action
    rung: Rung
    notice: Notice | None = None
    error: OutOfMemoryError | None = None


def next_step(
    rung: Rung,
    *,
    stage: Stage = "denoise",
    narrower: tuple[str, ...] = ("bfloat16",),
    largest_size: tuple[int, int] | None = None,
    largest_batch: int = 0,
) -> Step:
    """What to do after running out of memory with `rung`.

    Every answer is a harder rung than the one before, so that the ladder ends.

    Args:
        stage: where it happened. narrower: formats that this device computes in and that may be tried.
        largest_size, largest_batch: what the forecast says would fit, for the refusal.
    """
    if not rung.released:
        return _told("release", replace(rung, released=True), "memory_released",
                     "Memory ran out; everything that was not in use was released, and the job goes on.")  # fmt: skip
    order = ("tile", "level", "batch", "dtype") if stage == "decode" else ("level", "tile", "batch", "dtype")
    for action in order:
        step = _try(action, rung, narrower)
        if step is not None:
            return step
    return Step("refuse", rung, error=_refusal(largest_size, largest_batch))


def _try(action: str, rung: Rung, narrower: tuple[str, ...]) -> Step | None:
    harder = rung.level.harder
    if action == "level" and harder is not None:
        return _told("level", replace(rung, level=harder, released=False), "memory_level_lowered",
                     f"Memory ran out; the job goes on at the level {harder.value}, which is slower.")  # fmt: skip
    if action == "tile" and not rung.tiled:
        return _told("tile", replace(rung, tiled=True), "decode_tiled",
                     "Memory ran out; the picture is decoded in tiles, which may differ by a grey level.")  # fmt: skip
    if action == "batch" and rung.batch > 1:
        batch = rung.batch // 2
        return _told("batch", replace(rung, batch=batch, released=False), "batch_reduced",
                     f"Memory ran out; {batch} at once are made instead of {rung.batch}.")  # fmt: skip
    dtype = _NARROWER.get(rung.dtype)
    if action == "dtype" and dtype in narrower:
        return _told("dtype", replace(rung, dtype=dtype, released=False), "precision_lowered",
                     f"Memory ran out; the job goes on in {dtype} instead of {rung.dtype}.")  # fmt: skip
    return None


def raised_again(level: OptimizationLevel, wished: OptimizationLevel, *, fits: bool, quiet_jobs: int) -> bool:
    """Whether to go back to the level that was wished for: it fits again, and two jobs in a row had no trouble."""
    return level.rank > wished.rank and fits and quiet_jobs >= 2


def _told(action: Action, rung: Rung, code: str, message: str) -> Step:
    notice = Notice.model_validate({"code": code, "message": message, "level": "warning"})
    return Step(action, rung, notice)


def _refusal(size: tuple[int, int] | None, batch: int) -> OutOfMemoryError:
    hints = []
    if size is not None:
        hints.append(f"the largest size of this shape that fits is {size[0]} × {size[1]}")
    if batch:
        hints.append(f"at most {batch} at once")
    hint = "; ".join(hints)
    return OutOfMemoryError(
        "out_of_memory",
        "The picture does not fit into memory, whatever is given up for it.",
        f"{hint[0].upper()}{hint[1:]}." if hint else "Try a smaller size, or a smaller model.",
    )
