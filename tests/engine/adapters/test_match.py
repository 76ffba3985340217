"""The match report: tampered files, other families, and diffusers' own list of keys that fit nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from engine.adapters.match import Matching, match, match_names, report_of
from engine.adapters.modules import Targets, targets_of
from engine.families.families import CONFIGS, read_config
from engine.library.headers import Header, TensorInfo, read_header
from engine.loading.components import build
from engine.loading.torchvision_guard import guard_torchvision
from tests.engine.adapters.conftest import LoadParts


def header(shapes: dict[str, tuple[int, ...]], **metadata: str) -> Header:
    return Header({name: TensorInfo("F16", shape) for name, shape in shapes.items()}, metadata)


def lora_names(targets: Targets, *, rank: int = 2) -> dict[str, tuple[int, ...]]:
    """A LoRA over every linear layer and convolution, in kohya's spelling."""
    prefixes = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
    shapes: dict[str, tuple[int, ...]] = {}
    for (component, path), target in targets.modules.items():
        if target.kind in ("linear", "conv"):
            stem = prefixes[component] + path.replace(".", "_")
            ones = (1,) * (len(target.shape) - 2)
            shapes[f"{stem}.lora_up.weight"] = (target.shape[0], rank, *ones)
            shapes[f"{stem}.lora_down.weight"] = (rank, *target.shape[1:])
            shapes[f"{stem}.alpha"] = ()
    return shapes


def reasons(found: Matching) -> dict[str, str]:
    return {each.key: each.reason for each in found.loose}


def test_a_whole_file_fits_by_component(targets: dict[str, Targets]) -> None:
    shapes = lora_names(targets["sd1"])
    report = match(header(shapes), targets["sd1"], adapter_id="ink", title="Ink")
    assert (report.id, report.title, report.usable) == ("ink", "Ink", True)
    assert report.matched == report.total == len(shapes) // 3
    assert report.summary == f"All {report.total} modules fit."
    assert report.unmatched == ()
    kinds = [target.kind for (component, _), target in targets["sd1"].modules.items() if component == "unet"]
    unet = report.components[0]
    assert (unet.component, unet.matched, unet.conv) == ("unet", unet.total, kinds.count("conv"))
    assert [each.component for each in report.components] == ["unet", "text_encoder"]


def test_every_tampered_key_is_told_with_its_reason(targets: dict[str, Targets]) -> None:
    shapes = lora_names(targets["sd1"])
    stems = list(dict.fromkeys(name.split(".")[0] for name in shapes))
    renamed, reshaped, halved, foreign = stems[3], stems[7], stems[9], stems[11]
    for suffix in ("lora_up.weight", "lora_down.weight", "alpha"):
        shapes[f"{renamed}_more.{suffix}"] = shapes.pop(f"{renamed}.{suffix}")
        shapes[f"lora_te3_{foreign}.{suffix}"] = shapes.pop(f"{foreign}.{suffix}")
    up = shapes[f"{reshaped}.lora_up.weight"]
    shapes[f"{reshaped}.lora_up.weight"] = (up[0] + 8, *up[1:])
    del shapes[f"{halved}.lora_down.weight"]
    shapes[f"{stems[0]}.hada_w1_a"] = (1, 1)
    shapes["what.is.this"] = (1,)
    shapes["bundle_emb.word.string_to_param.*"] = (2, 32)
    found = match_names(header(shapes), targets["sd1"])
    assert reasons(found) == {
        **{f"{renamed}_more.{suffix}": "missing" for suffix in ("lora_up.weight", "lora_down.weight", "alpha")},
        **{f"{reshaped}.{suffix}": "shape" for suffix in ("lora_up.weight", "lora_down.weight", "alpha")},
        **{f"{halved}.{suffix}": "incomplete" for suffix in ("lora_up.weight", "alpha")},
        **{f"lora_te3_{foreign}.{suffix}": "family" for suffix in ("lora_up.weight", "lora_down.weight", "alpha")},
        f"{stems[0]}.hada_w1_a": "unknown",
        "what.is.this": "unknown",
    }
    assert found.embeddings == ("bundle_emb.word.string_to_param.*",)
    report = report_of(found, targets["sd1"])
    assert report.usable
    assert report.matched == len(stems) - 4
    assert report.total == len(stems) + 1, "the unknown key counts for itself"
    assert report.summary.startswith(f"{report.matched} of {report.total} modules fit: ")
    told = {each.reason: each for each in report.unmatched}
    assert len(told) == 5
    assert any("made for" in reason for reason in told)
    assert {each.count for each in report.unmatched} == {1, 2}
    assert sum(each.matched for each in report.components) == report.matched


def test_every_key_is_either_used_or_told(targets: dict[str, Targets]) -> None:
    names = list(lora_names(targets["sdxl"]))

    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shapes = lora_names(targets["sdxl"])
        for name in data.draw(st.lists(st.sampled_from(names), max_size=8, unique=True)):
            way = data.draw(st.sampled_from(["drop", "rename", "reshape"]))
            shape = shapes.pop(name)
            if way == "rename":
                shapes[name + data.draw(st.text(max_size=4)) + "x"] = shape
            elif way == "reshape":
                shapes[name] = (*shape, data.draw(st.integers(0, 5)))
        found = match_names(header(shapes), targets["sdxl"])
        used = [name for names in found.modules.values() for name in names.values()]
        told = [each.key for each in found.loose]
        assert len(set(used)) == len(used)
        assert not set(used) & set(told)
        if not found.damaged:
            assert set(used) | set(told) == set(shapes)
        report = report_of(found, targets["sdxl"])
        assert report.summary
        assert report.matched == len(found.modules) <= report.total

    check()


@pytest.fixture(scope="module")
def full() -> dict[str, Targets]:
    result: dict[str, Targets] = {}
    for family in ("sd1", "sdxl"):
        parts = [name for name in ("unet", "text_encoder", "text_encoder_2") if (CONFIGS / family / name).is_dir()]
        result[family] = targets_of({part: build(part, read_config(CONFIGS / family, part), "it") for part in parts})
    return result


def test_an_adapter_of_another_family_is_told_in_one_sentence(full: dict[str, Targets]) -> None:
    """At full size some modules have equal names and shapes by chance; that makes no adapter usable."""
    for made, model, sentence in (
        ("sdxl", "sd1", "Made for SDXL, the model is SD 1.x: "),
        ("sd1", "sdxl", "Made for SD 1.x, the model is SDXL: "),
    ):
        report = match(header(lora_names(full[made])), full[model])
        assert 0 < report.matched < report.total
        assert not report.usable
        assert report.summary.startswith(sentence)
        assert len(report.unmatched) == 1
    assert match(header(lora_names(full["sd1"])), full["sd1"]).usable


def test_the_family_in_the_metadata_is_only_a_hint(targets: dict[str, Targets]) -> None:
    shapes = lora_names(targets["sd1"])
    wrongly = match(header(shapes, ss_base_model_version="sdxl_base_v1-0"), targets["sd1"])
    assert wrongly.usable, "all of it fits"
    del shapes[next(iter(shapes))]
    assert not match(header(shapes, ss_base_model_version="sdxl_base_v1-0"), targets["sd1"]).usable


def test_nothing_fits(targets: dict[str, Targets]) -> None:
    report = match(header({"lora_unet_nothing.lora_up.weight": (2, 2)}), targets["sd1"])
    assert (report.usable, report.matched, report.total) == (False, 0, 1)
    assert report.summary == "None of 1 modules fits: the model has no module of that name."
    assert match(header({}), targets["sd1"]).summary == "The file changes no module."
    flux = match(header({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 8)}), targets["sd1"])
    assert flux.summary == "Made for Flux, the model is SD 1.x: 0 of 1 modules fit."


def test_ranks_that_differ_make_the_file_damaged(targets: dict[str, Targets]) -> None:
    shapes = lora_names(targets["sd1"])
    first = next(iter(shapes))
    shapes[first] = (shapes[first][0], 5, *shapes[first][2:])
    report = match(header(shapes), targets["sd1"])
    assert not report.usable
    assert report.summary.startswith("The file is damaged: in “lora_unet_")
    assert "ranks differ" in report.summary


def test_diffusers_names_the_same_keys(load_parts: LoadParts, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of diffusers with modules renamed to ones that the model lacks."""
    guard_torchvision()
    import peft
    from diffusers import UNet2DConditionModel
    from diffusers.utils import logging as diffusers_logging

    unet = load_parts("sd1")["unet"]
    assert isinstance(unet, UNet2DConditionModel)
    unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "conv1"], init_lora_weights=False))
    unet.save_lora_adapter(tmp_path, weight_name="it.safetensors")
    file = tmp_path / "it.safetensors"
    tensors = load_file(file)
    assert all(not name.startswith("unet.") for name in tensors)
    stems = sorted({name.split(".lora_")[0] for name in tensors})
    for stem in (stems[0], stems[5], stems[-1]):
        wrong = stem.replace("blocks.0", "blocks.7").replace("mid_block", "middle_part.mid_block")
        wrong = wrong if wrong != stem else f"{stem}.deeper"
        for side in ("lora_A", "lora_B"):
            tensors[f"{wrong}.{side}.weight"] = tensors.pop(f"{stem}.{side}.weight")
    save_file(tensors, file)
    plain = load_parts("sd1")
    diffusers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING, logger="diffusers"):
        plain["unet"].load_lora_adapter(file, prefix=None)  # type: ignore[operator]
    diffusers_logging.disable_propagation()
    told = next(record.getMessage() for record in caplog.records if "unexpected keys" in record.getMessage())
    theirs = {name.strip(" .") for name in told.split("model: ")[1].split(". Loading")[0].split(",")}
    theirs = {name.replace(".default_0", "") for name in theirs}
    found = match_names(read_header(file), targets_of(load_parts("sd1"), family="sd1"))
    assert {each.key for each in found.loose} == theirs
    assert len(theirs) == 6


def test_a_large_header_is_matched_quickly(full: dict[str, Targets]) -> None:
    import time

    shapes = header(lora_names(full["sdxl"]))
    match(shapes, full["sdxl"])
    before = time.perf_counter()
    match(shapes, full["sdxl"])
    assert time.perf_counter() - before < 2.0
