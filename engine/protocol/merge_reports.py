"""What the merge studio says of a recipe: before it runs (sizes, spectra), while it runs, and of what was made."""

from __future__ import annotations

from engine.protocol.frozen import Frozen
from engine.protocol.merge import TargetKind


class ModuleResult(Frozen):
    """One module of the result.

    Attributes:
        component, module: as in diffusers; block: "IN04", "M00", "OUT11", "BASE".
        rank: 0 where it is no product of thin matrices. full_rank: what an exact result would have had.
        energy: share of Σ S² that was kept, 0.0–1.0.
        error: ‖written − exact‖ / ‖exact‖, rounding to the file's dtype included.
        parity: ‖merged − stacked‖ / ‖stacked‖; None where stacking means nothing (an extracted module).
    """

    component: str
    module: str
    block: str
    kind: str
    rank: int = 0
    full_rank: int = 0
    energy: float = 1.0
    error: float = 0.0
    parity: float | None = None


class MergeReport(Frozen):
    """What was made.

    Attributes:
        error: of the whole file against the method's exact result, rounding included.
        parity: ‖merged − stacked‖ / ‖stacked‖ of the whole file; None where stacking means nothing (a checkpoint).
        energy: share of the energy that reduction kept, of the whole file.
        parameters: numbers in the file. auto_v3: SHA-256 (hex) of the data. notices: sentences.
    """

    task: str
    file: str
    size_bytes: int = 0
    parameters: int = 0
    method: str = ""
    family: str = ""
    error: float = 0.0
    parity: float | None = None
    energy: float = 1.0
    seconds: float = 0.0
    auto_v3: str = ""
    modules: tuple[ModuleResult, ...] = ()
    notices: tuple[str, ...] = ()


class MergeProgress(Frozen):
    """Where a run is. `report` is there with the last one only. `seconds_left` is None until it can be told."""

    fraction: float
    stage: str = ""
    module: str = ""
    seconds_left: float | None = None
    report: MergeReport | None = None


class Spectrum(Frozen):
    """Singular values of one module's merged change, the largest first, and what each rank keeps.

    `energy[i]` is the share of Σ S² that rank i + 1 keeps; `rank` what the recipe chooses.
    """

    component: str
    module: str
    block: str
    values: tuple[float, ...]
    energy: tuple[float, ...]
    rank: int


class PairCosine(Frozen):
    """Two inputs (their places in the recipe): cosine over all shared modules, and the share of values with opposite
    signs (weighed by size; what TIES decides about)."""

    first: int
    second: int
    cosine: float
    sign_conflict: float = 0.0


class BlockNorm(Frozen):
    """‖w ΔW‖ (Frobenius) of each input in one block, in the order of the recipe."""

    block: str
    norms: tuple[float, ...]


class MergeChoice(Frozen):
    """One way to write the result: its size, and the loss that reduction makes (‖result − exact‖ / ‖exact‖)."""

    kind: TargetKind
    title: str
    size_bytes: int
    loss: float
    chosen: bool = False


class MergePreview(Frozen):
    """What a recipe would make, from a sample of its modules (`sampled` of `modules`).

    Attributes:
        loss: ‖result − exact‖ / ‖exact‖ of what reduction cuts away.
        spectrum_energy: over all sampled modules, what a common rank of 1, 2, 4, 8, … would keep: (rank, share).
    """

    family: str
    modules: int
    sampled: int
    size_bytes: int
    loss: float
    choices: tuple[MergeChoice, ...] = ()
    spectra: tuple[Spectrum, ...] = ()
    spectrum_energy: tuple[tuple[int, float], ...] = ()
    blocks: tuple[BlockNorm, ...] = ()
    pairs: tuple[PairCosine, ...] = ()
    notices: tuple[str, ...] = ()


class MethodView(Frozen):
    """A method for a list. `exact`: it equals stacking. `options`: which fields of `MethodOptions` it reads."""

    id: str
    title: str
    summary: str
    exact: bool = False
    options: tuple[str, ...] = ()
    needs_reduction: bool = False


class MethodList(Frozen):
    methods: tuple[MethodView, ...]
