"""“Did you mean …?” offers only what can be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import StudioError
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.store.store import open_store
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_single_controlnet, write_tiny_controlnet


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """One good ControlNet and one good LoRA, among files that are cut off, no models, or of another kind."""
    settings = make_settings(tmp_path)
    models = settings.models_dir
    made = write_tiny_controlnet(models / "controlnet" / "good-canny", models / "checkpoints" / TINY, seed=1)
    cut = write_single_controlnet(made, models / "controlnet" / "cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-1000])
    for kind, name in (("controlnet", "garbage"), ("loras", "junk"), ("checkpoints", "trash"), ("vae", "waste")):
        (models / kind).mkdir(exist_ok=True)
        (models / kind / f"{name}.safetensors").write_bytes(b"no model at all" * 20)
    place = "lora_unet_mid_block_attentions_0_proj_in"
    lora = {f"{place}.lora_up.weight": torch.zeros(64, 2), f"{place}.lora_down.weight": torch.zeros(2, 64)}
    save_file(lora, models / "loras" / "good-ink.safetensors")
    save_file({"conv_in.weight": torch.zeros(4, 4, 3, 3)}, models / "loras" / "isunet.safetensors")
    return Library(settings, open_store(settings.state_dir).library)


@pytest.mark.parametrize("asked", ["cu", "garbag", "nothing"])
def test_of_controlnets(library: Library, asked: str) -> None:
    with pytest.raises(StudioError) as caught:
        ControlShelf(library).find(asked, "controlnet")
    assert caught.value.code == "control_unknown"
    assert "“cut”" not in caught.value.hint
    assert "garbage" not in caught.value.hint
    assert "good-canny" in caught.value.hint or "easel-canny" in caught.value.hint
    with pytest.raises(StudioError) as caught:
        ControlShelf(library).find("good-cany", "ip_adapter")
    assert "good-canny" not in caught.value.hint, "it is no IP-Adapter"


@pytest.mark.parametrize("asked", ["nope", "isune", "jun"])
def test_of_adapters(library: Library, asked: str) -> None:
    with pytest.raises(StudioError) as caught:
        library.adapters.find(asked)
    assert caught.value.code == "adapter_unknown"
    assert "isunet" not in caught.value.hint
    assert "junk" not in caught.value.hint
    assert "“" in caught.value.hint


def test_of_models_and_vaes(library: Library) -> None:
    with pytest.raises(StudioError) as caught:
        library.find_model("tras")
    assert "trash" not in caught.value.hint
    with pytest.raises(StudioError) as caught:
        library.find_vae("wast")
    assert "waste" not in caught.value.hint
