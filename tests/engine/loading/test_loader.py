"""Components come out of folders and single files whole: the same weights, offline, or one clear sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelFileError
from engine.families.families import family
from engine.library.entries import ModelEntry, VaeEntry
from engine.loading.loader import component_key, load_component, load_vae, nbytes
from engine.loading.torchvision_guard import guard_torchvision
from engine.protocol.library import FileView
from tests.support.network import NetworkUsed
from tests.support.tiny_models import write_single_file, write_tiny_sd1, write_tiny_sdxl

from .conftest import EntryOf

FAMILIES = ("sd1", "sd2", "sdxl")
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}


def stored(folder: Path, part: str) -> dict[str, torch.Tensor]:
    return load_file(folder / part / f"{WEIGHTS[part]}.safetensors")


def same(module: Any, weights: dict[str, torch.Tensor]) -> bool:
    state = module.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in weights)


def refusal(entry: ModelEntry, part: str) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        load_component(entry, part)
    assert caught.value.message.endswith(".")
    return caught.value


@pytest.mark.parametrize("form", ["", ".safetensors"])
@pytest.mark.parametrize("family_id", FAMILIES)
def test_every_part_loads_with_sockets_blocked(
    tiny: Path, entry_of: EntryOf, family_id: str, form: str, no_network: None
) -> None:
    entry = entry_of(tiny / f"{family_id}{form}")
    assert entry.view.problem == ""
    for part in entry.family.parts:
        component = load_component(entry, part)
        if part in WEIGHTS:
            assert same(component, stored(tiny / family_id, part)), part
            assert not component.training
            assert not any(parameter.requires_grad or parameter.is_meta for parameter in component.parameters())
            assert not any(buffer.is_meta for buffer in component.buffers())
            assert nbytes(component) == sum(value.nbytes for value in component.state_dict().values()) + _other(
                component
            )


def _other(module: Any) -> int:
    """Buffers that are not stored, such as position ids."""
    return sum(value.nbytes for name, value in module.named_buffers() if name not in module.state_dict())


def test_the_block_on_the_network_is_real(no_network: None) -> None:
    import socket

    with pytest.raises(NetworkUsed):
        socket.socket()
    with pytest.raises(NetworkUsed):
        socket.create_connection(("127.0.0.1", 9))


def test_tokenizers_are_clips(tiny: Path, entry_of: EntryOf, no_network: None) -> None:
    for name in ("sdxl", "sdxl.safetensors"):
        entry = entry_of(tiny / name)
        first, second = (load_component(entry, part) for part in ("tokenizer", "tokenizer_2"))
        for tokenizer in (first, second):
            assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
            assert tokenizer.model_max_length == 77
        assert (first.pad_token_id, second.pad_token_id) == (49407, 0)


def test_what_is_loaded_computes_what_diffusers_own_loading_does(
    tiny: Path, entry_of: EntryOf, no_network: None
) -> None:
    """Text encoder, UNet and VAE: the same numbers up to rounding (mapped weights lie at other addresses, so kernels
    may add in another order), and the very same numbers whenever the same file is loaded again."""
    guard_torchvision()
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    entry, folder = entry_of(tiny / "sd1.safetensors"), tiny / "sd1"
    ids = load_component(entry, "tokenizer")("a cat", return_tensors="pt").input_ids
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))

    def numbers(encoder: Any, unet: Any, vae: Any) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            text = encoder(ids).last_hidden_state
            noise = unet(latents, 5, encoder_hidden_states=text).sample
            return text, noise, vae.decode(latents).sample

    def ours() -> tuple[torch.Tensor, ...]:
        return numbers(*(load_component(entry, part) for part in ("text_encoder", "unet", "vae")))

    theirs = numbers(
        CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True),
        UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True),
        AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True),
    )
    first = ours()
    for our, their, again in zip(first, theirs, ours(), strict=True):
        assert torch.allclose(our, their, rtol=0, atol=1e-5)
        assert torch.equal(our, again)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_come_in_the_wanted_dtype(tiny: Path, entry_of: EntryOf, dtype: torch.dtype) -> None:
    entry = entry_of(tiny / "sd1.safetensors")
    for part in ("unet", "vae", "text_encoder"):
        component = load_component(entry, part, dtype=dtype)
        assert {value.dtype for value in component.parameters()} == {dtype}
        assert component.dtype == dtype


def test_a_float16_file_loads_as_float32(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    path = write_single_file(tiny / "sd1", tmp_path / "half.safetensors", dtype=torch.float16)
    unet = load_component(entry_of(path), "unet")
    expected = {name: value.half().float() for name, value in stored(tiny / "sd1", "unet").items()}
    assert same(unet, expected)


def test_changing_loaded_weights_leaves_the_file_as_it_is(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copyfile(tiny / "sd1.safetensors", path)
    shutil.copytree(tiny / "sd1.config", tmp_path / "model.config")
    before = path.read_bytes()
    entry = entry_of(path)
    unet = load_component(entry, "unet")
    unet.conv_in.weight.copy_(torch.ones_like(unet.conv_in.weight))
    assert path.read_bytes() == before
    assert same(load_component(entry, "unet"), stored(tiny / "sd1", "unet"))


def test_a_pickled_checkpoint_loads(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    entry = entry_of(write_single_file(tiny / "sd1", tmp_path / "old.ckpt"))
    for part in ("unet", "vae", "text_encoder"):
        assert same(load_component(entry, part), stored(tiny / "sd1", part)), part


@pytest.mark.parametrize("legacy", [False, True])
def test_a_payload_never_runs_even_when_the_scan_is_passed_by(
    tmp_path: Path, tiny: Path, entry_of: EntryOf, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "it ran"
    path = tmp_path / "bad.ckpt"
    torch.save(
        {"state_dict": {"x": torch.zeros(1)}, "evil": _Payload(trace)}, path, _use_new_zipfile_serialization=not legacy
    )
    entry = replace(entry_of(tiny / "sd1.safetensors"), path=path)
    assert refusal(entry, "unet").code == "model_file_unsafe"
    # torch's own refusal is the second wall: take the first away and look.
    monkeypatch.setattr("engine.loading.weights.read_pickle_names", lambda path: frozenset())
    assert refusal(entry, "unet").code == "model_file_unsafe"
    assert not trace.exists()


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_folder_parts_as_pickles_are_read_with_weights_only(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    shutil.copytree(tiny / "sd1", tmp_path / "model")
    unet = tmp_path / "model" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(stored(tiny / "sd1", "unet"), unet / "diffusion_pytorch_model.bin")
    assert same(load_component(entry_of(tmp_path / "model"), "unet"), stored(tiny / "sd1", "unet"))
    torch.save({"x": _Payload(tmp_path / "it ran")}, unet / "diffusion_pytorch_model.bin")
    assert refusal(entry_of(tmp_path / "model"), "unet").code == "model_file_unsafe"
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_a_text_encoder_without_its_prefix_is_mended(tmp_path: Path, tiny: Path, entry_of: EntryOf, part: str) -> None:
    shutil.copytree(tiny / "sdxl", tmp_path / "model")
    weights = stored(tiny / "sdxl", part)
    bare = {name.removeprefix("text_model."): value for name, value in weights.items()}
    assert bare.keys() != weights.keys()
    save_file(bare, tmp_path / "model" / part / "model.safetensors")
    assert same(load_component(entry_of(tmp_path / "model"), part), weights)


def test_a_single_file_without_the_inner_prefix_is_mended(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    weights = load_file(tiny / "sd1.safetensors")
    path = tmp_path / "model.safetensors"
    save_file({name.replace("transformer.text_model.", "transformer."): value for name, value in weights.items()}, path)
    shutil.copytree(tiny / "sd1.config", tmp_path / "model.config")
    assert same(load_component(entry_of(path), "text_encoder"), stored(tiny / "sd1", "text_encoder"))


def test_old_attention_names_of_a_vae_folder(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    shutil.copytree(tiny / "sd1", tmp_path / "model")
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights: dict[str, torch.Tensor] = {}
    for name, value in stored(tiny / "sd1", "vae").items():
        for new, before in old.items():
            name = name.replace(new, before)
        weights[name] = value
    save_file(weights, tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors")
    assert same(load_component(entry_of(tmp_path / "model"), "vae"), stored(tiny / "sd1", "vae"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("single", [False, True])
def test_a_missing_weight_is_refused_and_never_random(
    tmp_path: Path, tiny: Path, entry_of: EntryOf, part: str, single: bool
) -> None:
    prefixes = {
        "unet": "model.diffusion_model.middle",
        "vae": "first_stage_model.decoder.mid",
        "text_encoder": "cond_stage_model.transformer.text_model.final",
    }
    if single:
        path = tmp_path / "model.safetensors"
        weights = load_file(tiny / "sd1.safetensors")
        weights.pop(next(name for name in weights if name.startswith(prefixes[part])))
        save_file(weights, path)
        shutil.copytree(tiny / "sd1.config", tmp_path / "model.config")
    else:
        path = tmp_path / "model"
        shutil.copytree(tiny / "sd1", path)
        weights = stored(path, part)
        weights.popitem()
        save_file(weights, path / part / f"{WEIGHTS[part]}.safetensors")
    error = refusal(entry_of(path), part)
    assert error.code == "model_parts_missing"
    assert "lacks 1 of the" in error.message


def test_a_file_of_other_shapes_is_refused(tiny: Path, entry_of: EntryOf) -> None:
    """Without its config folder the tiny file would be taken for a full-size one: its shapes say otherwise."""
    entry = entry_of(tiny / "sd1.safetensors")
    full = replace(entry, config={}, config_dir=family("sd1").config_dir)
    assert refusal(full, "text_encoder").code in {"model_file_unsupported", "model_parts_missing"}


def test_a_file_that_went_away_or_was_cut(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copyfile(tiny / "sd1.safetensors", path)
    shutil.copytree(tiny / "sd1.config", tmp_path / "model.config")
    entry = entry_of(path)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 1000)
    assert refusal(entry, "unet").code == "model_file_truncated"
    path.unlink()
    assert refusal(entry, "unet").code == "model_file_missing"


def test_shards(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    import json

    shutil.copytree(tiny / "sd1", tmp_path / "model")
    unet = tmp_path / "model" / "unet"
    weights = stored(tiny / "sd1", "unet")
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    names = sorted(weights)
    shards = {
        "diffusion_pytorch_model-00001-of-00002.safetensors": names[::2],
        "diffusion_pytorch_model-00002-of-00002.safetensors": names[1::2],
    }
    for file, inside in shards.items():
        save_file({name: weights[name] for name in inside}, unet / file)
    index = {"weight_map": {name: file for file, inside in shards.items() for name in inside}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert same(load_component(entry_of(tmp_path / "model"), "unet"), weights)
    (unet / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    assert refusal(entry_of(tmp_path / "model"), "unet").code == "model_file_missing"


def test_a_vae_can_be_chosen(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    """As an original file, a diffusers file, a component folder, a model folder; each replaces the model's own."""
    other = write_tiny_sd1(tmp_path / "other", seed=7)
    expected = stored(other, "vae")
    assert not torch.equal(expected["decoder.conv_in.weight"], stored(tiny / "sd1", "vae")["decoder.conv_in.weight"])
    write_single_file(other, tmp_path / "original.safetensors", parts=("vae",), sidecar=False)
    bare = {
        name.removeprefix("first_stage_model."): value
        for name, value in load_file(tmp_path / "original.safetensors").items()
    }
    save_file(bare, tmp_path / "bare.safetensors")
    save_file(expected, tmp_path / "diffusers.safetensors")
    torch.save({"state_dict": bare}, tmp_path / "old.vae.pt")
    entry = entry_of(tiny / "sd1")
    for name in (
        "original.safetensors",
        "bare.safetensors",
        "diffusers.safetensors",
        "old.vae.pt",
        "other/vae",
        "other",
    ):
        path = tmp_path / name
        chosen = VaeEntry(FileView(id=name, title=name, kind="vae"), path, "1")
        assert same(load_component(entry, "vae", vae=chosen), expected), name
        assert same(load_component(replace(entry, vae_path=path), "vae"), expected), name
        assert same(load_vae(path, entry, dtype=torch.float32), expected), name


def test_keys_tell_equal_components_from_different_ones(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    entry = entry_of(tiny / "sd1")
    other = entry_of(write_tiny_sdxl(tmp_path / "other"))
    vae = VaeEntry(FileView(id="v", title="v", kind="vae"), tiny / "sd1" / "vae", "1")
    assert component_key(entry, "unet", torch.float32) == component_key(entry_of(tiny / "sd1"), "unet", torch.float32)
    assert component_key(entry, "unet", torch.float32) != component_key(entry, "unet", torch.float16)
    assert component_key(entry, "unet", torch.float32) != component_key(other, "unet", torch.float32)
    assert component_key(entry, "vae", torch.float32, vae) == component_key(other, "vae", torch.float32, vae)
    assert component_key(entry, "vae", torch.float32, vae) != component_key(entry, "vae", torch.float32)
    assert component_key(entry, "unet", torch.float32, vae) == component_key(entry, "unet", torch.float32)


def test_v_prediction_reaches_the_scheduler(tmp_path: Path, tiny: Path, entry_of: EntryOf) -> None:
    path = write_single_file(
        tiny / "sdxl", tmp_path / "v.safetensors", extra={"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    )
    config = load_component(entry_of(path), "scheduler")
    assert (config["prediction_type"], config["rescale_betas_zero_snr"]) == ("v_prediction", True)
    assert load_component(entry_of(tiny / "sdxl.safetensors"), "scheduler")["prediction_type"] == "epsilon"


def test_an_unknown_part_is_a_mistake_of_the_caller(tiny: Path, entry_of: EntryOf) -> None:
    with pytest.raises(ValueError, match="no part"):
        load_component(entry_of(tiny / "sd1"), "safety_checker")
