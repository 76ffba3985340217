"""Files that were made load in plain diffusers and in the lycoris library, and do there what the stack does here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from engine.adapters.modules import targets_of
from engine.library.headers import read_header
from engine.merge.files import RecipeFiles
from engine.protocol.merge import (
    AdapterTarget,
    ConvertRecipe,
    ExtractRecipe,
    FileMetadata,
    MergeInput,
    MergeRecipe,
    Reduction,
)
from tests.engine.adapters.conftest import unet_output
from tests.engine.adapters.making import lora, write_adapter
from tests.engine.merge.conftest import entry_of, finish, nothing, stacked, worst
from tests.support.likeness import latents_psnr

pytestmark = pytest.mark.usefixtures("same_numbers")

COMPONENTS = {"sd1": ("unet", "text_encoder"), "sdxl": ("unet", "text_encoder", "text_encoder_2")}
PIPELINES = {"sd1": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


@pytest.mark.parametrize("reduction", [None, Reduction(rule="energy", keep=0.9)], ids=["equal ranks", "mixed ranks"])
@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_loads_all_of_it(family, layout, reduction, folders, load_parts, tmp_path, caplog) -> None:
    targets = targets_of(load_parts(family), family=family)
    choose = lambda key: "attn" in key[1] or "conv1" in key[1] or "resnets.0.conv2" in key[1]  # noqa: E731
    paths = [
        write_adapter(
            tmp_path / f"{seed}.safetensors", targets, lora, seed=seed, components=COMPONENTS[family], choose=choose
        )
        for seed in (1, 2)
    ]
    inputs = (MergeInput(name="1", weight=0.6), MergeInput(name="2", weight=-0.3))
    target = AdapterTarget(layout=layout, dtype="float32", reduction=reduction)
    method = "dynamic" if reduction else "weighted_sum"
    out = tmp_path / "out.safetensors"
    files = RecipeFiles({"1": paths[0], "2": paths[1]}, {"tiny": entry_of(folders[family], family)})
    report = finish(MergeRecipe(inputs=inputs, base="tiny", method=method, target=target), files, out)
    assert (len({each.rank for each in report.modules}) > 1) == bool(reduction)
    ours = stacked([out], [1.0], targets, nothing(targets))
    pipe = PIPELINES[family].from_pretrained(folders[family], safety_checker=None)
    parts = {name: getattr(pipe, name) for name in COMPONENTS[family]}
    before = {key: _module(parts, key).weight.detach().double().clone() for key in ours}
    pipe.load_lora_weights(out)
    assert not [record for record in caplog.records if "unexpected" in record.message.lower()]
    pipe.fuse_lora(components=list(parts))
    theirs = {key: _module(parts, key).weight.detach().double() - before[key] for key in ours}
    # Taken from a sum with float32 weights.
    assert worst(theirs, ours) < 1e-3
    assert len(ours) == len(report.modules)


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_paints_the_same_picture_with_it(family, layout, folders, load_parts, tmp_path) -> None:
    """diffusers alone: both inputs as its own adapters with their weights, then the merged file."""
    targets = targets_of(load_parts(family), family=family)
    paths = [
        write_adapter(tmp_path / f"{seed}.safetensors", targets, lora, seed=seed, choose=lambda key: ".to_" in key[1])
        for seed in (1, 2)
    ]
    out = tmp_path / "out.safetensors"
    inputs = (MergeInput(name="1", weight=0.4), MergeInput(name="2", weight=-0.3))
    files = RecipeFiles({"1": paths[0], "2": paths[1]}, {"tiny": entry_of(folders[family], family)})
    target = AdapterTarget(layout=layout, dtype="float32")
    finish(MergeRecipe(inputs=inputs, base="tiny", target=target), files, out)

    def painted(weights: dict[Path, float]) -> torch.Tensor:
        pipe = PIPELINES[family].from_pretrained(folders[family], safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        for path in weights:
            pipe.load_lora_weights(path, adapter_name=f"adapter_{path.stem}")
        if weights:
            pipe.set_adapters([f"adapter_{path.stem}" for path in weights], list(weights.values()))
        random = torch.Generator().manual_seed(3)
        answer = pipe("a hill", num_inference_steps=3, width=64, height=64, generator=random, output_type="latent")
        return answer.images.double()

    stack, merged, plain = painted(dict(zip(paths, (0.4, -0.3), strict=True))), painted({out: 1.0}), painted({})
    assert latents_psnr(merged, stack) >= 80.0
    assert latents_psnr(plain, stack) < 60.0


def _module(parts, key):
    component, path = key
    for spelling in (path, path.removeprefix("text_model."), f"text_model.{path}"):
        try:
            module = parts[component].get_submodule(spelling)
        except AttributeError:
            continue
        return getattr(module, "base_layer", module)
    raise AssertionError(key)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_lycoris_library_does_with_it_what_the_stack_does(kind, folders, load_parts, tmp_path) -> None:
    import lycoris

    targets = targets_of(load_parts("sd1"), family="sd1")
    paths = [write_adapter(tmp_path / f"{seed}.safetensors", targets, lora, seed=seed) for seed in (1, 2)]
    files = RecipeFiles({"1": paths[0], "2": paths[1]}, {"tiny": entry_of(folders["sd1"], "sd1")})
    out = tmp_path / "out.safetensors"
    inputs = (MergeInput(name="1", weight=0.3), MergeInput(name="2", weight=-0.2))
    target = AdapterTarget(kind=kind, layout="lycoris", dtype="float32")
    finish(MergeRecipe(inputs=inputs, base="tiny", target=target), files, out)
    theirs, ours = load_parts("sd1")["unet"], load_parts("sd1")["unet"]
    network, _ = lycoris.create_lycoris_from_weights(1.0, str(out), theirs)
    network.apply_to()
    assert len(network.loras) == len(read_header(paths[0]).tensors) // 3
    for key, delta in stacked(paths, [0.3, -0.2], targets, nothing(targets)).items():
        ours.get_submodule(key[1]).weight.data += delta.float()
    assert torch.allclose(unet_output(theirs), unet_output(ours), atol=1e-4, rtol=1e-4)


def test_the_lycoris_library_reads_an_extracted_lokr(folders, load_parts, tmp_path) -> None:
    import lycoris

    targets = targets_of(load_parts("sd1"), family="sd1")
    path = write_adapter(
        tmp_path / "in.safetensors", targets, lora, choose=lambda key: key[0] == "unet" and "attn" in key[1]
    )
    files = RecipeFiles({"in": path}, {"tiny": entry_of(folders["sd1"], "sd1")})
    out = tmp_path / "out.safetensors"
    inputs = (MergeInput(name="in", weight=0.5),)
    recipe = ExtractRecipe(inputs=inputs, base="tiny", kind="lokr", layout="lycoris", dtype="float32")
    report = finish(recipe, files, out)
    theirs, ours = load_parts("sd1")["unet"], load_parts("sd1")["unet"]
    network, _ = lycoris.create_lycoris_from_weights(1.0, str(out), theirs)
    network.apply_to()
    assert len(network.loras) == len(report.modules) > 5
    assert {each.kind for each in report.modules} == {"LoKr"}
    before = unet_output(ours)
    for key, delta in stacked([out], [1.0], targets, nothing(targets)).items():
        ours.get_submodule(key[1]).weight.data += delta.float()
    assert torch.allclose(unet_output(theirs), unet_output(ours), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, unet_output(ours), atol=1e-3)


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["kohya", "diffusers", "lycoris"])
def test_converting_there_and_back_keeps_every_change(layout, dtype, folders, load_parts, tmp_path) -> None:
    targets = targets_of(load_parts("sdxl"), family="sdxl")
    source = write_adapter(
        tmp_path / "in.safetensors", targets, lora, components=COMPONENTS["sdxl"], dtype=torch.float16
    )
    entry = entry_of(folders["sdxl"], "sdxl")
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    files = RecipeFiles({"in": source, "there": there}, {"tiny": entry})
    finish(ConvertRecipe(input="in", base="tiny", layout=layout, dtype=dtype), files, there)
    finish(ConvertRecipe(input="there", base="tiny", layout="kohya", dtype="float32"), files, back)
    wanted = stacked([source], [1.0], targets, nothing(targets))
    limit = {None: 1e-3, "float32": 1e-6, "bfloat16": 1e-2}[dtype]
    assert worst(stacked([back], [1.0], targets, nothing(targets)), wanted) < limit


def test_a_converted_file_has_a_title_of_its_own(folders, load_parts, tmp_path) -> None:
    targets = targets_of(load_parts("sd1"), family="sd1")
    source = write_adapter(tmp_path / "a.safetensors", targets, lora)
    save_file(load_file(source), source, metadata={"modelspec.title": "Ink", "modelspec.license": "MIT"})
    files = RecipeFiles({"a": source}, {"m": entry_of(folders["sd1"], "sd1")})
    finish(ConvertRecipe(input="a", base="m"), files, tmp_path / "ink copy.safetensors")
    told = read_header(tmp_path / "ink copy.safetensors").metadata
    assert (told["modelspec.title"], told["modelspec.license"]) == ("ink copy", "MIT")
    finish(ConvertRecipe(input="a", base="m", metadata=FileMetadata(title="Mine")), files, tmp_path / "b.safetensors")
    assert read_header(tmp_path / "b.safetensors").metadata["modelspec.title"] == "Mine"


@pytest.mark.parametrize("task", ["merge", "convert"])
def test_the_text_encoder_is_left_out_where_that_is_asked_for(task, folders, load_parts, tmp_path) -> None:
    targets = targets_of(load_parts("sdxl"), family="sdxl")
    path = write_adapter(tmp_path / "in.safetensors", targets, lora, components=COMPONENTS["sdxl"])
    files = RecipeFiles({"in": path}, {"tiny": entry_of(folders["sdxl"], "sdxl")})
    out = tmp_path / "out.safetensors"
    if task == "merge":
        target = AdapterTarget(text_encoders=False, dtype="float32")
        recipe = MergeRecipe(inputs=(MergeInput(name="in"),), base="tiny", target=target)
    else:
        recipe = ConvertRecipe(input="in", base="tiny", text_encoders=False)
    finish(recipe, files, out)
    assert {name.split("_")[1] for name in read_header(path).tensors} == {"unet", "te", "te2"}
    assert {name.split("_")[1] for name in read_header(out).tensors} == {"unet"}
    wanted = stacked([path], [1.0], targets, nothing(targets))
    found = stacked([out], [1.0], targets, nothing(targets))
    assert worst(found, {key: value for key, value in wanted.items() if key[0] == "unet"}) < 1e-6
