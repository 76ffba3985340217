"""ControlNet files: told by their headers, refused before loading where they do not fit, loaded in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelFileError
from engine.families.families import CONFIGS
from engine.library.control_files import UNION_PARTS, control_facts
from engine.library.control_types import type_of_name
from engine.library.controlnets import misfit
from engine.library.entries import ModelEntry
from engine.library.folders import identify_folder
from engine.library.headers import TensorInfo
from engine.library.identify import identify, identify_file
from engine.library.layouts import FoundFolder
from engine.library.models import FamilyConfigs, Naming, build_entry
from engine.library.scan import look_at
from engine.loading.controlnet import load_controlnet
from engine.protocol.library import FileView
from tests.support.tiny_models import (
    write_single_controlnet,
    write_tiny_controlnet,
    write_tiny_sd1,
    write_tiny_sd2,
    write_tiny_sdxl,
)

WRITERS = {"sd1": write_tiny_sd1, "sd2": write_tiny_sd2, "sdxl": write_tiny_sdxl}


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder and a ControlNet folder for it."""
    base = tmp_path_factory.mktemp(request.param)
    model = WRITERS[request.param](base / "model")
    return model, write_tiny_controlnet(base / "control", model, seed=5)


def unet_config(model: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model / "unet" / "config.json").read_text())
    return config


def assert_same(ours: torch.nn.Module, folder: Path) -> None:
    reference = diffusers.ControlNetModel.from_pretrained(folder).state_dict()
    state = ours.state_dict()
    assert state.keys() == reference.keys()
    assert all(torch.equal(state[name], value) for name, value in reference.items())


@pytest.mark.parametrize("layout", ["folder", "original", "bare original", "diffusers file", "pickle"])
def test_every_layout_is_loaded_bit_for_bit(made: tuple[Path, Path], layout: str, tmp_path: Path) -> None:
    model, folder = made
    path = folder
    if layout == "pickle":
        file = write_single_controlnet(folder, tmp_path / "one.safetensors")
        path = tmp_path / "one.pth"
        torch.save(load_file(file), path)
        # A pickle does not tell shapes, and the tiny embedding of the hint is not the usual one.
        with pytest.raises(ModelFileError):
            load_controlnet(path, unet_config(model), title="one")
        return
    if layout != "folder":
        original, prefix = "original" in layout, "" if "bare" in layout else "control_model."
        path = write_single_controlnet(folder, tmp_path / "one.safetensors", original=original, prefix=prefix)
    loaded = load_controlnet(path, unet_config(model), title="one")
    assert_same(loaded, folder)
    assert not loaded.training
    assert control_facts(path).hint_channels == (4, 8, 16)
    assert control_facts(path).hint_scale == 4


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_original_layout_is_what_diffusers_reads(family: str, tmp_path: Path) -> None:
    """diffusers' own conversion gives the same weights back (it knows only the usual depth of the hint's embedding)."""
    model = WRITERS[family](tmp_path / "model")
    folder = write_tiny_controlnet(tmp_path / "control", model, conditioning_embedding_out_channels=(4, 8, 8, 16))
    file = write_single_controlnet(folder, tmp_path / "one.safetensors")
    theirs = diffusers.ControlNetModel.from_single_file(str(file), config=str(folder), local_files_only=True)
    assert_same(theirs, folder)


def test_full_size_original_files_are_told_by_their_header(tmp_path: Path) -> None:
    """The names and shapes of control_v11p_sd15_canny, without its weights."""
    from engine.families.keys import controlnet_name

    config = json.loads((CONFIGS / "sd1" / "unet" / "config.json").read_text())
    with torch.device("meta"):
        net = diffusers.ControlNetModel.from_unet(
            diffusers.UNet2DConditionModel.from_config(config), load_weights_from_unet=False
        )
    tensors = {
        controlnet_name(name, net.config).name: TensorInfo("F16", tuple(value.shape))
        for name, value in net.state_dict().items()
    }
    assert len(tensors) == len(net.state_dict()) == 340
    for name in (
        "control_model.input_hint_block.14.weight", "control_model.zero_convs.11.0.bias",
        "control_model.middle_block_out.0.weight", "control_model.time_embed.2.weight",
        "control_model.input_blocks.0.0.weight", "control_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    ):  # fmt: skip
        assert name in tensors
    identity = identify(tensors, {}, "control_v11p_sd15_canny.safetensors")
    assert (identity.kind, identity.family, identity.problem) == ("controlnet", "sd1", "")


def entry(path: Path) -> ModelEntry:
    return build_entry(look_at(path, FoundFolder("checkpoint", path.parent, "")), Naming(path.name), FamilyConfigs())


def view(title: str, family: str) -> FileView:
    return FileView(id=title, title=title, kind="controlnet", family=family)


def test_a_unit_of_another_family_is_refused_with_a_sentence(tmp_path: Path) -> None:
    model = write_tiny_sdxl(tmp_path / "big")
    facts = control_facts(write_tiny_controlnet(tmp_path / "control", write_tiny_sd1(tmp_path / "small")))
    said = misfit(view("control_v11p_sd15_canny", "sd1"), facts, entry(model))
    assert said == "control_v11p_sd15_canny is for SD 1.x, the model is SDXL."
    said = misfit(view("canny", ""), facts, entry(model))
    assert said == "canny was made for another model: it reads text of width 32, big 80."
    assert misfit(view("canny", ""), facts, entry(tmp_path / "small")) == ""


def test_a_hint_of_another_scale_is_refused(tmp_path: Path) -> None:
    model = write_tiny_sd1(tmp_path / "small")
    other = write_tiny_controlnet(tmp_path / "eight", model, conditioning_embedding_out_channels=(4, 8, 8, 16))
    said = misfit(view("eight", "sd1"), control_facts(other), entry(model))
    assert "8 times smaller" in said
    assert "4 times" in said


def control(names: list[str], **shapes: tuple[int, ...]) -> dict[str, TensorInfo]:
    return {name: TensorInfo("F16", shapes.get(name, (4, 4))) for name in names}


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["lora_controlnet", "input_blocks.1.0.in_layers.2.down", "input_hint_block.0.weight"], "Control-LoRA"),
        (["controlnet_cond_embedding.conv_in.weight", "control_add_embedding.linear_1.weight"], "union"),
        (["controlnet_cond_embedding.conv_in.weight", "task_embedding"], "union"),
        (["control_model.input_blocks.0.0.weight", "difference"], "differences"),
        (["controlnet_x_embedder.weight", "transformer_blocks.0.attn.to_q.weight"], "Flux"),
        (["lllite_unet_input_blocks_4_1.conditioning1.0.weight"], "LLLite"),
    ],
)
def test_variants_that_cannot_be_run_say_so_at_the_scan(names: list[str], word: str) -> None:
    identity = identify(control(names), {}, "file.safetensors")
    assert word in identity.problem
    assert identity.problem.endswith(".")


@pytest.mark.parametrize("shape", [(8,), (0, 320), (2, 4, 4)])
def test_a_union_of_impossible_shapes_is_damaged(shape: tuple[int, ...]) -> None:
    names = ["controlnet_cond_embedding.conv_in.weight", *UNION_PARTS]
    problem = identify(control(names, task_embedding=shape), {}, "file.safetensors").problem
    assert problem == "file.safetensors is a damaged union ControlNet; fetch it again."


def test_what_is_missing_or_of_another_shape_is_told(made: tuple[Path, Path], tmp_path: Path) -> None:
    model, folder = made
    file = write_single_controlnet(folder, tmp_path / "one.safetensors")
    weights = load_file(file)
    name = next(key for key in weights if "zero_convs.1" in key)
    save_file({key: value for key, value in weights.items() if key != name}, file)
    with pytest.raises(ModelFileError) as caught:
        load_controlnet(file, unet_config(model), title="one")
    assert caught.value.code == "model_parts_missing"
    wide = {**unet_config(model), "block_out_channels": (64, 64)}
    with pytest.raises(ModelFileError):
        load_controlnet(file, wide, title="one")
    with pytest.raises(ModelFileError) as caught:
        load_controlnet(tmp_path / "gone.safetensors", unet_config(model), title="one")
    assert caught.value.code == "model_file_missing"


def test_folders_are_told_by_their_config(made: tuple[Path, Path]) -> None:
    assert identify_folder(made[1]).kind == "controlnet"
    assert identify_file(next(made[1].glob("*.safetensors"))).kind == "controlnet"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("control_v11p_sd15_canny", "canny"), ("control_v11f1p_sd15_depth", "depth"),
        ("control_v11p_sd15_openpose", "openpose"), ("control_v11p_sd15_scribble", "scribble"),
        ("control_v11f1e_sd15_tile", "tile"), ("control_v11p_sd15s2_lineart_anime", "lineart"),
        ("control_v11p_sd15_lineart", "lineart"), ("control_v11p_sd15_softedge", "softedge"),
        ("control_v11p_sd15_mlsd", "mlsd"), ("control_v11p_sd15_normalbae", "normal"),
        ("control_v11e_sd15_shuffle", "shuffle"), ("control_v11p_sd15_inpaint", "inpaint"),
        ("control_v11p_sd15_seg", "seg"), ("control_v11e_sd15_ip2p", "ip2p"),
        ("controlnet-depth-sdxl-1.0", "depth"), ("sd_control_collection_pose", "openpose"),
        ("canny", "canny"), ("my purpose", ""), ("diffusion_pytorch_model", ""),
    ],
)  # fmt: skip
def test_types_are_told_by_names(name: str, kind: str) -> None:
    assert type_of_name(name) == kind
