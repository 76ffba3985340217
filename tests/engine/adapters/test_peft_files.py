"""Files written by peft: the output of a whole model agrees with peft's own, kind by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.adapters.file import read_adapter
from engine.adapters.modules import targets_of
from engine.loading.torchvision_guard import guard_torchvision
from tests.engine.adapters.conftest import LoadParts, unet_output
from tests.engine.adapters.merging import merge

pytestmark = pytest.mark.usefixtures("same_numbers")

LINEAR = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "time_emb_proj"]
LAYERS = [*LINEAR, "conv1", "conv2", "proj_in", "conv_shortcut"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("LoraConfig", {"r": 4, "lora_alpha": 8}),
    "LoRA, rank-stabilised": ("LoraConfig", {"r": 4, "lora_alpha": 8, "use_rslora": True}),
    "LoRA by pattern": (
        "LoraConfig",
        {
            "r": 4,
            "lora_alpha": 8,
            "rank_pattern": {"to_q": 2, "mid_block.*conv1": 3},
            "alpha_pattern": {"to_q": 5, "mid_block.*conv1": 9},
        },
    ),
    "LoRA with bias": ("LoraConfig", {"r": 4, "lora_alpha": 8, "lora_bias": True}),
    "DoRA": ("LoraConfig", {"r": 4, "lora_alpha": 8, "use_dora": True}),
    "LoHa": ("LoHaConfig", {"r": 3, "alpha": 5}),
    "LoHa with a core": ("LoHaConfig", {"r": 3, "alpha": 5, "use_effective_conv2d": True}),
    "LoKr": ("LoKrConfig", {"r": 2, "alpha": 5}),
    "LoKr, both decomposed": ("LoKrConfig", {"r": 1, "alpha": 5, "decompose_both": True, "decompose_factor": 4}),
    "LoKr with a core": ("LoKrConfig", {"r": 2, "alpha": 5, "use_effective_conv2d": True}),
    "OFT": ("OFTConfig", {"oft_block_size": 4, "r": 0}),
    "OFT by inverse": ("OFTConfig", {"oft_block_size": 4, "r": 0, "use_cayley_neumann": False}),
    "OFT, three terms": ("OFTConfig", {"oft_block_size": 4, "r": 0, "num_cayley_neumann_terms": 3}),
    "OFT, shared blocks": ("OFTConfig", {"oft_block_size": 4, "r": 0, "block_share": True}),
    "BOFT": ("BOFTConfig", {"boft_block_size": 4}),
    "(IA)³": ("IA3Config", {"feedforward_modules": ["ff.net.2", "conv1"]}),
    "(IA)³ on outputs": ("IA3Config", {"feedforward_modules": []}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """peft's BOFT would compile a CUDA kernel where it finds a compiler; without one it does the same in torch."""
    guard_torchvision()
    monkeypatch.setattr("peft.tuners.boft.layer.get_fbd_cuda", lambda: None)


def write(case: str, unet: torch.nn.Module, folder: Path) -> Any:
    """peft's model, saved in the folder."""
    import peft

    name, settings = CASES[case]
    model = peft.get_peft_model(unet, getattr(peft, name)(target_modules=LAYERS, **settings))
    for parameter_name, parameter in model.named_parameters():
        if any(mark in parameter_name for mark in ("lora_", "hada_", "lokr_", "oft_", "boft_", "ia3_")):
            noise = torch.randn_like(parameter) * 0.1
            parameter.data = noise if parameter.abs().max() == 0 else parameter.data + noise * 0.3
    model.eval().save_pretrained(folder)
    return model


@pytest.mark.parametrize("case", list(CASES))
def test_a_model_answers_as_under_peft(case: str, load_parts: LoadParts, tmp_path: Path) -> None:
    theirs, ours = load_parts("sd1")["unet"], {"unet": load_parts("sd1")["unet"]}
    model = write(case, theirs, tmp_path)
    targets = targets_of(ours, family="sd1")
    adapter = read_adapter(tmp_path / "adapter_model.safetensors", targets, title="It")
    assert adapter.report.unmatched == ()
    assert {targets.modules[key].kind for key in adapter.patches} == {"linear", "conv"}
    # peft's OFT turns a convolution's unfolded input and folds it back, which its own merged weight does not do.
    expected = unet_output(model.merge_and_unload() if name_of(case) == "OFTConfig" else theirs)
    before = unet_output(ours["unet"])
    merge(adapter, ours)
    assert (expected - before).abs().max() > 1e-3, "the adapter does nothing, so nothing is compared"
    difference = (unet_output(ours["unet"]) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5


def name_of(case: str) -> str:
    return CASES[case][0]
