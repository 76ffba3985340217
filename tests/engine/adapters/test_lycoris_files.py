"""Files written by the lycoris library: ΔW, the side path, and the output of a whole model agree with its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.adapters.file import read_adapter
from engine.adapters.modules import targets_of
from tests.engine.adapters.conftest import LoadParts, unet_output
from tests.engine.adapters.merging import merge

pytestmark = pytest.mark.usefixtures("same_numbers")

CASES: dict[str, dict[str, Any]] = {
    "LoRA": {"algo": "lora"},
    "LoCon with Tucker": {"algo": "locon", "use_tucker": True},
    "LoRA with alpha 0": {"algo": "lora", "linear_alpha": 0, "conv_alpha": 0},
    "LoHa": {"algo": "loha"},
    "LoHa with Tucker": {"algo": "loha", "use_tucker": True},
    "LoKr": {"algo": "lokr", "linear_dim": 2, "conv_dim": 2},
    "LoKr, both decomposed": {"algo": "lokr", "linear_dim": 1, "conv_dim": 1, "decompose_both": True},
    "LoKr, factor 4": {"algo": "lokr", "linear_dim": 1, "conv_dim": 1, "decompose_both": True, "factor": 4},
    "LoKr with Tucker": {"algo": "lokr", "linear_dim": 2, "conv_dim": 2, "use_tucker": True},
    "LoKr, whole": {"algo": "lokr", "full_matrix": True, "linear_dim": 10000},
    "LoKr, unbalanced": {"algo": "lokr", "linear_dim": 2, "unbalanced_factorization": True, "factor": 4},
    "GLoRA": {"algo": "glora"},
    "(IA)³": {"algo": "ia3"},
    "OFT": {"algo": "diag-oft"},
    "OFT with a limit": {"algo": "diag-oft", "constraint": 0.001},
    "OFT with rescale": {"algo": "diag-oft", "rescaled": True},
    "BOFT": {"algo": "boft", "linear_dim": 8},
    "BOFT with a limit and rescale": {"algo": "boft", "linear_dim": 8, "constraint": 0.001, "rescaled": True},
    "Full": {"algo": "full"},
    "Norm": {"algo": "lora", "train_norm": True},
    "DoRA": {"algo": "lora", "dora_wd": True},
    "DoRA on the input": {"algo": "lora", "dora_wd": True, "wd_on_output": False},
    "DoRA over LoHa": {"algo": "loha", "dora_wd": True},
    "DoRA over LoKr on the input": {"algo": "lokr", "linear_dim": 2, "dora_wd": True, "wd_on_output": False},
}  # fmt: skip


def network_on(module: nn.Module, case: str) -> Any:
    """The library's adapter on a model, with random weights everywhere."""
    import lycoris

    settings = {"linear_dim": 4, "linear_alpha": 2.0, "conv_dim": 3, "conv_alpha": 2.0, **CASES[case]}
    lycoris.LycorisNetwork.apply_preset({"target_module": ["Linear", "Conv2d", "GroupNorm", "LayerNorm"]})
    network = lycoris.create_lycoris(module, 1.0, preset="full", **settings)
    network.apply_to()
    for name, parameter in network.named_parameters():
        noise = torch.randn_like(parameter) * 0.1
        parameter.data = parameter.data + noise * (0.1 if "dora" in name or "rescale" in name else 1.0)
    return network.eval().requires_grad_(False)


def save(network: Any, file: Path) -> Path:
    network.save_weights(str(file), None, {"ss_network_module": "lycoris.kohya"})
    return file


@pytest.mark.parametrize("case", list(CASES))
def test_a_model_answers_as_under_the_library(case: str, load_parts: LoadParts, tmp_path: Path) -> None:
    theirs, ours = load_parts("sd1")["unet"], {"unet": load_parts("sd1")["unet"]}
    network = network_on(theirs, case)
    file = save(network, tmp_path / "adapter.safetensors")
    targets = targets_of(ours, family="sd1")
    adapter = read_adapter(file, targets, title="It")
    assert adapter.report.unmatched == ()
    assert len(adapter.patches) == adapter.report.total == len(network.loras) > 30
    assert {targets.modules[key].kind for key in adapter.patches} >= {"linear", "conv"}
    expected, before = unet_output(theirs), unet_output(ours["unet"])
    merge(adapter, ours)
    assert (expected - before).abs().max() > 1e-3, "the adapter does nothing, so nothing is compared"
    difference = (unet_output(ours["unet"]) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5
