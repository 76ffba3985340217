"""Admission of stacks: real small files, a real library; each refusal is one sentence with its code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.control.annotators import AnnotatorFiles
from engine.errors import AdapterError, ModelFileError, SpecError, StudioError
from engine.images.assets import AssetStore
from engine.jobs.admission import Admission, Admitted
from engine.jobs.control_admission import ControlAdmission
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.library.styles import StyleFile
from engine.protocol.commands import Style
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.settings import parse_settings
from engine.store.store import open_store
from tests.support.adapter_files import write_lora
from tests.support.tiny_models import write_tiny_sd1

Admit = Callable[..., Admitted]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tiny_sd1(folder / "models" / "checkpoints" / "tiny")
    loras = folder / "models" / "loras"
    write_lora(loras / "ink.safetensors", metadata={"modelspec.trigger_phrase": "ink wash"})
    write_lora(loras / "fog.safetensors", metadata={"modelspec.trigger_phrase": "Ink Wash, fog"})
    write_lora(loras / "a" / "twin.safetensors", seed=1)
    write_lora(loras / "b" / "twin.safetensors", seed=2)
    write_lora(loras / "LCM_15.safetensors")
    distilled = {
        f"lora_unet_m{place}.lora_down.weight": torch.zeros(64, 80, dtype=torch.float16) for place in range(278)
    }
    save_file(distilled, loras / "nobody_says.safetensors")
    write_lora(loras / "xl.safetensors", width=2048)
    (loras / "broken.safetensors").write_bytes(b"not a model, but a text that is long enough")
    civitai = {"trainedWords": ["red coat", "blue coat"]}
    write_lora(loras / "coats.safetensors")
    (loras / "coats.civitai.info").write_text(json.dumps(civitai))
    return folder


@pytest.fixture(scope="module")
def library(data: Path) -> Iterator[Library]:
    listed = {"name": "Listed", "path": "models/checkpoints/tiny", "supported_loras": ["ink"]}
    raw = {
        "paths": {"data": str(data)},
        "engine": {"default_model": "tiny"},
        "catalogue": {"models": {"listed": listed}},
    }
    settings = parse_settings(raw)
    store = open_store(settings.state_dir)
    opened = Library(settings, store.library)
    yield opened
    opened.close()
    store.close()


@pytest.fixture
def admit(library: Library, tmp_path: Path) -> Admit:
    styles = StyleFile(tmp_path / "styles.csv")
    styles.save(Style(name="wash", prompt="{prompt}, soft <lora:ink:0.4>"))
    controls = ControlAdmission(ControlShelf(library), AnnotatorFiles([]), AssetStore(tmp_path).path)
    admission = Admission(library, styles, controls)

    def call(prompt: str = "a cat", *rows: AdapterRef, **fields: Any) -> Admitted:
        fields.setdefault("model", "listed")
        return admission.admit(GenerationSpec(prompt=prompt, adapters=rows, **fields))

    return call


def refused(admit: Admit, *rows: AdapterRef, prompt: str = "a cat", **fields: Any) -> StudioError:
    with pytest.raises(StudioError) as caught:
        admit(prompt, *rows, **fields)
    assert caught.value.message.endswith(".")
    return caught.value


def told(admitted: Admitted, code: str) -> list[str]:
    return [notice.message for notice in admitted.notices if notice.code == code]


def test_rows_are_named_by_the_ids_of_the_library(admit: Admit, library: Library) -> None:
    other = library.adapters.find("b/twin")
    for name in ("b/twin", "B/Twin.safetensors", "b\\twin.safetensors"):
        spec = admit("a cat", AdapterRef(name=name, unet_weight=0.5)).spec
        assert [row.name for row in spec.adapters] == [other.view.id]


@pytest.mark.parametrize("by_tag", [False, True])
def test_a_name_that_two_files_have_is_taken_with_a_notice_of_how_to_name_the_other(admit: Admit, by_tag: bool) -> None:
    """As a row of the stack and as a tag in the prompt."""
    for name, said in (
        ("twin", ["2 files are called “twin”: a/twin.safetensors was taken. For the other write “b/twin”."]),
        ("b/twin", []),
        ("a/twin", []),
    ):
        admitted = admit(f"a cat <lora:{name}:0.5>") if by_tag else admit("a cat", AdapterRef(name=name))
        assert [row.name for row in admitted.spec.adapters] == ["b/twin" if name == "b/twin" else "twin"]
        assert [message for message in told(admitted, "adapter_advice") if "called" in message] == said
    assert "called" not in " ".join(told(admit("a cat", AdapterRef(name="twin", enabled=False)), "adapter_advice"))


def test_an_unknown_name_is_refused_with_the_nearest_or_skipped_with_a_notice(admit: Admit) -> None:
    error = refused(admit, AdapterRef(name="inc"))
    assert (error.code, type(error)) == ("adapter_unknown", SpecError)
    assert "“ink”" in error.hint
    admitted = admit("a cat", AdapterRef(name="inc"), AdapterRef(name="fog"), on_missing="skip")
    assert [row.name for row in admitted.spec.adapters] == ["fog"]
    assert "inc" in told(admitted, "adapter_skipped")[0]


def test_a_row_that_is_off_is_kept_and_never_in_the_way(admit: Admit) -> None:
    off = AdapterRef(name="ink", enabled=False, unet_weight=99)
    admitted = admit("a cat", off, AdapterRef(name="nobody", enabled=False))
    assert [(row.name, row.enabled) for row in admitted.spec.adapters] == [("ink", False)]
    assert admitted.spec.prompt == "a cat", "its trigger word stays out"
    assert "nobody" in told(admitted, "adapter_skipped")[0]


@pytest.mark.parametrize("weight", [1e9, -10.01, 10.5])
def test_a_weight_out_of_range(admit: Admit, weight: float) -> None:
    error = refused(admit, AdapterRef(name="ink", unet_weight=weight))
    assert (error.code, type(error)) == ("adapter_weight_out_of_range", AdapterError)
    assert refused(admit, AdapterRef(name="ink", text_weight=weight)).code == "adapter_weight_out_of_range"


def test_a_strong_weight_is_told(admit: Admit) -> None:
    assert told(admit("a cat", AdapterRef(name="ink", unet_weight=2.0)), "adapter_advice") == []
    assert "-3" in told(admit("a cat", AdapterRef(name="ink", unet_weight=-3)), "adapter_advice")[0]


@pytest.mark.parametrize(
    ("start", "end", "hint"),
    [(50, 1.0, "0.5"), (0.0, 75, "0.75"), (-0.1, 1.0, "first step"), (0.6, 0.4, "smaller"), (0.5, 0.5, "smaller")],
)
def test_fractions(admit: Admit, start: float, end: float, hint: str) -> None:
    error = refused(admit, AdapterRef(name="ink", start=start, end=end))
    assert error.code == "fraction_out_of_range"
    assert hint in error.hint


def test_another_family_is_told_at_once(admit: Admit) -> None:
    error = refused(admit, AdapterRef(name="xl"))
    assert error.code == "adapter_family_mismatch"
    assert error.message == "“xl” was made for SDXL, and the model Listed is SD 1.x."


def test_a_file_that_cannot_be_used_and_a_number_of_block_weights(admit: Admit) -> None:
    error = refused(admit, AdapterRef(name="broken"))
    assert (error.code, type(error)) == ("model_file_not_a_model", ModelFileError)
    assert refused(admit, AdapterRef(name="ink", blocks=(1.0,) * 12)).code == "adapter_blocks_unknown"
    assert admit("a cat", AdapterRef(name="ink", blocks=(0.5,) * 17)).spec.adapters[0].blocks == (0.5,) * 17


def test_the_same_adapter_twice_and_far_too_many(admit: Admit) -> None:
    assert refused(admit, AdapterRef(name="ink"), AdapterRef(name="ink.safetensors")).code == "adapter_twice"
    assert refused(admit, *[AdapterRef(name="ink")] * 201).code == "bad_request"


def test_trigger_words_come_once(admit: Admit) -> None:
    admitted = admit("A cat, INK wash,", AdapterRef(name="ink"), AdapterRef(name="fog"))
    assert admitted.spec.prompt == "A cat, INK wash, fog"
    assert told(admitted, "trigger_words_added") == ["fog: “fog” was added to the prompt, which it was trained with."]
    again = admit(admitted.spec.prompt, *admitted.spec.adapters)
    assert again.spec.prompt == admitted.spec.prompt
    assert admit("inkwash", AdapterRef(name="ink")).spec.prompt == "inkwash, ink wash", "whole words only"
    assert admit("a (ink wash:1.3) cat", AdapterRef(name="ink")).spec.prompt == "a (ink wash:1.3) cat"
    without = AdapterRef(name="ink", add_trigger_words=False)
    assert admit("a cat", without).spec.prompt == "a cat"


def test_of_alternatives_only_the_first_is_added(admit: Admit) -> None:
    assert admit("a cat", AdapterRef(name="coats")).spec.prompt == "a cat, red coat"


def test_tags_become_rows(admit: Admit) -> None:
    admitted = admit("a cat <lora:ink:0.8:0.5> <lyco:fog:te=0:unet=1:stop=5>", steps=10)
    assert admitted.spec.prompt == "a cat, ink wash, fog"
    rows = [(row.name, row.unet_weight, row.text_weight, row.end) for row in admitted.spec.adapters]
    assert rows == [("ink", 0.8, 0.5, 1.0), ("fog", 1.0, 0.0, 0.5)]
    messages = " ".join(told(admitted, "adapter_from_prompt"))
    assert "UNet 0.8, text encoder 0.5" in messages
    assert "ink, fog" in messages
    assert told(admitted, "syntax_removed") == []


def test_a_tag_for_what_is_in_the_stack_changes_nothing(admit: Admit) -> None:
    admitted = admit("a cat <lora:ink:0.3> <lora:fog:0.3> <lora:fog:0.9>", AdapterRef(name="ink", unet_weight=0.8))
    assert [(row.name, row.unet_weight) for row in admitted.spec.adapters] == [("ink", 0.8), ("fog", 0.3)]
    assert sum("changed nothing" in message for message in told(admitted, "adapter_from_prompt")) == 2


def test_tags_of_styles_count_and_those_of_the_negative_prompt_do_not(admit: Admit) -> None:
    admitted = admit("a cat", styles=("wash",), negative_prompt="blur <lora:fog:1>")
    assert admitted.spec.prompt == "a cat, soft, ink wash"
    assert [(row.name, row.unet_weight) for row in admitted.spec.adapters] == [("ink", 0.4)]
    assert admitted.spec.negative_prompt == "blur"
    assert "negative prompt" in told(admitted, "syntax_removed")[0]


def test_bad_tags_are_refused_like_bad_rows(admit: Admit) -> None:
    assert refused(admit, prompt="a cat <lora:nobody:1>").code == "adapter_unknown"
    assert refused(admit, prompt="a cat <lora:ink:100>").code == "adapter_weight_out_of_range"
    assert refused(admit, prompt="<lora:coats:1:te=1>", model="tiny-not").code == "model_unknown"
    admitted = admit("a cat <lora:nobody:1> <lora:ink:1:dyn=3>", on_missing="skip")
    assert [row.name for row in admitted.spec.adapters] == ["ink"]
    assert "dyn=3" in told(admitted, "syntax_removed")[0]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a cat <lora:ink", "<lora:ink"),
        ("a cat <LoRA:ink:0.8, blue sky", "<LoRA:ink:0.8"),
        ("<lora:ink <lora:fog:1> a cat", "<lora:ink"),
        ("a cat <lora::1>", "<lora::1"),
    ],
)
def test_a_tag_that_is_not_whole_is_told(admit: Admit, prompt: str, shown: str) -> None:
    admitted = admit(prompt)
    (message,) = told(admitted, "adapter_skipped")
    assert message == f"“{shown}” is no whole tag, so it counts as words: a tag ends with “>”, as in <lora:name:0.8>."
    assert "ink" not in [row.name for row in admitted.spec.adapters]
    assert told(admit("a <b> cat <lora:ink:1>"), "adapter_skipped") == []


@pytest.mark.parametrize("part", ["step=30-40", "start=30", "step=20-25", " Step = 30 - 40"])
def test_a_tag_that_starts_after_the_picture_is_told_in_steps(admit: Admit, part: str) -> None:
    error = refused(admit, prompt=f"a cat <lora:ink:1:{part}>", steps=20)
    number = "20" if "20" in part else "30"
    assert error.code == "fraction_out_of_range"
    assert error.message == f"“ink” would start after step {number}, and the picture has 20."
    late = admit("a cat <lora:ink:1:step=10-40>", steps=20).spec.adapters[0]
    assert (late.start, late.end) == (0.5, 1.0)


def test_an_adapter_for_few_steps_switches_what_nobody_set(admit: Admit) -> None:
    spec = admit("a cat", AdapterRef(name="LCM_15")).spec
    assert (spec.sampler, spec.schedule, spec.steps, spec.guidance) == ("lcm", "automatic", 6, 1.5)
    mine = admit("a cat", AdapterRef(name="LCM_15"), steps=30, guidance=7.5, sampler="euler")
    assert (mine.spec.sampler, mine.spec.steps, mine.spec.guidance) == ("euler", 30, 7.5)
    assert "burnt" in " ".join(told(mine, "adapter_advice"))
    half = admit("a cat", AdapterRef(name="LCM_15"), steps=8)
    assert (half.spec.steps, half.spec.sampler) == (8, "lcm")
    assert "the sampler lcm" in " ".join(told(half, "adapter_advice"))
    karras = admit("a cat", AdapterRef(name="LCM_15"), schedule="karras").spec
    assert (karras.schedule, karras.steps) == ("karras", 6)
    assert admit("a cat", AdapterRef(name="LCM_15", enabled=False)).spec.sampler != "lcm"


def test_what_only_looks_like_an_adapter_for_few_steps_is_told_and_changes_nothing(admit: Admit) -> None:
    plain = admit("a cat", model="tiny").spec
    admitted = admit("a cat", AdapterRef(name="nobody_says"), model="tiny")
    assert (admitted.spec.sampler, admitted.spec.steps) == (plain.sampler, plain.steps)
    assert "nothing says which it is" in " ".join(told(admitted, "adapter_advice"))
    quiet = admit("a cat", AdapterRef(name="nobody_says"), model="tiny", steps=6)
    assert "nothing says" not in " ".join(told(quiet, "adapter_advice"))


def test_the_catalogues_list_is_advice(admit: Admit) -> None:
    assert told(admit("a cat", AdapterRef(name="ink")), "adapter_advice") == []
    assert "coats" in told(admit("a cat", AdapterRef(name="coats")), "adapter_advice")[0]


def test_what_was_resolved_is_resolved_to_itself(admit: Admit) -> None:
    first = admit("a cat <lora:ink:0.8>", AdapterRef(name="LCM_15", unet_weight=0.9)).spec
    assert admit(first.prompt, *first.adapters, **_rest(first)).spec == first


def _rest(spec: GenerationSpec) -> dict[str, Any]:
    names = (
        "negative_prompt",
        "model",
        "steps",
        "guidance",
        "sampler",
        "schedule",
        "width",
        "height",
        "seed",
        "clip_skip",
    )
    return {name: getattr(spec, name) for name in names}


def test_fifty_at_once_are_fine(admit: Admit, data: Path, library: Library) -> None:
    for number in range(50):
        write_lora(data / "models" / "loras" / "many" / f"m{number}.safetensors", seed=number)
    library.refresh()
    rows = [AdapterRef(name=f"m{number}", unet_weight=0.1) for number in range(50)]
    assert len(admit("a cat", *rows).spec.adapters) == 50


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((512, 512), None),
        ((768, 768), None),
        ((512, 768), None),
        ((320, 320), None),
        (
            (1024, 1024),
            "1024 × 1024 px is far larger than the 512 × 512 px that this model is made for, so the picture may repeat "
            "itself or become a mere pattern. Choose 512 × 512, and enlarge the picture afterwards.",
        ),
        (
            (256, 128),
            "256 × 128 px is far smaller than the 512 × 512 px that this model is made for, so the picture may become "
            "a blur. Choose 728 × 360.",
        ),
    ],
)
def test_a_size_that_the_model_is_not_made_for_is_told(admit: Admit, size: tuple[int, int], said: str | None) -> None:
    admitted = admit("a cat", width=size[0], height=size[1])
    assert told(admitted, "size_advice") == ([said] if said else [])
    assert (admitted.spec.width, admitted.spec.height) == size, "it is made all the same"
