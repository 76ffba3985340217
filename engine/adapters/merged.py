"""MergedWeights: one component whose weights carry a plan; free per step, and exactly reversible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.adapters.base_weights import BaseWeights, KeptBase
from engine.adapters.plan import NO_CHANGES, Changes, PatchPlan, signature_of
from engine.adapters.work_in import bias_of, work_in
from engine.errors import AdapterError


@dataclass(frozen=True)
class Moved:
    """What a move did: `layers` were worked on, out of `patched` that carry a change now."""

    layers: int
    patched: int


class MergedWeights:
    """Base + plan in the weights of one component.

    Every weight is recomputed from the base, never by adding and subtracting; only layers whose changes differ from
    what they carry are touched. A move that fails leaves what was there before.

    Args:
        component: "unet", "text_encoder" or "text_encoder_2".
        root: the module; nobody else may write to its weights.
        base: where the own values stay; set aside unless said otherwise.
    """

    def __init__(self, component: str, root: nn.Module, base: BaseWeights | None = None) -> None:
        self.component = component
        # Without the root itself, so that nothing here keeps a dropped component alive.
        self._modules: Mapping[str, nn.Module] = {path: each for path, each in root.named_modules() if path}
        self._base = base if base is not None else KeptBase()
        self._carried: dict[str, Changes] = {}
        # Modules that had no bias until a change brought one.
        self._added_bias: set[str] = set()
        self._held: set[str] = set()

    @property
    def nbytes(self) -> int:
        """Bytes beyond the model's own."""
        return self._base.nbytes

    def move_to(self, plan: PatchPlan) -> Moved:
        """Make the weights carry `plan`.

        Raises:
            AdapterError: `adapter_overflow`, a weight would not be a number any more. Nothing has changed then.
        """
        wanted = plan.of(self.component)
        different = [
            path
            for path in dict.fromkeys((*self._carried, *wanted))
            if signature_of(self._carried.get(path, ())) != signature_of(wanted.get(path, ()))
        ]
        before = {path: self._carried.get(path, ()) for path in different}
        done: list[str] = []
        # Not inference tensors: whoever holds the module may use it outside the loop too.
        with torch.inference_mode(False), torch.no_grad():
            try:
                for path in different:
                    done.append(path)
                    self._set(path, wanted.get(path, ()))
            except BaseException:
                for path in done:
                    self._set(path, before[path])
                raise
        return Moved(len(different), len(self._carried))

    def restore(self) -> Moved:
        """Every weight as it was, bit for bit."""
        return self.move_to(NO_CHANGES)

    def _set(self, path: str, changes: Changes) -> None:
        module = self._modules[path]
        if changes:
            self._change_weight(path, module, changes)
            self._change_bias(path, module, changes)
            self._carried[path] = changes
        else:
            self._end(f"{path}.weight", _weight(module))
            self._restore_bias(path, module)
            self._carried.pop(path, None)

    def _change_weight(self, path: str, module: nn.Module, changes: Changes) -> None:
        weight = _weight(module)
        out = self._begin(f"{path}.weight", weight)
        work_in(self._base.get(f"{path}.weight", weight), changes, out)
        if out.dtype == torch.float16 and not bool(torch.isfinite(out.sum(dtype=torch.float32))):
            raise AdapterError(
                "adapter_overflow",
                f"With these weights the adapters make numbers in {path} that float16 cannot hold.",
                "Lower the adapters' weights, or use bfloat16 or float32 under [engine] dtype.",
            )

    def _change_bias(self, path: str, module: nn.Module, changes: Changes) -> None:
        name, bias = f"{path}.bias", _bias(module)
        own: Tensor | None = None
        if bias is not None and path not in self._added_bias:
            own = self._base.get(name, bias) if name in self._held else bias.data
        wanted = bias_of(own, changes)
        if wanted is None or (own is not None and torch.equal(wanted, own.float())):
            self._restore_bias(path, module)
        elif bias is not None and own is not None:
            self._begin(name, bias).copy_(wanted)
        else:
            self._added_bias.add(path)
            weight = _weight(module)
            _set_bias(module, nn.Parameter(wanted.to(weight.device, weight.dtype), requires_grad=False))

    def _restore_bias(self, path: str, module: nn.Module) -> None:
        if path in self._added_bias:
            self._added_bias.discard(path)
            _set_bias(module, None)
        elif (bias := _bias(module)) is not None:
            self._end(f"{path}.bias", bias)

    def _begin(self, name: str, parameter: nn.Parameter) -> Tensor:
        if name not in self._held:
            self._base.begin(name, parameter)
            self._held.add(name)
        return parameter.data

    def _end(self, name: str, parameter: nn.Parameter) -> None:
        if name in self._held:
            self._base.end(name, parameter)
            self._held.discard(name)


def _weight(module: nn.Module) -> nn.Parameter:
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def _bias(module: nn.Module) -> nn.Parameter | None:
    bias = getattr(module, "bias", None)
    assert bias is None or isinstance(bias, nn.Parameter)
    return bias


def _set_bias(module: nn.Module, bias: nn.Parameter | None) -> None:
    # Through the table of parameters: a name that was registered as "no bias" takes one, and gives it back.
    module.register_parameter("bias", bias)
