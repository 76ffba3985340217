"""The library with real tiny models and the real store: names, problems, catalogue, defaults, hashes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelFileError, SpecError
from engine.library.entries import ModelEntry
from engine.library.library import Library
from engine.library.scan import state_of
from engine.protocol.library import FileView, ModelDefaults
from engine.settings import parse_settings
from engine.store.store import Store, open_store
from tests.support.tiny_models import write_single_file, write_tiny_sd1, write_tiny_sdxl

Open = Callable[..., Library]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tiny")
    write_tiny_sd1(base / "sd1")
    write_single_file(base / "sd1", base / "sd1.safetensors", sidecar=True)
    write_tiny_sdxl(base / "sdxl")
    return base


@pytest.fixture
def data(tmp_path: Path, tiny: Path) -> Path:
    target = tmp_path / "data" / "models" / "checkpoints"
    target.mkdir(parents=True)
    shutil.copytree(tiny / "sd1", target / "folder-model")
    put_single(tiny, target / "file-model.safetensors")
    return tmp_path / "data"


@pytest.fixture
def open_library(tmp_path: Path) -> Iterator[Open]:
    stores: list[Store] = []
    libraries: list[Library] = []

    def make(data: Path, **sections: Any) -> Library:
        sections.setdefault("paths", {})["data"] = str(data)
        sections.setdefault("engine", {"default_model": "folder-model"})
        settings = parse_settings(sections)
        stores.append(open_store(settings.state_dir))
        libraries.append(Library(settings, stores[-1].library))
        return libraries[-1]

    yield make
    for library in libraries:
        library.close()
    for store in stores:
        store.close()


def own_adapters(library: Library) -> list[FileView]:
    """The adapters of the test: Easel's own come with it."""
    return [view for view in library.files("adapter") if not view.id.startswith("easel-")]


def put_single(tiny: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tiny / "sd1.safetensors", target)
    shutil.copytree(tiny / "sd1.config", target.with_suffix(".config"))


def entry_of(library: Library, model_id: str) -> ModelEntry:
    return next(entry for entry in library.models() if entry.view.id == model_id)


def lora(path: Path, width: int = 768, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{name}.lora_down.weight": torch.zeros(2, width), f"{name}.lora_up.weight": torch.zeros(4, 2)}
    save_file(tensors, path, metadata=metadata)
    return path


def test_folders_and_files_are_found(data: Path, open_library: Open) -> None:
    library = open_library(data)
    formats = {entry.view.id: entry.view.format for entry in library.models() if entry.view.id != "starter"}
    assert formats == {"folder-model": "diffusers", "file-model": "single_file"}
    entry = library.find_model("file-model")
    assert (entry.family.id, entry.view.dtype, entry.view.prediction_type) == ("sd1", "float32", "epsilon")
    assert entry.config["unet"]["block_out_channels"] == [32, 64]
    assert entry.config["scheduler"]["prediction_type"] == "epsilon"


def test_refresh_tells_changes_and_opens_unchanged_files_never_again(
    data: Path, tiny: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = open_library(data)
    assert library.refresh()
    assert not library.refresh()
    put_single(tiny, data / "models" / "checkpoints" / "new.safetensors")
    read: list[str] = []
    monkeypatch.setattr("engine.library.scan.identify_file", lambda path: read.append(path.name) or _identity())
    assert library.refresh()
    assert read == ["new.safetensors"]


@pytest.mark.parametrize(("part", "name"), [("unet", "x.bin"), (".", "x.safetensors")], ids=["a model", "a component"])
def test_weights_written_over_in_a_folder_are_another_state(tmp_path: Path, part: str, name: str) -> None:
    weights = tmp_path / "folder" / part / name
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"one")
    before = state_of(tmp_path / "folder")
    weights.write_bytes(b"two")
    later = weights.stat().st_mtime_ns + 10**9
    os.utime(weights, ns=(later, later))
    assert state_of(tmp_path / "folder") != before


def _identity() -> Any:
    from engine.library.identity import Identity

    return Identity(kind="checkpoint", family="sd1", parts=("unet", "vae", "text_encoder"))


def test_names_that_people_use(data: Path, open_library: Open) -> None:
    library = open_library(data)
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    entry = library.find_model("file-model")
    digest = hashlib.sha256(entry.path.read_bytes()).hexdigest()
    assert library.hash_of(entry) == digest[:10]
    for name in (
        "File-Model",
        "file-model.safetensors",
        digest,
        digest[:10],
        f"whatever [{digest[:10]}]",
        " file-model ",
    ):
        assert library.find_model(name).view.id == "file-model", name


def test_an_unknown_name_gets_the_nearest(data: Path, open_library: Open) -> None:
    with pytest.raises(SpecError) as caught:
        open_library(data).find_model("file-modle")
    assert caught.value.code == "model_unknown"
    assert "file-model" in caught.value.hint


def test_equal_names_in_two_folders_stay_apart_and_stable(data: Path, tiny: Path, open_library: Open) -> None:
    library = open_library(data)
    put_single(tiny, data / "models" / "checkpoints" / "zoo" / "file-model.safetensors")
    library.refresh()
    assert library.find_model("file-model").path.parent.name == "checkpoints"
    assert library.find_model("zoo/file-model").path.parent.name == "zoo"


BAD = {
    "truncated.safetensors": "model_file_truncated",
    "text.safetensors": "model_file_not_a_model",
    "payload.ckpt": "model_file_unsafe",
    "flux.safetensors": "model_file_unsupported",
    "no-vae.safetensors": "model_parts_missing",
    "no-configs.safetensors": "model_file_unsupported",
    "lacks-unet": "model_parts_missing",
    "bad-json": "model_parts_missing",
    "other": "model_file_unsupported",
}


@pytest.fixture
def bad_data(data: Path, tiny: Path) -> Path:
    from tests.engine.library.test_pickles import bad_checkpoint

    folder = data / "models" / "checkpoints"
    whole = (tiny / "sd1.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "text.safetensors").write_text("not a model")
    bad_checkpoint(folder / "payload.ckpt", data / "it ran")
    save_file(
        {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(2)}, folder / "flux.safetensors"
    )
    weights = load_file(tiny / "sd1.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "first_stage" not in name}, folder / "no-vae.safetensors"
    )
    shutil.copytree(tiny / "sd1.config", folder / "no-vae.config")
    shutil.copyfile(tiny / "sd1.safetensors", folder / "no-configs.safetensors")
    for name in ("lacks-unet", "bad-json", "other"):
        shutil.copytree(tiny / "sd1", folder / name)
    (folder / "lacks-unet" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "bad-json" / "unet" / "config.json").write_text("{")
    (folder / "other" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    return data


def test_bad_files_each_have_a_sentence_and_the_rest_works(bad_data: Path, open_library: Open) -> None:
    library = open_library(bad_data)
    problems = {entry.view.id: entry for entry in library.models() if entry.view.problem}
    for name, code in BAD.items():
        entry = problems[Path(name).stem if name.endswith(("safetensors", "ckpt")) else name]
        assert entry.problem_code == code, name
        assert entry.view.problem.endswith(".")
        with pytest.raises(ModelFileError) as caught:
            library.find_model(entry.view.id)
        assert caught.value.code == code
    assert len(problems) == len(BAD)
    assert library.find_model(None).view.id == "folder-model"
    assert not (bad_data / "it ran").exists()


def test_catalogue_entries(data: Path, tiny: Path, open_library: Open) -> None:
    outside = data.parent / "elsewhere"
    put_single(tiny, outside / "cat.safetensors")
    shutil.copytree(tiny / "sd1" / "vae", outside / "nice-vae")
    (data / "models" / "loras").mkdir(parents=True)
    lora(data / "models" / "loras" / "style.safetensors")
    library = open_library(
        data,
        catalogue={
            "models": {
                "my-cat": {
                    "name": "My Cat",
                    "path": str(outside / "cat.safetensors"),
                    "vae_path": str(outside / "nice-vae"),
                    "default_negative": "blurry",
                    "supported_loras": ["style"],
                    "defaults": {"steps": 11},
                },
                "again": {"name": "Again", "path": "models/checkpoints/file-model.safetensors"},
                "gone": {"name": "Gone", "path": "models/gone.safetensors"},
                "hub": {"name": "Hub", "path": "stabilityai/stable-diffusion-xl-base-1.0"},
                "wrong": {"name": "Wrong", "path": "models/loras/style.safetensors"},
            },
            "loras": {
                "ink": {
                    "name": "Ink",
                    "path": "models/loras/style.safetensors",
                    "default_weight": 0.7,
                    "trigger_words": ["ink"],
                },
                "lost": {"name": "Lost", "path": "models/loras/lost.safetensors"},
            },
        },
    )
    entry = library.find_model("my-cat")
    assert (entry.view.title, entry.default_negative, entry.view.supported_loras) == ("My Cat", "blurry", ("style",))
    assert entry.vae_path == outside / "nice-vae"
    assert (entry.view.defaults.steps, entry.view.defaults.width) == (11, 512)
    assert library.find_model("file-model").view.id == "again"
    for model_id, word in (("gone", "not at"), ("hub", "not on this machine"), ("wrong", "not a base model")):
        problem = entry_of(library, model_id).view.problem
        assert word in problem, problem
    adapters = {view.id: view for view in own_adapters(library)}
    assert (adapters["ink"].default_weight, adapters["ink"].trigger_words, adapters["ink"].problem) == (
        0.7,
        ("ink",),
        "",
    )
    assert "Lost" in adapters["lost"].problem
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    assert library.hash_of(library.find_model("my-cat"))


def test_a_hub_id_is_used_from_the_local_cache(
    data: Path, tiny: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    cache = data.parent / "hub"
    model = cache / "models--someone--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0123456789abcdef")
    shutil.copytree(tiny / "sd1", model / "snapshots" / "0123456789abcdef")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    library = open_library(data, catalogue={"models": {"tiny": {"name": "Tiny", "path": "someone/tiny"}}})
    entry = library.find_model("tiny")
    assert (entry.view.format, entry.view.problem, entry.view.title) == ("hub", "", "Tiny")


def test_defaults_in_layers_and_saved(data: Path, tiny: Path, open_library: Open) -> None:
    checkpoints = data / "models" / "checkpoints"
    put_single(tiny, checkpoints / "dream_lightning_4step.safetensors")
    (checkpoints / "file-model.easel.toml").write_text(
        'name = "Nice"\n[defaults]\nsteps = 9\nscheduler = "simple"\n[examples]\nprompts = ["a cat"]\n'
    )
    library = open_library(data)
    plain = library.find_model("folder-model").view.defaults
    assert plain == library.find_model("folder-model").family.defaults
    quick = library.find_model("dream_lightning_4step").view.defaults
    assert (quick.steps, quick.guidance, quick.sampler) == (4, 1.0, "euler")
    nice = library.find_model("Nice").view
    assert (nice.id, nice.defaults.steps, nice.defaults.schedule, nice.examples) == (
        "file-model",
        9,
        "simple",
        ("a cat",),
    )
    library.save_defaults("file-model", ModelDefaults(steps=17, negative_prompt="ugly"))
    assert library.find_model("file-model").view.defaults.steps == 17
    again = open_library(data)
    assert again.find_model("file-model").default_negative == "ugly"
    again.save_defaults("file-model", ModelDefaults())
    assert again.find_model("file-model").view.defaults.steps == 9
    with pytest.raises(SpecError):
        again.save_defaults("nothing", ModelDefaults(steps=3))


def test_a_damaged_easel_toml_is_told(data: Path, open_library: Open) -> None:
    (data / "models" / "checkpoints" / "folder-model" / "easel.toml").write_text("[defaults]\nsteps = 'many'\n")
    problem = entry_of(open_library(data), "folder-model").view.problem
    assert "steps" in problem
    assert "easel.toml" in problem


def test_a1111_side_files(data: Path, tiny: Path, open_library: Open) -> None:
    checkpoints = data / "models" / "checkpoints"
    shutil.copytree(tiny / "sd1" / "vae", data / "vae-source")
    weights = load_file(tiny / "sd1" / "vae" / "diffusion_pytorch_model.safetensors")
    (data / "models" / "vae").mkdir()
    save_file(weights, data / "models" / "vae" / "best.safetensors")
    (checkpoints / "file-model.json").write_text(json.dumps({"description": "Mine", "vae": "best.safetensors"}))
    lora(data / "models" / "loras" / "style.safetensors", metadata={"modelspec.title": "Inside"})
    (data / "models" / "loras" / "style.json").write_text(
        json.dumps({"activation text": "inky", "preferred weight": 0.6, "vae": "../../etc/passwd"})
    )
    library = open_library(data)
    entry = library.find_model("file-model")
    assert entry.view.description == "Mine"
    assert entry.vae_path is not None
    assert entry.vae_path.name == "best.safetensors"
    (adapter,) = own_adapters(library)
    assert (adapter.title, adapter.default_weight, adapter.trigger_words, adapter.family) == (
        "Inside",
        0.6,
        ("inky",),
        "sd1",
    )
    assert library.find_vae("best").path.name == "best.safetensors"
    with pytest.raises(SpecError) as caught:
        library.find_vae("besst")
    assert caught.value.code == "vae_unknown"
    assert "best" in caught.value.hint


def test_folders_of_another_studio_in_place(data: Path, tiny: Path, open_library: Open) -> None:
    other = data.parent / "stable-diffusion-webui"
    put_single(tiny, other / "models" / "Stable-diffusion" / "sub" / "theirs.safetensors")
    lora(other / "models" / "Lora" / "theirs.safetensors")
    library = open_library(data, paths={"extra": [str(other)]})
    assert library.find_model("theirs").path.is_relative_to(other)
    assert [view.id for view in own_adapters(library)] == ["theirs"]
    assert other / "models" / "Stable-diffusion" in library.model_folders()
    assert library.model_folders()[0] == data / "models" / "checkpoints"


def test_a_folder_that_is_away_keeps_its_hashes(data: Path, tiny: Path, open_library: Open) -> None:
    other = data.parent / "drive"
    put_single(tiny, other / "theirs.safetensors")
    library = open_library(data, paths={"extra": [str(other)]})
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    known = library.hash_of(library.find_model("theirs"))
    other.rename(data.parent / "unplugged")
    assert library.refresh()
    (data.parent / "unplugged").rename(other)
    library.close()
    library.refresh()
    assert library.hash_of(library.find_model("theirs")) == known != ""


def test_adapters_get_both_hashes(data: Path, open_library: Open) -> None:
    path = lora(data / "models" / "loras" / "style.safetensors")
    same = lora(data / "models" / "loras" / "retitled.safetensors", metadata={"modelspec.title": "New title"})
    library = open_library(data)
    done: list[str] = []
    library.start_hashing(done.append)
    assert library.wait_for_hashes(60)
    assert {"style.safetensors", "retitled.safetensors", "file-model.safetensors", "folder-model"} <= set(done)
    hashes = {view.id: view.hash for view in own_adapters(library)}
    assert hashes["style"] == hashlib.sha256(path.read_bytes()).hexdigest() != hashes["retitled"]
    found = {entry.path: entry.auto_v3 for entry in library.adapters.entries}
    assert found[path] == found[same] != ""


def test_embeddings_by_word_token_and_hash(data: Path, open_library: Open) -> None:
    folder = data / "models" / "embeddings"
    folder.mkdir()
    save_file({"emb_params": torch.ones(2, 768)}, folder / "Ink.safetensors")
    save_file({"<cat-toy>": torch.zeros(1, 768)}, folder / "learned_embeds.safetensors")
    save_file({"sks": torch.zeros(2, 1024)}, folder / "plain.safetensors")
    save_file({"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)}, folder / "duo.safetensors")
    torch.save({"string_to_param": {"*": torch.zeros(1, 768)}}, folder / "old.pt")
    torch.save({"<x>": torch.zeros(1, 768)}, folder / "new.bin")
    (folder / "evil.pt").write_bytes(pickle.dumps(print))
    library = open_library(data)
    found = {entry.word: entry for entry in library.embeddings if not entry.word.startswith("easel-")}
    assert {word: entry.view.family for word, entry in found.items()} == {
        "Ink": "sd1", "learned_embeds": "sd1", "plain": "sd2", "duo": "sdxl", "old": "", "new": "", "evil": "",
    }  # fmt: skip
    assert found["learned_embeds"].tokens == ("<cat-toy>",)
    assert found["evil"].code == "model_file_unsafe"
    assert [word for word, entry in found.items() if entry.view.problem] == ["evil"]
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    digest = hashlib.sha256((folder / "Ink.safetensors").read_bytes()).hexdigest()
    assert library.embedding_hashes(["Ink", "gone"]) == {"Ink": digest}
    assert library.embedding_word("INK") == library.embedding_word("its old name", digest[:12]) == "Ink"
    assert library.embedding_word("<cat-toy>") == "learned_embeds"
    assert library.embedding_word("evil") is library.embedding_word("nobody") is None


def test_a_file_that_changes_is_hashed_again(data: Path, open_library: Open) -> None:
    path = lora(data / "models" / "loras" / "style.safetensors")
    library = open_library(data)
    library.start_hashing(lambda name: None)
    assert library.wait_for_hashes(60)
    before = own_adapters(library)[0].hash
    lora(path, width=320)
    assert library.refresh()
    assert library.wait_for_hashes(60)
    after = own_adapters(library)[0].hash
    assert after == hashlib.sha256(path.read_bytes()).hexdigest() != before


def test_no_models_at_all(tmp_path: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.settings.Settings.starter_dir", tmp_path / "none")
    library = open_library(tmp_path / "empty", engine={"default_model": "starter"})
    assert library.models() == []
    assert library.default_model() == ""
    with pytest.raises(SpecError) as caught:
        library.find_model(None)
    assert caught.value.code == "model_unknown"


def test_the_starter_is_called_starter_and_comes_first(
    data: Path, tiny: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = data / "models" / "starter"
    shutil.copytree(tiny / "sd1", starter)
    (starter / "easel.toml").write_text(
        'name = "Easel starter"\nfamily = "easel-starter"\n[defaults]\nwidth = 64\nheight = 64\n'
    )
    monkeypatch.setattr("engine.settings.Settings.starter_dir", starter)
    library = open_library(data, engine={})
    entry = library.find_model(None)
    assert entry is library.models()[0]
    assert (entry.view.id, entry.view.title, entry.view.defaults.width) == ("starter", "Easel starter", 64)
    assert (entry.view.family, entry.family.id) == ("easel-starter", "sd1")
    assert [entry.view.id for entry in library.models()].count("starter") == 1
    assert library.files("vae") == []


def test_hundreds_of_files_get_an_id_each(data: Path, open_library: Open) -> None:
    folder = data / "models" / "loras"
    content = lora(folder / "0.safetensors").read_bytes()
    for number in range(1, 300):
        (folder / f"{number}.safetensors").write_bytes(content)
    library = open_library(data)
    assert library.refresh()
    # On a busy machine some are read in the background.
    assert library.wait_for_scan(120)
    assert not library.refresh()
    assert len({view.id for view in own_adapters(library)}) == 300


def test_loose_files_are_found_and_strangers_do_not_clutter_the_models(
    data: Path, tiny: Path, open_library: Open
) -> None:
    put_single(tiny, data / "models" / "loose.safetensors")
    (data / "models" / "clip_vision").mkdir()
    save_file({"text_model.final_layer_norm.weight": torch.zeros(4)}, data / "models" / "clip_vision" / "c.safetensors")
    library = open_library(data)
    assert library.find_model("loose").view.problem == ""
    assert "c" not in [entry.view.id for entry in library.models()]
    assert "text encoder alone" in library.files("unknown")[0].problem
