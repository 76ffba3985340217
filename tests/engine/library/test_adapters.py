"""Adapters of the library: real small files, what is told of them, and the names by which they are found."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.errors import ModelFileError, NotFoundError, SpecError
from engine.library import library as library_module
from engine.library import scan as scan_module
from engine.library.adapter_kinds import kind_and_rank
from engine.library.adapters import adapter_identity
from engine.library.headers import TensorInfo
from engine.library.library import Library
from engine.library.previews import CoverFolder
from engine.settings import parse_settings
from engine.store.store import Store, open_store
from tests.support.adapter_files import cover, write_lora

Open = Callable[..., Library]


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "models" / "loras"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def open_library(tmp_path: Path) -> Iterator[Open]:
    made: list[tuple[Library, Store]] = []

    def make(**sections: Any) -> Library:
        sections.setdefault("paths", {})["data"] = str(tmp_path / "data")
        settings = parse_settings(sections)
        store = open_store(settings.state_dir)
        made.append((Library(settings, store.library), store))
        return made[-1][0]

    yield make
    for library, store in made:
        library.close()
        store.close()


def mine(library: Library) -> list[str]:
    """Ids of the test's own adapters: the starter kit may bring some."""
    return [e.view.id for e in library.adapters.entries if "starter" not in e.path.parts]


def shapes(**named: tuple[int, ...]) -> dict[str, TensorInfo]:
    return {name.replace("__", "."): TensorInfo("F16", shape) for name, shape in named.items()}


@pytest.mark.parametrize(
    ("tensors", "kind", "rank"),
    [
        (shapes(lora_unet_a__lora_down__weight=(4, 320), lora_unet_a__lora_up__weight=(320, 4)), "LoRA", 4),
        (shapes(unet__a__lora_A__weight=(8, 320), unet__a__lora_B__weight=(320, 8)), "LoRA", 8),
        (shapes(unet__a__processor__to_q_lora__down__weight=(4, 320)), "LoRA", 4),
        (shapes(lora_unet_a__lora_down__weight=(16, 320, 3, 3)), "LoCon", 16),
        (shapes(lora_unet_a__lora_down__weight=(16, 320, 1, 1)), "LoRA", 16),
        (shapes(lora_unet_a__hada_w1_b=(4, 320), lora_unet_a__hada_w1_a=(320, 4)), "LoHa", 4),
        (shapes(lora_unet_a__lokr_w1=(4, 4), lora_unet_a__lokr_w2_b=(6, 80)), "LoKr", 6),
        (shapes(lora_unet_a__oft_blocks=(4, 80, 80)), "OFT", None),
        (shapes(lora_unet_a__oft_blocks=(2, 4, 80, 80)), "BOFT", None),
        (shapes(lora_unet_a__on_input=(), lora_unet_a__weight=(320, 1)), "(IA)³", None),
        (shapes(lora_unet_a__b1__weight=(4, 320), lora_unet_a__a1__weight=(4, 320)), "GLoRA", 4),
        (shapes(lora_unet_a__diff=(320, 320)), "Full", None),
        (shapes(lora_unet_a__w_norm=(320,)), "Norm", None),
        (shapes(lora_unet_a__lora_down__weight=(4, 320), lora_unet_a__dora_scale=(320, 1)), "DoRA", 4),
        (shapes(a__lora_down__weight=(4, 3), b__hada_w1_b=(3, 4)), "mixed", 3),
        (shapes(a__weight=(4, 3)), "", None),
    ],
)
def test_kinds_and_ranks(tensors: dict[str, TensorInfo], kind: str, rank: int | None) -> None:
    assert kind_and_rank(tensors)[:2] == (kind, rank)


def test_a_view_tells_what_the_file_and_its_neighbours_say(loras: Path, open_library: Open) -> None:
    tags = {"10_ink": {"ink wash": 20, "1girl": 20, "mountain": 7}}
    metadata = {
        "ss_tag_frequency": json.dumps(tags),
        "ss_output_name": "last",
        "modelspec.title": "Ink Wash",
        "modelspec.usage_hint": "Best at a strength of 0.7.",
        "ss_base_model_version": "sd_v1",
    }
    write_lora(loras / "people" / "Ink_V2.safetensors", metadata=metadata)
    Image.new("RGB", (8, 8), "blue").save(loras / "people" / "Ink_V2.preview.png")
    entry = open_library().adapters.find("Ink_V2")
    view = entry.view
    assert (view.id, view.title, view.file, view.folder) == (
        "Ink_V2",
        "Ink Wash",
        "people/Ink_V2.safetensors",
        "people",
    )
    assert (view.kind, view.rank, view.family, view.default_weight) == ("LoRA", 2, "sd1", 0.7)
    # What stands at every picture names the adapter; what stands at every picture of half the world does not.
    assert view.trigger_words == ("ink wash",)
    assert entry.sure_words == ("ink wash",)
    assert view.tags == ("ink wash", "1girl", "mountain")
    assert view.has_preview
    assert entry.cover is not None
    assert entry.cover.name == "Ink_V2.preview.png"


@pytest.mark.parametrize(
    ("ending", "content", "words", "sure", "weight", "title"),
    [
        (".json", {"activation text": "ink, wash", "preferred weight": 0.6}, ("ink, wash",), 1, 0.6, "x"),
        (".civitai.info", {"trainedWords": ["red", "blue"], "model": {"name": "C"}}, ("red", "blue"), 1, 1.0, "C"),
        (
            ".metadata.json",
            {"civitai": {"trainedWords": ["red"]}, "usage_tips": '{"strength": 0.4}', "model_name": "M"},
            ("red",),
            1,
            0.4,
            "M",
        ),
        (".swarm.json", {"modelspec.trigger_phrase": "go", "modelspec.title": "S"}, ("go",), 1, 1.0, "S"),
        (".cm-info.json", {"TrainedWords": ["a1", "b2"], "ModelName": "N"}, ("a1", "b2"), 1, 1.0, "N"),
    ],
)
def test_side_files_of_other_programs(
    loras: Path,
    open_library: Open,
    ending: str,
    content: dict[str, Any],
    words: tuple[str, ...],
    sure: int,
    weight: float,
    title: str,
) -> None:
    write_lora(loras / "x.safetensors")
    (loras / f"x{ending}").write_text(json.dumps(content))
    entry = open_library().adapters.find("x")
    assert (entry.view.trigger_words, len(entry.sure_words)) == (words, sure)
    assert (entry.view.default_weight, entry.view.title) == (weight, title)


def test_easels_own_side_file_and_a_changed_one(loras: Path, open_library: Open) -> None:
    write_lora(loras / "x.safetensors")
    side = loras / "x.easel.toml"
    side.write_text('name = "Nice"\ntrigger_words = ["one", "two"]\nweight = 0.9\ndescription = "Well."\n')
    library = open_library()
    entry = library.adapters.find("Nice")
    assert (entry.sure_words, entry.view.default_weight, entry.view.description) == (("one", "two"), 0.9, "Well.")
    side.write_text('name = "Nicer"\n')
    os.utime(side, ns=(1, 1))
    assert library.refresh()
    assert library.adapters.find("x").view.title == "Nicer"
    side.unlink()
    assert library.refresh()
    assert library.adapters.find("x").view.title == "x"


def test_a_damaged_side_file_hurts_nobody(loras: Path, open_library: Open) -> None:
    write_lora(loras / "x.safetensors")
    for ending in (".json", ".civitai.info", ".metadata.json", ".swarm.json", ".cm-info.json"):
        (loras / f"x{ending}").write_bytes(b'\xff{"trainedWords": 7, "civitai": [], "usage_tips": "["')
    assert open_library().adapters.find("x").view.problem == ""


def test_equal_names_in_two_folders_stay_apart(loras: Path, open_library: Open) -> None:
    same = {"ss_output_name": "last"}
    first = write_lora(loras / "a" / "ink.safetensors", seed=1, metadata=same)
    second = write_lora(loras / "b" / "ink.safetensors", seed=2, metadata=same)
    library = open_library()
    assert sorted(mine(library)) == ["b/ink", "ink"]
    shelf = library.adapters
    assert shelf.find("ink").path == first
    assert shelf.find("b/ink").path == shelf.find("b\\ink.safetensors").path == second
    with pytest.raises(SpecError) as caught:
        shelf.find("last")
    assert caught.value.code == "adapter_unknown", "what the trainer called both is not guessed at"
    assert "trainers of 2 adapters" in caught.value.message
    assert "“ink”" in caught.value.hint
    assert "“b/ink”" in caught.value.hint
    said = shelf.remark("ink", shelf.find("ink"))
    assert said == "2 files are called “ink”: a/ink.safetensors was taken. For the other write “b/ink”."
    assert shelf.remark("b/ink", shelf.find("b/ink")) == shelf.remark("a/ink", shelf.find("a/ink")) == ""


def test_what_a_trainer_called_it_is_its_last_name(loras: Path, open_library: Open) -> None:
    write_lora(loras / "renamed.safetensors", metadata={"ss_output_name": "Ink_V2"})
    named = write_lora(loras / "wash.safetensors", seed=1)
    write_lora(loras / "other.safetensors", seed=2, metadata={"ss_output_name": "wash"})
    shelf = open_library().adapters
    found = shelf.find("ink_v2")
    assert found.view.id == "renamed"
    assert shelf.remark("ink_v2", found) == "“ink_v2” is what its trainer called renamed.safetensors, which was taken."
    assert shelf.find("wash").path == named, "a file's own name counts more"
    assert shelf.remark("wash", shelf.find("wash")) == ""


def test_a_title_that_two_share_is_not_guessed_at(loras: Path, open_library: Open) -> None:
    for name in ("one", "two"):
        write_lora(loras / f"{name}.safetensors", metadata={"modelspec.title": "Same"})
    with pytest.raises(SpecError) as caught:
        open_library().adapters.find("same")
    assert "2 adapters" in caught.value.message
    assert "“one”" in caught.value.hint


def test_hashes_of_every_length_and_the_claim_of_the_metadata_find_it(loras: Path, open_library: Open) -> None:
    claimed = "ab" * 32
    path = write_lora(loras / "ink.safetensors", metadata={"sshs_model_hash": claimed})
    library = open_library()
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    entry = library.adapters.find("ink")
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry.view.hash == whole
    assert entry.view.auto_v3 == entry.auto_v3[:12] != whole[:12]
    for name in (
        whole[:10],
        whole[:12],
        whole,
        entry.view.auto_v3,
        entry.auto_v3,
        claimed[:12],
        f"other [{whole[:10]}]",
    ):
        assert library.adapters.find(name).path == path, name
    assert library.adapters.restore("renamed", entry.view.auto_v3) is library.adapters.find("ink")
    assert library.adapters.restore("ink", "0" * 12) is library.adapters.find("ink")
    assert library.adapters.restore("nobody", "") is None
    assert library.adapter_hashes(["ink", "gone"]) == {"ink": (whole, entry.auto_v3)}


def test_a_file_that_was_replaced_loses_its_hash(loras: Path, open_library: Open) -> None:
    path = write_lora(loras / "ink.safetensors", seed=1)
    library = open_library()
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    before = library.adapters.find("ink")
    write_lora(path, seed=2)
    os.utime(path, ns=(5, 5))
    assert library.refresh()
    after = library.adapters.find("ink")
    assert after.stamp != before.stamp
    assert library.wait_for_hashes(60)
    assert library.adapters.find("ink").view.hash == hashlib.sha256(path.read_bytes()).hexdigest() != before.view.hash


def test_what_is_no_adapter_has_a_sentence_and_the_others_go_on(loras: Path, open_library: Open) -> None:
    good = write_lora(loras / "good.safetensors")
    (loras / "short.safetensors").write_bytes(good.read_bytes()[:-40])
    (loras / "text.safetensors").write_text("this is a text, not a model, and long enough to be one")
    (loras / "pickle.safetensors").write_bytes(b"\x80\x04K\x01.")
    (loras / "empty.safetensors").write_bytes(b"")
    library = open_library()
    problems = {e.view.id: e.view.problem for e in library.adapters.entries if e.view.problem}
    assert set(problems) == {"short", "text", "pickle", "empty"}
    assert library.adapters.find("good").view.problem == ""
    with pytest.raises(ModelFileError) as caught:
        library.adapters.find("short")
    assert caught.value.code == "model_file_truncated"
    assert library.adapters.look_up("short").view.id == "short"


@pytest.mark.parametrize(
    ("name", "speed"),
    [
        ("LCM_15", "lcm"),
        ("sdxl_lightning_4step_lora", "lightning"),
        ("Hyper-SD15-8steps-lora", "hyper"),
        ("sd_xl_turbo_lora", "turbo"),
        ("tcd-sdxl", "tcd"),
        ("dmd2_sdxl_4step_lora", "dmd2"),
        ("lightning_storm", ""),
        ("hyperrealism", ""),
        ("welcome", ""),
    ],
)
def test_adapters_for_few_steps_are_known_by_their_names(
    loras: Path, open_library: Open, name: str, speed: str
) -> None:
    write_lora(loras / f"{name}.safetensors")
    assert open_library().adapters.find(name).facts.speed == speed


@pytest.mark.parametrize(
    ("metadata", "speed"),
    [
        ({"modelspec.title": "SDXL Lightning LoRA"}, "lightning"),
        ({"modelspec.description": "A LoRA distilled for LCM sampling"}, "lcm"),
        ({"modelspec.description": "An LCM-LoRA for SD 1.5"}, "lcm"),
        ({"ss_training_comment": "Hyper-SD LoRA, extracted"}, "hyper"),
        ({"modelspec.description": "A watercolour style. Works well with LCM and Turbo."}, ""),
        ({"ss_sd_model_name": "sd_xl_turbo_1.0.safetensors"}, ""),
    ],
)
def test_adapters_for_few_steps_are_known_by_what_their_trainers_wrote(
    loras: Path, open_library: Open, metadata: dict[str, str], speed: str
) -> None:
    write_lora(loras / "x.safetensors", metadata=metadata)
    assert open_library().adapters.find("x").facts.speed == speed


def test_a_file_with_the_hubs_name_is_known_by_its_folder(loras: Path, open_library: Open) -> None:
    folder = loras / "models--latent-consistency--lcm-lora-sdv1-5" / "snapshots" / "cf2f"
    write_lora(folder / "pytorch_lora_weights.safetensors")
    write_lora(loras / "lcm tests" / "ink.safetensors")
    shelf = open_library().adapters
    quick = shelf.find("pytorch_lora_weights").view.quick
    assert quick is not None
    assert (quick.sampler, quick.steps, quick.guidance) == ("lcm", 6, 1.5)
    assert shelf.find("ink").view.quick is None, "a file with a name of its own is not judged by its folder"


def test_published_files_are_known_by_their_hash_whatever_they_are_called(loras: Path, open_library: Open) -> None:
    write_lora(loras / "fast.safetensors")
    entry = open_library().adapters.find("fast")
    assert entry.view.quick is None
    hashed = entry.hashed("bf56cf2657efb15e465d81402ed481d1e11c4677e4bcce1bc11fe71ad8506b79", "0" * 64)
    assert hashed.view.quick is not None
    assert (hashed.view.quick.sampler, hashed.view.quick.steps) == ("euler", 4)


@pytest.mark.parametrize(
    ("modules", "rank", "prefix", "metadata", "few"),
    [
        (278, 64, "lora_unet_", {}, True),
        (278, 64, "lora_unet_", {"ss_network_module": "networks.lora"}, False),
        (278, 32, "lora_unet_", {}, False),
        (192, 64, "lora_unet_", {}, False),
        (278, 64, "lora_te_", {}, False),
    ],
)
def test_the_build_of_distillation_scripts_is_noticed(
    modules: int, rank: int, prefix: str, metadata: dict[str, str], few: bool
) -> None:
    tensors = {f"{prefix}m{place}.lora_down.weight": TensorInfo("F16", (rank, 320)) for place in range(modules)}
    identity = adapter_identity(tensors, metadata, "x.safetensors")
    assert identity.adapter is not None
    assert identity.adapter.speed == ("few" if few else "")


def test_shapes_tell_the_family_better_than_copied_metadata(loras: Path, open_library: Open) -> None:
    write_lora(loras / "x.safetensors", width=768, metadata={"ss_base_model_version": "sdxl_base_v1-0"})
    assert open_library().adapters.find("x").view.family == "sd1"


def test_covers_inside_the_metadata(loras: Path, tmp_path: Path, open_library: Open) -> None:
    write_lora(loras / "data.safetensors", metadata={"modelspec.thumbnail": f"data:image/jpeg;base64,{cover()}"})
    write_lora(loras / "list.safetensors", metadata={"ssmd_cover_images": json.dumps([cover("blue", (2000, 1000))])})
    bomb = base64.b64encode(b"no picture at all").decode()
    write_lora(loras / "bad.safetensors", metadata={"ssmd_cover_images": json.dumps([bomb])})
    shelf = open_library().adapters
    covers = CoverFolder(tmp_path / "covers")
    for name, size in (("data", (64, 48)), ("list", (768, 384))):
        entry = shelf.find(name)
        assert entry.view.has_preview
        file = covers.get(entry.path, entry.stamp)
        assert Image.open(file).size == size
        assert covers.get(entry.path, entry.stamp) == file
    with pytest.raises(NotFoundError) as caught:
        covers.get(shelf.find("bad").path, "1")
    assert caught.value.code == "preview_unknown"


def test_many_new_files_are_read_in_the_background(
    loras: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lora(loras / "a000.safetensors").read_bytes()
    for number in range(1, 30):
        (loras / f"a{number:03}.safetensors").write_bytes(source)
    monkeypatch.setattr(scan_module, "READ_AT_LEAST", 5)
    monkeypatch.setattr(library_module, "PATIENCE", -1.0)
    monkeypatch.setattr(library_module, "READ_AT_ONCE", 7)
    library = open_library()
    told: list[int] = []
    library.watch(lambda: told.append(len(mine(library))))
    library.refresh()
    assert library.wait_for_scan(30)
    assert len(mine(library)) == 30
    assert told[-1] == 30
    assert not library.adapters.scanning
    assert mine(open_library()) == mine(library), "the second start knows them all"


def test_a_studio_of_another_kind_is_used_in_place(tmp_path: Path, open_library: Open) -> None:
    other = tmp_path / "webui"
    (other / "models" / "Stable-diffusion").mkdir(parents=True)
    write_lora(other / "models" / "Lora" / "chars" / "ann.safetensors")
    comfy = tmp_path / "comfy"
    (comfy / "models" / "checkpoints").mkdir(parents=True)
    write_lora(comfy / "models" / "loras" / "bob.safetensors")
    library = open_library(paths={"extra": [str(other), str(comfy)]})
    views = {e.view.id: e.view.folder for e in library.adapters.entries}
    assert (views["ann"], views["bob"]) == ("chars", "")


def test_the_catalogue_comes_first(loras: Path, open_library: Open) -> None:
    path = write_lora(loras / "style.safetensors", metadata={"modelspec.trigger_phrase": "inside"})
    (loras / "style.json").write_text(json.dumps({"activation text": "beside", "preferred weight": 0.6}))
    listed = {"name": "Ink", "path": "models/loras/style.safetensors", "trigger_words": ["ink", "wash"]}
    library = open_library(catalogue={"loras": {"ink": listed, "lost": {"name": "Lost", "path": "lost.safetensors"}}})
    entry = library.adapters.find("ink")
    assert (entry.path, entry.view.title, entry.view.default_weight) == (path, "Ink", 0.8)
    assert entry.sure_words == ("ink", "wash")
    with pytest.raises(ModelFileError) as caught:
        library.adapters.find("lost")
    assert caught.value.code == "model_file_missing"
    assert library.path_of("adapter", "style") == path


def test_names_that_are_not_utf8_can_be_told(loras: Path, open_library: Open) -> None:
    source = write_lora(loras / "x.safetensors").read_bytes()
    try:
        Path(os.fsdecode(bytes(loras) + b"/bad\xff.safetensors")).write_bytes(source)
    except OSError:
        pytest.skip("this disk takes no such names")
    entries = open_library().adapters.entries
    assert all(entry.view.model_dump_json() for entry in entries)


def test_two_kinds_of_tensor_in_a_real_file(loras: Path, open_library: Open) -> None:
    name = "lora_unet_mid_block_attentions_0_proj_in"
    save_file({f"{name}.hada_w1_a": torch.zeros(8, 2), f"{name}.hada_w1_b": torch.zeros(2, 8)}, loras / "h.safetensors")
    view = open_library().adapters.find("h").view
    assert (view.kind, view.rank) == ("LoHa", 2)


def test_adapters_of_one_title_are_told_apart(loras: Path, open_library: Open) -> None:
    for name, title in (("first", "Twin"), ("second", "twin"), ("third", "Lonely")):
        write_lora(loras / f"{name}.safetensors", metadata={"modelspec.title": title})
    library = open_library()
    library.refresh()
    names = {each.view.id: each.view.name for each in library.adapters.entries if each.view.id in mine(library)}
    assert names == {"first": "Twin (first)", "second": "twin (second)", "third": "Lonely"}
    (loras / "second.safetensors").unlink()
    library.refresh()
    assert library.adapters.find("first").view.name == "Twin"
