"""One module at a time: ΔW, the side path and the thin matrices of every kind, beside lycoris' own modules."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.adapters.kinds import KINDS
from engine.adapters.kinds.boft import butterfly
from engine.adapters.kinds.parts import Damaged, Incomplete, Misfit, Parts
from engine.adapters.modules import TargetModule, targets_of
from engine.adapters.patch import ModulePatch
from engine.adapters.reading import read_patch
from engine.loading.torchvision_guard import guard_torchvision

pytestmark = pytest.mark.usefixtures("same_numbers")

LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(24, 48),
    "linear without bias": nn.Linear(16, 16, bias=False),
    "conv 3×3": nn.Conv2d(12, 24, 3, stride=2, padding=1),
    "conv 3×3 in a circle": nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
    "conv 1×1": nn.Conv2d(12, 24, 1),
}
MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("locon.LoConModule", {"lora_dim": 3, "alpha": 2}),
    "LoCon with Tucker": ("locon.LoConModule", {"lora_dim": 3, "alpha": 2, "use_tucker": True}),
    "LoHa": ("loha.LohaModule", {"lora_dim": 3, "alpha": 2}),
    "LoHa with Tucker": ("loha.LohaModule", {"lora_dim": 3, "alpha": 2, "use_tucker": True}),
    "LoKr": ("lokr.LokrModule", {"lora_dim": 1, "alpha": 2}),
    "LoKr, both decomposed": ("lokr.LokrModule", {"lora_dim": 1, "alpha": 2, "decompose_both": True}),
    "LoKr with Tucker": ("lokr.LokrModule", {"lora_dim": 1, "alpha": 2, "use_tucker": True}),
    "LoKr, whole": ("lokr.LokrModule", {"lora_dim": 1, "alpha": 2, "full_matrix": True}),
    "GLoRA": ("glora.GLoRAModule", {"lora_dim": 3, "alpha": 2}),
    "(IA)³": ("ia3.IA3Module", {}),
    "(IA)³ on the input": ("ia3.IA3Module", {"train_on_input": True}),
    "OFT": ("diag_oft.DiagOFTModule", {"lora_dim": 4}),
    "OFT with a limit": ("diag_oft.DiagOFTModule", {"lora_dim": 4, "constraint": 0.001}),
    "OFT with rescale": ("diag_oft.DiagOFTModule", {"lora_dim": 4, "rescaled": True}),
    "BOFT": ("boft.ButterflyOFTModule", {"lora_dim": 8}),
    "BOFT with rescale": ("boft.ButterflyOFTModule", {"lora_dim": 8, "rescaled": True}),
    "Full": ("full.FullModule", {}),
    "DoRA": ("locon.LoConModule", {"lora_dim": 3, "alpha": 2, "weight_decompose": True}),
    "DoRA on the input": ("locon.LoConModule", {"lora_dim": 3, "weight_decompose": True, "wd_on_out": False}),
    "DoRA over LoHa": ("loha.LohaModule", {"lora_dim": 3, "alpha": 2, "weight_decompose": True}),
    "DoRA over LoKr": ("lokr.LokrModule", {"lora_dim": 1, "alpha": 2, "weight_decompose": True, "wd_on_out": False}),
}  # fmt: skip
# Where lycoris' multiplier means the same as the slider at every place. (DoRA: its multiplier 0 still changes weights.)
SAME_SLIDER = [case for case in MODULES if "DoRA" not in case and "rescale" not in case]
NO_SIDE_PATH = [case for case in MODULES if "DoRA" in case]


def make(case: str, layer: nn.Module) -> Any:
    """lycoris' module on a layer, with random weights."""
    place, options = MODULES[case]
    file, name = place.split(".")
    layer = copy.deepcopy(layer)
    module = getattr(importlib.import_module(f"lycoris.modules.{file}"), name)("it", layer, **options)
    module.apply_to()
    for parameter_name, parameter in module.named_parameters():
        spread = 0.05 if "dora" in parameter_name or "rescale" in parameter_name else 0.3
        parameter.data = parameter.data + torch.randn_like(parameter) * spread
    return module.eval().requires_grad_(False)


def target_of(layer: nn.Module) -> TargetModule:
    return targets_of({"unet": nn.ModuleDict({"it": layer})}).modules["unet", "it"]


def patch_of(tensors: Mapping[str, torch.Tensor], layer: nn.Module) -> ModulePatch:
    rest = dict(tensors)
    alpha = rest.pop("alpha", None)
    return read_patch(Parts(rest, None if alpha is None else float(alpha)), target_of(layer))


def delta_of(module: Any, weight: torch.Tensor) -> torch.Tensor:
    """lycoris' own ΔW. Its LoHa and LoKr count alpha / rank twice when they merge, once when they run: the latter."""
    if not hasattr(module, "get_weight"):
        merged: torch.Tensor = module.get_merged_weight(1.0, weight.shape)[0]
        return merged - weight
    moved = weight + module.get_weight(weight.shape)
    return (module.apply_weight_decompose(moved) if module.wd else moved) - weight


def input_of(layer: nn.Module) -> torch.Tensor:
    if isinstance(layer, nn.Linear):
        return torch.randn(2, 5, layer.in_features)
    assert isinstance(layer, nn.Conv2d)
    return torch.randn(2, layer.in_channels, 9, 8)


def with_change(layer: nn.Module, patch: ModulePatch, scale: float, x: torch.Tensor) -> torch.Tensor:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, torch.Tensor)
    change = patch.bias_delta(scale, bias)  # type: ignore[arg-type]
    state = {"weight": weight + patch.delta(weight, scale)}
    if bias is not None:
        state["bias"] = bias if change is None else bias + change  # type: ignore[operator]
    answer: torch.Tensor = torch.func.functional_call(layer, state, (x,))
    return answer


# lycoris pads with zeros whatever the layer does, so circles are left to the next test.
@pytest.mark.parametrize("layer_name", [name for name in LAYERS if not name.endswith("circle")])
@pytest.mark.parametrize("case", list(MODULES))
def test_delta_and_output_are_those_of_lycoris(case: str, layer_name: str) -> None:
    layer = LAYERS[layer_name].requires_grad_(False)
    module, x = make(case, layer), input_of(layer)
    patch = patch_of(module.state_dict(), layer)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    assert torch.allclose(patch.delta(weight, 1.0), delta_of(module, weight), atol=1e-5)
    assert torch.allclose(with_change(layer, patch, 1.0, x), module(x), atol=1e-5)
    for scale in (0.5, -1.3) if case in SAME_SLIDER else ():
        module.multiplier = scale
        assert torch.allclose(with_change(layer, patch, scale, x), module(x), atol=2e-5), scale


@pytest.mark.parametrize("layer_name", list(LAYERS))
@pytest.mark.parametrize("case", list(MODULES))
def test_the_side_path_is_the_changed_weight(case: str, layer_name: str) -> None:
    layer = LAYERS[layer_name].requires_grad_(False)
    patch, x = patch_of(make(case, layer).state_dict(), layer), input_of(layer)
    base = layer(x)
    for scale in (1.0, 0.6, 0.0):
        side = patch.bypass(x, layer, base, scale)
        if case in NO_SIDE_PATH:
            assert side is None
            continue
        assert side is not None
        assert side.dtype == base.dtype
        assert torch.allclose(base + side, with_change(layer, patch, scale, x), atol=1e-5), scale


@pytest.mark.parametrize("case", list(MODULES))
@pytest.mark.parametrize("layer_name", ["linear", "conv 3×3"])
def test_zero_changes_nothing_and_one_is_everything(case: str, layer_name: str) -> None:
    layer = LAYERS[layer_name].requires_grad_(False)
    patch = patch_of(make(case, layer).state_dict(), layer)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    assert patch.delta(weight, 0.0).abs().max() < 1e-6
    assert patch.delta(weight, 1.0).abs().max() > 1e-3
    assert patch.delta(weight.half(), 1.0).dtype == torch.float32


@pytest.mark.parametrize("case", list(MODULES))
@pytest.mark.parametrize("layer_name", ["linear", "conv 3×3"])
def test_a_kind_without_need_of_the_weight_looks_at_its_shape_only(case: str, layer_name: str) -> None:
    layer = LAYERS[layer_name].requires_grad_(False)
    tensors = make(case, layer).state_dict()
    patch = patch_of(tensors, layer)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    same = torch.allclose(patch.delta(weight, 1.0), patch.delta(torch.full_like(weight, 3.0), 1.0), atol=1e-6)
    assert same != patch.needs_base
    held = sum(tensor.nbytes for name, tensor in tensors.items() if name not in ("alpha", "on_input"))
    assert patch.nbytes == held


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("case", list(MODULES))
def test_half_precision_files_are_worked_out_in_single_precision(case: str, dtype: torch.dtype) -> None:
    layer = LAYERS["linear"].requires_grad_(False)
    stored = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in make(case, layer).state_dict().items()
    }
    rounded = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    found = patch_of(stored, layer).delta(weight, 0.7)
    assert found.dtype == torch.float32
    assert torch.equal(found, patch_of(rounded, layer).delta(weight, 0.7))


@pytest.mark.parametrize("case", list(MODULES))
@pytest.mark.parametrize("layer_name", ["linear", "conv 3×3"])
def test_results_lie_where_the_weight_lies(case: str, layer_name: str) -> None:
    """Files are read onto the CPU, models lie on a GPU; the meta device stands for it where there is none."""
    layer = LAYERS[layer_name].requires_grad_(False)
    patch, x = patch_of(make(case, layer).state_dict(), layer), input_of(layer).to("meta")
    there = copy.deepcopy(layer).to("meta")
    weight = there.weight
    assert isinstance(weight, torch.Tensor)
    found = patch.delta(weight, 0.5)
    assert (found.device, found.shape, found.dtype) == (weight.device, weight.shape, torch.float32)
    side = patch.bypass(x, there, there(x), 0.5)
    assert side is None or (side.device, side.shape) == (x.device, there(x).shape)
    assert (side is None) == (case in NO_SIDE_PATH)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_thin_matrices_are_the_change(data: st.DataObject) -> None:
    sides = st.integers(1, 9)
    out, inner, rank, middle = (data.draw(sides) for _ in range(4))
    kernel = data.draw(st.sampled_from([(), (1, 1), (3, 3), (1, 3)]))
    scale = data.draw(st.floats(-3, 3, width=32))
    alpha = data.draw(st.sampled_from([None, 0.0, 1.0, 7.5]))
    flat = (1,) * len(kernel)
    if kernel and data.draw(st.booleans()):
        tensors = {
            "lora_up.weight": torch.randn(out, middle, *flat),
            "lora_mid.weight": torch.randn(middle, rank, *kernel),
            "lora_down.weight": torch.randn(rank, inner, *flat),
        }
    else:
        tensors = {
            "lora_up.weight": torch.randn(out, rank, *flat),
            "lora_down.weight": torch.randn(rank, inner, *kernel),
        }
    shape = (out, inner, *kernel)
    patch = read_patch(Parts(tensors, alpha), TargetModule("conv" if kernel else "linear", shape, False))
    thin = patch.low_rank()
    assert thin is not None
    up, down = thin
    delta = patch.delta(torch.empty(shape), scale).reshape(out, -1)
    assert torch.allclose(scale * (up @ down), delta, atol=1e-4, rtol=1e-4)


def test_dora_keeps_its_own_scale_at_one_and_moves_evenly() -> None:
    layer = LAYERS["linear"].requires_grad_(False)
    patch = patch_of(make("DoRA", layer).state_dict(), layer)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    assert torch.allclose(patch.delta(weight, 0.25), patch.delta(weight, 1.0) * 0.25, atol=1e-6)
    assert patch.kind == "DoRA"


def test_oft_diag_is_the_rotation_itself() -> None:
    """LyCORIS of 2023 stored what `get_r` gives; today's `oft_blocks` of the same module must change the same."""
    for name in ("linear", "conv 3×3"):
        layer = LAYERS[name].requires_grad_(False)
        module = make("OFT", layer)
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        old = patch_of({"oft_diag": module.get_r()}, layer)
        assert torch.allclose(
            old.delta(weight, 0.7), patch_of(module.state_dict(), layer).delta(weight, 0.7), atol=1e-6
        )


def test_glora_of_2023_has_the_other_orientation() -> None:
    """Then: ΔW = b2·b1 + (W·a2)·a1. A square layer whose rank is smaller than its width stays unambiguous."""
    for shape in ((48, 24), (16, 16)):
        layer = nn.Linear(shape[1], shape[0]).requires_grad_(False)
        a1, a2 = torch.randn(3, shape[1]), torch.randn(shape[1], 3)
        b1, b2 = torch.randn(3, shape[1]), torch.randn(shape[0], 3)
        tensors = {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2, "alpha": torch.tensor(6.0)}
        expected = (b2 @ b1 + layer.weight @ a2 @ a1) * 2.0
        patch, x = patch_of(tensors, layer), input_of(layer)
        assert torch.allclose(patch.delta(layer.weight, 1.0), expected, atol=1e-4)
        side = patch.bypass(x, layer, layer(x), 0.5)
        assert side is not None
        assert torch.allclose(layer(x) + side, with_change(layer, patch, 0.5, x), atol=1e-4)


def test_glora_with_a_core() -> None:
    """lycoris means to write one for convolutions; its own `tucker_weight_from_conv` is the reference."""
    from lycoris.functional import tucker_weight_from_conv

    layer = LAYERS["conv 3×3"].requires_grad_(False)
    a1, a2 = torch.randn(12, 3, 1, 1), torch.randn(3, 12, 1, 1)
    b1, b2, core = torch.randn(24, 3, 1, 1), torch.randn(3, 12, 1, 1), torch.randn(3, 3, 3, 3)
    names = ("a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight")
    patch, x = patch_of(dict(zip(names, (a1, a2, b1, b2, core), strict=True)), layer), input_of(layer)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    turned = torch.einsum("oihw,ij,jk->okhw", weight, a1[:, :, 0, 0], a2[:, :, 0, 0])
    assert torch.allclose(patch.delta(weight, 1.0), turned + tucker_weight_from_conv(b1, b2, core), atol=1e-4)
    side = patch.bypass(x, layer, layer(x), 1.0)
    assert side is not None
    assert torch.allclose(layer(x) + side, with_change(layer, patch, 1.0, x), atol=1e-3)


def test_full_and_bias_differences() -> None:
    layer = LAYERS["linear"].requires_grad_(False)
    diff, diff_b = torch.randn(48, 24), torch.randn(48)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    both = patch_of({"diff": diff, "diff_b": diff_b}, layer)
    assert torch.equal(both.delta(weight, 0.5), diff * 0.5)
    change = both.bias_delta(0.5)
    assert change is not None
    assert torch.equal(change, diff_b * 0.5)
    alone, x = patch_of({"diff_b": diff_b}, layer), input_of(layer)
    assert alone.delta(weight, 1.0).abs().max() == 0
    side = alone.bypass(x, layer, layer(x), 1.0)
    assert side is not None
    assert torch.allclose(side, diff_b.expand(2, 5, 48))
    low = patch_of(
        {"lora_up.weight": torch.randn(48, 2), "lora_down.weight": torch.randn(2, 24), "diff_b": diff_b}, layer
    )
    side = low.bypass(x, layer, layer(x), 0.5)
    assert side is not None
    assert torch.allclose(layer(x) + side, with_change(layer, low, 0.5, x), atol=1e-5)


def test_norm_changes_weight_and_bias() -> None:
    for layer in (nn.GroupNorm(2, 8), nn.LayerNorm(8)):
        w, b = torch.randn(8), torch.randn(8)
        patch = patch_of({"w_norm": w, "b_norm": b}, layer)
        assert patch.kind == "Norm"
        assert torch.equal(patch.delta(layer.weight, 2.0), w * 2)
        change = patch.bias_delta(2.0)
        assert change is not None
        assert torch.equal(change, b * 2)
        assert patch_of({"w_norm": w}, layer).bias_delta(1.0) is None
        # Extracted differences of norms come under the name of Full.
        assert torch.equal(patch_of({"diff": w, "diff_b": b}, layer).delta(layer.weight, 1.0), w)


def test_the_butterfly_orders_columns_as_peft_does() -> None:
    """peft stacks several stages only where its CUDA kernel was built; its permutations need no kernel."""
    guard_torchvision()
    from peft.tuners.boft.layer import BOFTLayer

    for size, count, stages in ((4, 8, 3), (2, 16, 4), (6, 4, 2)):
        for stage in range(stages):
            expected = BOFTLayer.block_butterfly_perm(None, size * count, count // 2**stage, size // 2, stages - 1)
            assert butterfly(size * count, size, stage).tolist() == expected.tolist()


def test_several_butterfly_stages_of_peft() -> None:
    """With peft's own permutations and Cayley map, as its forward pass composes them."""
    guard_torchvision()
    from peft.tuners.boft.layer import BOFTLayer

    layer, size, count, stages = nn.Linear(32, 12).requires_grad_(False), 4, 8, 3
    blocks, growth = torch.randn(stages, count, size, size) * 0.3, torch.rand(12, 1) + 0.5
    turn = torch.eye(32)
    for stage in range(stages):
        order = BOFTLayer.block_butterfly_perm(None, 32, count // 2**stage, size // 2, stages - 1)
        swap = BOFTLayer.perm2mat(None, order)
        turn = swap @ torch.block_diag(*BOFTLayer.cayley_batch(None, blocks[stage])) @ swap.T @ turn
    expected = (turn @ layer.weight.T).T * growth - layer.weight
    patch = patch_of({"boft_R": blocks, "boft_s": growth}, layer)
    assert torch.allclose(patch.delta(layer.weight, 1.0), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({"lora_up.weight": (48, 3), "lora_down.weight": (4, 24)}, Damaged),
        ({"lora_up.weight": (48, 3)}, Incomplete),
        ({"lora_down.weight": (3, 24)}, Incomplete),
        ({"lora_up.weight": (48,), "lora_down.weight": (4, 24)}, Damaged),
        ({"lora_up.weight": (320, 4), "lora_down.weight": (4, 768)}, Misfit),
        ({"lora_up.weight": (48, 4), "lora_down.weight": (4, 24), "dora_scale": (49, 1)}, Misfit),
        ({"lora_up.weight": (48, 4), "lora_down.weight": (4, 24), "diff_b": (7,)}, Misfit),
        ({"lora_up.weight": (48, 4), "lora_down.weight": (4, 24), "lora_mid.weight": (5, 4, 3, 3)}, Damaged),
        ({"hada_w1_a": (48, 3), "hada_w1_b": (3, 24), "hada_w2_a": (48, 3)}, Incomplete),
        ({"hada_w1_a": (48, 3), "hada_w1_b": (2, 24), "hada_w2_a": (48, 3), "hada_w2_b": (3, 24)}, Damaged),
        ({"hada_w1_a": (49, 3), "hada_w1_b": (3, 24), "hada_w2_a": (49, 3), "hada_w2_b": (3, 24)}, Misfit),
        ({"lokr_w1": (4, 4)}, Incomplete),
        ({"lokr_w1": (4, 4), "lokr_w2": (9, 6)}, Misfit),
        ({"lokr_w1": (4, 4), "lokr_w2_a": (12, 2), "lokr_w2_b": (3, 6)}, Damaged),
        ({"a1.weight": (24, 3), "a2.weight": (4, 24), "b1.weight": (48, 3), "b2.weight": (3, 24)}, Damaged),
        ({"a1.weight": (25, 3), "a2.weight": (3, 25), "b1.weight": (48, 3), "b2.weight": (3, 24)}, Misfit),
        ({"on_input": ()}, Incomplete),
        ({"on_input": (), "weight": (7,)}, Misfit),
        ({"oft_blocks": (6, 8, 7)}, Damaged),
        ({"oft_blocks": (5, 9, 9)}, Misfit),
        ({"oft_R": (6, 5)}, Damaged),
        ({"oft_R": (7, 6)}, Misfit),
        ({"oft_blocks": (5, 6, 8, 8)}, Damaged),
        ({"boft_R": (1, 7, 4, 4)}, Misfit),
        ({"diff": (48, 25)}, Misfit),
        ({"w_norm": (48,)}, Misfit),
        ({"alpha": ()}, Incomplete),
    ],
)
def test_tensors_that_do_not_belong_are_told_apart(tensors: dict[str, tuple[int, ...]], error: type) -> None:
    target = target_of(LAYERS["linear"])
    for device in ("meta", "cpu"):
        parts = Parts({name: torch.zeros(shape, device=device) for name, shape in tensors.items()})
        with pytest.raises(error) as caught:
            read_patch(parts, target)
        assert str(caught.value)


def test_a_kind_refuses_layers_that_it_does_not_know() -> None:
    norm = target_of(nn.GroupNorm(2, 8))
    with pytest.raises(Misfit):
        read_patch(Parts({"lora_up.weight": torch.zeros(8, 2), "lora_down.weight": torch.zeros(2, 1)}), norm)


def test_every_kind_is_tested_here() -> None:
    assert {kind.title for kind in KINDS} - {case.split(" ")[0].rstrip(",") for case in MODULES} == {"Norm"}
