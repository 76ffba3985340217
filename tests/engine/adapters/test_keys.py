"""Spellings of module names: each resolves to the module that its writer (or diffusers' own translation) means."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapters.file import read_adapter
from engine.adapters.keys import DIALECTS
from engine.adapters.keys.spelling import Spelling
from engine.adapters.keys.table import name_table, original_name
from engine.adapters.modules import ModuleKey, Targets, targets_of
from engine.families.families import CONFIGS, read_config
from engine.loading.components import build
from engine.loading.torchvision_guard import guard_torchvision
from tests.engine.adapters.conftest import LoadParts, unet_output
from tests.engine.adapters.merging import merge

KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


@pytest.fixture(scope="module")
def sdxl() -> Targets:
    parts = ("unet", "text_encoder", "text_encoder_2")
    return targets_of({part: build(part, read_config(CONFIGS / "sdxl", part), "it") for part in parts})


def parse(name: str) -> Spelling | None:
    return next((found for dialect in DIALECTS if (found := dialect(name)) is not None), None)


def find(name: str, targets: Targets) -> tuple[ModuleKey | None, str]:
    spelling = parse(name)
    assert spelling is not None, name
    return name_table(targets).find(spelling), spelling.suffix


def layers(targets: Targets) -> list[ModuleKey]:
    return [key for key, target in targets.modules.items() if target.kind in ("linear", "conv")]


def test_kohya_names_of_every_layer_in_both_spellings_of_the_unet(sdxl: Targets) -> None:
    table = name_table(sdxl)
    for component, path in layers(sdxl):
        spelt = {path}
        if component == "unet":
            original = original_name(path, sdxl)
            assert original is not None
            spelt.add(original)
        for name in spelt:
            spelling = parse(KOHYA[component] + name.replace(".", "_") + ".lora_up.weight")
            assert spelling is not None
            assert table.find(spelling) == (component, path)


def test_no_two_modules_share_a_name(sdxl: Targets) -> None:
    counts = Counter((component, path.replace(".", "_")) for component, path in sdxl.modules)
    assert max(counts.values()) == 1


def test_diffusers_translates_original_names_to_the_modules_that_we_find(sdxl: Targets) -> None:
    """From kohya's SDXL names in diffusers' own two steps to its old names, then to peft's: all mean one module."""
    guard_torchvision()
    from diffusers.loaders import lora_conversion_utils as conversion
    from diffusers.utils.state_dict_utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft

    class Config:
        layers_per_block = 2

    table = name_table(sdxl)
    marked: dict[float, ModuleKey] = {}
    kohya: dict[str, torch.Tensor] = {}
    # diffusers' translation is made for attention blocks, resnets and text encoders.
    wanted = [key for key in layers(sdxl) if key[0] != "unet" or "_blocks" in key[1] or "mid_block" in key[1]]
    wanted = [key for key in wanted if "text_projection" not in key[1]]
    for number, key in enumerate(wanted):
        component, path = key
        name = original_name(path, sdxl) if component == "unet" else path
        assert name is not None
        stem = KOHYA[component] + name.replace(".", "_")
        marked[float(number)] = key
        for side in ("lora_down", "lora_up"):
            kohya[f"{stem}.{side}.weight"] = torch.tensor(float(number))
    mapped = conversion._maybe_map_sgm_blocks_to_diffusers(dict(kohya), Config())
    old, _ = conversion._convert_non_diffusers_lora_to_diffusers(mapped)
    assert len(old) == len(kohya)
    unet = {name.removeprefix("unet."): value for name, value in old.items() if name.startswith("unet.")}
    text = {name: value for name, value in old.items() if not name.startswith("unet.")}
    new = {f"unet.{name}": value for name, value in convert_unet_state_dict_to_peft(unet).items()}
    new.update(convert_state_dict_to_peft(text))
    for names in (old, new):
        for name, value in names.items():
            spelling = parse(name)
            assert spelling is not None, name
            assert table.find(spelling) == marked[float(value)], name
            assert spelling.suffix in ("lora_down.weight", "lora_up.weight")
    assert any(".processor.to_q_lora.down" in name for name in old)
    assert any(".lora_A." in name for name in new)


@pytest.mark.parametrize(
    ("name", "module", "suffix"),
    [
        ("unet.{}.lora_A.weight", "{}", "lora_down.weight"),
        ("unet.{}.lora_B.default.weight", "{}", "lora_up.weight"),
        ("unet.{}.lora_B.bias", "{}", "lora_up.bias"),
        ("unet.{}.lora.down.weight", "{}", "lora_down.weight"),
        ("{}.lora.up.weight", "{}", "lora_up.weight"),
        ("unet.{}.lora_magnitude_vector", "{}", "magnitude"),
        ("unet.{}.lora_magnitude_vector.weight", "{}", "magnitude"),
        ("unet.{}.lora_magnitude_vector.default.weight", "{}", "magnitude"),
        ("unet.{}.alpha", "{}", "alpha"),
        ("unet.{}.dora_scale", "{}", "dora_scale"),
        ("unet.{}.lora_down.weight", "{}", "lora_down.weight"),
        ("base_model.model.{}.lora_A.weight", "{}", "lora_down.weight"),
        ("base_model.model.{}.lora_A.default.weight", "{}", "lora_down.weight"),
        ("base_model.model.unet.{}.lora_A.weight", "{}", "lora_down.weight"),
        ("unet.base_model.model.{}.lora_B.default.weight", "{}", "lora_up.weight"),
        ("base_model.model.{}.hada_w1_a", "{}", "hada_w1_a"),
        ("base_model.model.{}.lokr_w2_b.default", "{}", "lokr_w2_b"),
        ("base_model.model.{}.oft_R.weight", "{}", "oft_R"),
        ("base_model.model.{}.oft_R.default.weight", "{}", "oft_R"),
        ("base_model.model.{}.boft_R", "{}", "boft_R"),
        ("base_model.model.{}.ia3_l", "{}", "ia3_l"),
        ("diffusion_model.{ldm}.lora_A.weight", "{}", "lora_down.weight"),
        ("model.diffusion_model.{ldm}.diff_b", "{}", "diff_b"),
        ("lora_unet_{_}.alpha", "{}", "alpha"),
        ("lora_unet_{_}.weight", "{}", "weight"),
        ("lora_unet_{ldm_}.hada_t1", "{}", "hada_t1"),
        ("lycoris_{_}.lokr_w1", "{}", "lokr_w1"),
        ("lycoris_unet_{_}.lokr_w1", "{}", "lokr_w1"),
        ("oft_unet_{_}.oft_blocks", "{}", "oft_blocks"),
        ("lora_unet_{_}.lora_mid.weight", "{}", "lora_mid.weight"),
        ("lora_unet_{_}.bm.weight", "{}", "bm.weight"),
    ],
)
def test_spellings_of_one_module(name: str, module: str, suffix: str, sdxl: Targets) -> None:
    path = "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0"
    ldm = "input_blocks.8.1.transformer_blocks.9.attn2.to_out.0"
    spelt = name.replace("{_}", path.replace(".", "_")).replace("{ldm_}", ldm.replace(".", "_"))
    spelt = spelt.replace("{ldm}", ldm).replace("{}", path)
    assert find(spelt, sdxl) == (("unet", module.format(path)), suffix)


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("lora_te_text_model_encoder_layers_3_self_attn_q_proj.alpha", "text_encoder"),
        ("lora_te1_text_model_encoder_layers_3_self_attn_q_proj.alpha", "text_encoder"),
        ("lora_te2_text_model_encoder_layers_3_self_attn_q_proj.alpha", "text_encoder_2"),
        ("lora_te2_encoder_layers_3_self_attn_q_proj.alpha", "text_encoder_2"),
        ("text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_A.weight", "text_encoder"),
        ("text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.lora_A.weight", "text_encoder_2"),
        ("text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_linear_layer.up.weight", "text_encoder"),
        ("text_encoder.text_model.encoder.layers.3.self_attn.to_q_lora.up.weight", "text_encoder"),
        ("text_encoder_2.encoder.layers.3.self_attn.q_proj.lora_A.weight", "text_encoder_2"),
        ("base_model.model.text_model.encoder.layers.3.self_attn.q_proj.lora_A.weight", "text_encoder"),
        ("base_model.model.text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.ia3_l", "text_encoder_2"),
        ("lycoris_text_model_encoder_layers_3_self_attn_q_proj.hada_w1_a", "text_encoder"),
    ],
)
def test_spellings_of_text_encoders(name: str, component: str, sdxl: Targets) -> None:
    assert find(name, sdxl)[0] == (component, "text_model.encoder.layers.3.self_attn.q_proj")


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "lora_unet_", "lora_unet_.alpha", "lora_unet_x", "lora_unet_x.", "lora_unet_x.what",
        "lora_unet_x.lora_up", "unet.x.what", "unet.", "base_model.model.x",
        "diffusion_model.x.y", "down_blocks.0.weight", "a" * 5000,
        "unet." + "x." * 3000 + "lora_A.weight2", "lora_unet_x.lora_A.a.b.weight",
    ],
)  # fmt: skip
def test_what_nobody_spells_is_nobodys(name: str) -> None:
    assert parse(name) is None


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_files_of_the_kohya_network_of_lycoris(family: str, load_parts: LoadParts, tmp_path: Path) -> None:
    """Text encoders too: their outputs and the UNet's are those of the library."""
    from lycoris import kohya

    theirs, ours = load_parts(family), load_parts(family)
    encoders = [theirs[name] for name in ("text_encoder", "text_encoder_2") if name in theirs]
    text: Any = encoders if family == "sdxl" else encoders[0]
    torch.manual_seed(1)
    network = kohya.create_network(1.0, 4, 2.0, None, text, theirs["unet"], algo="lokr", preset="attn-mlp")
    network.apply_to(text, theirs["unet"], True, True)
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2
    file = tmp_path / "it.safetensors"
    network.eval().save_weights(str(file), torch.float32, {"ss_base_model_version": "it"})
    names = {name.split("_")[1] for name in load_file(file)}
    assert names == ({"unet", "te1", "te2"} if family == "sdxl" else {"unet", "te"})
    adapter = read_adapter(file, targets_of(ours, family=family), title="It")
    assert adapter.report.unmatched == ()
    assert [each.component for each in adapter.report.components] == list(ours)
    merge(adapter, ours)
    words = torch.arange(7)[None]
    with torch.no_grad():
        for name in ours:
            if name == "unet":
                expected, found = unet_output(theirs[name], family), unet_output(ours[name], family)
            else:
                expected, found = theirs[name](words)[0], ours[name](words)[0]
            assert (expected - found).abs().max() / expected.abs().max() < 1e-5


def test_files_that_diffusers_saves(load_parts: LoadParts, tmp_path: Path) -> None:
    """With the alpha of each module in the metadata, where new versions keep it."""
    guard_torchvision()
    import peft
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers

    theirs, ours = load_parts("sd1"), load_parts("sd1")
    torch.manual_seed(1)
    configs = {
        "unet": peft.LoraConfig(
            r=4, lora_alpha=7, target_modules=["to_q", "conv1"], init_lora_weights=False, alpha_pattern={"conv1": 3}
        ),
        "text_encoder": peft.LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj", "fc1"], init_lora_weights=False),
    }
    for name, config in configs.items():
        theirs[name].add_adapter(config)  # type: ignore[operator]
    states = {name: peft.get_peft_model_state_dict(theirs[name]) for name in configs}
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=convert_state_dict_to_diffusers(states["unet"]),
        text_encoder_lora_layers=convert_state_dict_to_diffusers(states["text_encoder"]),
        unet_lora_adapter_metadata=_plain(configs["unet"].to_dict()),
        text_encoder_lora_adapter_metadata=_plain(configs["text_encoder"].to_dict()),
    )
    file = tmp_path / "pytorch_lora_weights.safetensors"
    adapter = read_adapter(file, targets_of(ours, family="sd1"), title="It")
    assert adapter.report.unmatched == ()
    merge(adapter, ours)
    words = torch.arange(7)[None]
    with torch.no_grad():
        assert torch.allclose(theirs["text_encoder"](words)[0], ours["text_encoder"](words)[0], atol=1e-5)
    assert torch.allclose(unet_output(theirs["unet"]), unet_output(ours["unet"]), atol=1e-5)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, set) else value for name, value in config.items()}


def test_a_dialect_may_change_within_a_file(targets: dict[str, Targets], tmp_path: Path) -> None:
    file = tmp_path / "mixed.safetensors"
    path = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"lora_unet_{path.replace('.', '_')}.lora_up.weight": torch.ones(64, 2),
         f"unet.{path}.lora_A.weight": torch.ones(2, 64)}, file
    )  # fmt: skip
    adapter = read_adapter(file, targets["sd1"], title="It")
    assert list(adapter.patches) == [("unet", path)]
