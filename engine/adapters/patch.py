"""What one adapter does to one module: the interface that every kind has, whatever its formula is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

LowRank = tuple[Tensor, Tensor]
"""(up (out, r) already times alpha/rank, down (r, in·kernel)), float32: ΔW.reshape(out, -1) = scale · up @ down."""


class ModulePatch(Protocol):
    """One adapter's change of one module: W' = W + ΔW(W, scale).

    Changes of a weight are float32 on the weight's device, whatever the file's precision. `scale` is the slider: 0
    changes nothing, 1 is the adapter as it was trained; any finite number is allowed. Most kinds are linear in it
    (ΔW · scale). DoRA is too: the whole way from W to its trained weight is scaled, as LyCORIS's `apply_dora_scale`
    does. OFT scales (R − I), BOFT moves every butterfly stage towards the identity, as LyCORIS's multiplier does.

    Attributes:
        kind: how a person calls it: "LoRA", "LoCon", "LoHa", "LoKr", "(IA)³", "GLoRA", "OFT", "BOFT", "Full" (also a
            bias alone), "Norm", "DoRA".
        needs_base: ΔW depends on the weight itself, so the order in a stack matters (DoRA, GLoRA, (IA)³, OFT, BOFT).
            Where False, only shape and device of the weight are looked at.
    """

    @property
    def kind(self) -> str: ...

    @property
    def needs_base(self) -> bool: ...

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors it holds."""
        ...

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        """ΔW at that scale: float32, shape of the weight."""
        ...

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        """What is added to the bias, float32 (out,), wherever the patch lies; None: nothing.

        `bias` is the module's own (None: it has none, and what comes back becomes one). Only peft's (IA)³ looks at it,
        which multiplies the whole output.
        """
        ...

    def low_rank(self) -> LowRank | None:
        """The change as a product of two thin matrices; None where the kind is not that."""
        ...

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        """This adapter's share of the module's output, the weight untouched: the caller adds it to `base_out`.

        Args:
            x: the module's input. module: gives stride, padding, dilation and groups.
            base_out: the module's output without this adapter.

        Returns:
            The dtype and shape of `base_out`; the bias change is in it. None: this kind cannot.
        """
        ...
