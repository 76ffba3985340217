"""Infotext: the two real examples, exact writing, and that a spec survives the way there and back."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.images.control_text import parse_control_unit, write_control_unit
from engine.images.draft import Lookups
from engine.images.infotext import spec_from_infotext, write_infotext
from engine.images.infotext_grammar import _PAIR, parse_infotext, quote, unquote, write_pairs
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.sampling.table import canonical, from_a1111, sampler_views
from tests.engine.images.spec_strategies import infotext_specs

LOOKUPS = Lookups(canonical=canonical, canonical_a1111=from_a1111)

EXAMPLE_1 = """1girl,A superstar on stage.,, <lora:LCM_15:1>, <lora:ip-adapter-faceid-plusv2_sd15_lora:1>
Negative prompt: MajicNegative_V2,badhandv4,
Steps: 6, Sampler: LCM, Schedule type: Automatic, CFG scale: 1.5, Seed: 3748719078, Size: 768x1024, Model hash: 19bbe9faa4, Model: fantasticmix_k2, VAE hash: 07af11b95c, VAE: vae-ft-mse-840000-ema-pruned.safetensors, Clip skip: 2, Lora hashes: "LCM_15: aaebf6360f7d, ip-adapter-faceid-plusv2_sd15_lora: a95a0f4bdcb9", TI hashes: "MajicNegative_V2: a53884ef726b, badhandv4: 5e40d722fc3d", Downcast alphas_cumprod: True, Version: v1.9.4"""  # noqa: E501

EXAMPLE_2 = """a ring, realistic photography,professional photograph,simple white background
Negative prompt: ugly, lowres, watermark, text
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1944526060, Size: 512x512, Model hash: 6d82a674e1, Model: helloobjects_V15evae, ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1.0, Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: 192.0, Threshold B: 255.0, Guidance Start: 0.0, Guidance End: 1.0, Pixel Perfect: False, Control Mode: ControlNet is more important", ControlNet 1: "Module: softedge_pidinet, Model: control_v11p_sd15_softedge [a8575a2a], Weight: 0.5", Version: v1.10.1"""  # noqa: E501


def test_example_1_becomes_a_spec_with_its_lora_tags_as_a_stack() -> None:
    recipe = spec_from_infotext(EXAMPLE_1, lookups=LOOKUPS)
    assert recipe.source == "a1111"
    spec = recipe.spec
    assert spec is not None
    # The commas between the tags stay: they were part of what the text encoder read.
    assert spec.prompt == "1girl,A superstar on stage.,, ,"
    names = [(row.name, row.unet_weight, row.text_weight, row.add_trigger_words) for row in spec.adapters]
    assert names == [("LCM_15", 1.0, None, False), ("ip-adapter-faceid-plusv2_sd15_lora", 1.0, None, False)]
    assert spec.negative_prompt == "MajicNegative_V2,badhandv4,"
    assert (spec.steps, spec.sampler, spec.schedule, spec.guidance) == (6, "lcm", "automatic", 1.5)
    assert (spec.seed, spec.width, spec.height, spec.clip_skip) == (3748719078, 768, 1024, 2)
    assert (spec.model, spec.vae) == ("fantasticmix_k2", "vae-ft-mse-840000-ema-pruned.safetensors")
    # Nothing is lost but the noise: this picture does not say RNG.
    assert ["does not say where its noise was made" in notice.message for notice in recipe.notices] == [True]


def test_example_1_tells_what_the_library_lacks() -> None:
    asked: list[tuple[str, str]] = []

    def find_adapter(name: str, digest: str) -> str | None:
        asked.append((name, digest))
        return "here/lcm" if name == "LCM_15" else None

    lookups = Lookups(
        canonical=canonical, find_model=lambda name, digest: None, find_vae=lambda name: None, find_adapter=find_adapter
    )
    recipe = spec_from_infotext(EXAMPLE_1, lookups=lookups)
    assert recipe.spec is not None
    assert (recipe.spec.model, recipe.spec.vae) == (None, None)
    assert asked == [("LCM_15", "aaebf6360f7d"), ("ip-adapter-faceid-plusv2_sd15_lora", "a95a0f4bdcb9")]
    told = {notice.code: notice.message for notice in recipe.notices}
    assert "fantasticmix_k2" in told["model_default_used"]
    assert "ip-adapter-faceid" in told["adapter_skipped"]
    assert "LCM_15" not in told["adapter_skipped"]
    assert [row.name for row in recipe.spec.adapters] == ["here/lcm"]


def test_a_model_is_found_by_its_hash() -> None:
    lookups = Lookups(find_model=lambda name, digest: "renamed" if digest == "19bbe9faa4" else None)
    recipe = spec_from_infotext(EXAMPLE_1, lookups=lookups)
    assert recipe.spec is not None
    assert recipe.spec.model == "renamed"


def test_example_2_keeps_both_control_units_in_the_notices_and_all_their_fields() -> None:
    fields = parse_infotext(EXAMPLE_2)
    first = parse_control_unit(fields["ControlNet 0"])
    assert first == {
        "Module": "canny",
        "Model": "control_v11p_sd15_canny [d14c016b]",
        "Weight": "1.0",
        "Resize Mode": "Crop and Resize",
        "Processor Res": "512",
        "Threshold A": "192.0",
        "Threshold B": "255.0",
        "Guidance Start": "0.0",
        "Guidance End": "1.0",
        "Pixel Perfect": "False",
        "Control Mode": "ControlNet is more important",
    }
    assert write_control_unit(first) == fields["ControlNet 0"]
    recipe = spec_from_infotext(EXAMPLE_2, lookups=LOOKUPS)
    assert recipe.spec is not None
    assert (recipe.spec.sampler, recipe.spec.schedule, recipe.spec.guidance) == ("dpmpp_2m", "karras", 7.0)
    messages = " ".join(notice.message for notice in recipe.notices)
    assert "control_v11p_sd15_canny" in messages
    assert "control_v11p_sd15_softedge" in messages


def test_control_values_with_commas_and_the_older_form_are_read() -> None:
    unit = parse_control_unit("Module: lineart, from white bg & black line, Model: x, Weight: 1")
    assert unit == {"Module": "lineart, from white bg & black line", "Model": "x", "Weight": "1"}
    old = (
        "preprocessor: canny, model: control_canny [1], weight: 1, starting/ending: (0, 0.7), resize mode: Just Resize"
    )
    assert parse_control_unit(old) == {
        "Module": "canny",
        "Model": "control_canny [1]",
        "Weight": "1",
        "Guidance Start": "0",
        "Guidance End": "0.7",
        "Resize Mode": "Just Resize",
    }


SPEC = GenerationSpec(
    prompt="a cat, (soft light:1.2)",
    negative_prompt="blurry",
    model="dreamshaper_8",
    steps=20,
    guidance=7.0,
    sampler="dpmpp_2m",
    schedule="karras",
    width=512,
    height=768,
    seed=42,
    clip_skip=1,
    upscale=1,
)


def write(spec: GenerationSpec, model: str = "dreamshaper_8") -> str:
    return write_infotext(
        spec, model_title=model, model_hash="879db523c3" * 6, version="0.1.0", samplers=sampler_views()
    )


def test_the_text_is_exact() -> None:
    assert write(SPEC) == (
        "a cat, (soft light:1.2)\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        'Model hash: 879db523c3, Model: dreamshaper_8, RNG: CPU, Hashes: {"model":"879db523c3"}, Version: Easel 0.1.0'
    )


def test_clip_skip_vae_and_quoted_values_stand_in_their_places() -> None:
    spec = SPEC.model_copy(update={"clip_skip": 2, "vae": "a: b", "guidance": 6.25, "negative_prompt": ""})
    assert write(spec).split("\n")[1].startswith("Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.25")
    assert 'Model: dreamshaper_8, VAE: "a: b", Clip skip: 2, RNG: CPU, ' in write(spec)
    assert "Negative prompt" not in write(spec)


def test_adapters_become_tags_with_the_weights_named_where_they_differ() -> None:
    rows = (
        AdapterRef(name="ink", unet_weight=0.8),
        AdapterRef(name="fog", unet_weight=1.0, text_weight=0.5),
        AdapterRef(name="off", enabled=False),
    )
    first_line = write(SPEC.model_copy(update={"adapters": rows})).split("\n")[0]
    assert first_line == "a cat, (soft light:1.2) <lora:ink:0.8> <lora:fog:te=0.5:unet=1>"


def test_a1111s_own_order_of_two_weights_is_the_text_encoder_first() -> None:
    tail = "\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Version: v1.10.1"
    spec = spec_from_infotext("a cat <lora:ink:0.5:0.9>" + tail, lookups=LOOKUPS).spec
    assert spec is not None
    (row,) = spec.adapters
    assert (row.unet_weight, row.text_weight) == (0.9, 0.5)


def test_a_stack_comes_back_from_the_infotext_alone_with_its_hashes() -> None:
    rows = (
        AdapterRef(name="sub/ink", unet_weight=0.8, start=0.25, end=0.75, add_trigger_words=False),
        AdapterRef(name="fog", unet_weight=1.0, text_weight=0.5, blocks=(1.0,) * 11 + (0.5,), add_trigger_words=False),
        AdapterRef(name="not hashed yet", unet_weight=-1.5, add_trigger_words=False),
    )
    known = {"sub/ink": ("ab" * 32, "cd" * 32), "fog": ("12" * 32, "34" * 32)}
    spec = SPEC.model_copy(update={"adapters": rows})
    text = write_infotext(spec, model_title="m", model_hash="", version="1", samplers=sampler_views(), adapters=known)
    assert 'Lora hashes: "sub/ink: cdcdcdcdcdcd, fog: 343434343434", ' in text
    assert json.loads(parse_infotext(text)["Hashes"]) == {"lora:sub/ink": "ababababab", "lora:fog": "1212121212"}
    asked: list[tuple[str, str]] = []

    def find(name: str, digest: str) -> str:
        asked.append((name, digest))
        return name

    recipe = spec_from_infotext(text, lookups=Lookups(canonical=canonical, find_adapter=find))
    assert recipe.spec is not None
    assert recipe.spec.adapters == rows
    assert recipe.spec.prompt == SPEC.prompt
    assert asked == [("sub/ink", "cdcdcdcdcdcd"), ("fog", "343434343434"), ("not hashed yet", "")]


def test_embeddings_are_written_as_a1111_does_and_asked_for_when_read() -> None:
    known = {"ink": "AB" * 32, "odd: a, b": "cd" * 32, "not hashed yet": ""}
    text = write_infotext(SPEC, model_title="m", model_hash="", version="1", embeddings=known)
    assert 'TI hashes: "ink: abababababab, odd a b: cdcdcdcdcdcd", Hashes: {' in text
    assert json.loads(parse_infotext(text)["Hashes"]) == {"embed:ink": "ababababab", "embed:odd a b": "cdcdcdcdcd"}
    names = {"ink": "ink", "odd a b": "renamed"}
    recipe = spec_from_infotext(text, lookups=Lookups(find_embedding=lambda name, digest: names.get(name)))
    assert [notice.message for notice in recipe.notices if notice.code == "embedding_skipped"] == [
        "The embedding “odd a b” is called “renamed” here."
    ]
    asked: list[tuple[str, str]] = []
    recipe = spec_from_infotext(
        EXAMPLE_1, lookups=Lookups(find_embedding=lambda name, digest: asked.append((name, digest)))
    )
    assert asked == [("MajicNegative_V2", "a53884ef726b"), ("badhandv4", "5e40d722fc3d")]
    assert [notice.message for notice in recipe.notices if notice.code == "embedding_skipped"] == [
        "Embeddings that are not in the library: “MajicNegative_V2”, “badhandv4”. The words are only text."
    ]
    civitais = 'a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Hashes: {"embed:x": "0123456789"}'
    spec_from_infotext(civitais, lookups=Lookups(find_embedding=lambda name, digest: asked.append((name, digest))))
    assert asked[2:] == [("x", "0123456789")]


def test_hashes_of_several_resources_are_civitais_raw_object_and_do_not_tear_the_pairs() -> None:
    text = write_infotext(
        SPEC, model_title="m", model_hash="ab" * 32, version="1", hashes={"lora:ink": "0123456789", "vae": "aa"}
    )
    found = re.search(r"(,\s*)?Hashes:\s*(\{[^\}]+\})", text)
    assert found is not None
    assert json.loads(found.group(2)) == {"model": "ababababab", "lora:ink": "0123456789", "vae": "aa"}
    fields = parse_infotext(text)
    assert json.loads(fields["Hashes"])["lora:ink"] == "0123456789"
    assert list(fields) == [
        "Prompt",
        "Negative prompt",
        "Steps",
        "Sampler",
        "Schedule type",
        "CFG scale",
        "Seed",
        "Size-1",
        "Size-2",
        "Model hash",
        "Model",
        "RNG",
        "Version",
        "Hashes",
    ]


@given(infotext_specs())
@settings(max_examples=150, deadline=None)
def test_spec_to_infotext_and_back(spec: GenerationSpec) -> None:
    recipe = spec_from_infotext(write(spec, model=spec.model or ""), lookups=LOOKUPS)
    assert recipe.spec == spec
    assert recipe.notices == ()
    assert recipe.source == "easel"


@given(st.dictionaries(st.from_regex(r"[A-Za-z][\w]{1,12}", fullmatch=True), st.text(), min_size=3, max_size=8))
def test_any_value_survives_its_quotes(pairs: dict[str, str]) -> None:
    pairs = {key: value for key, value in pairs.items() if key not in ("Prompt", "Hashes") and key != value}
    if len(pairs) < 3 or any(re.fullmatch(r"\d+x\d+", value) for value in pairs.values()):
        return
    fields = parse_infotext(write_pairs(pairs.items()))
    assert {key: fields[key] for key in pairs} == pairs


@given(st.text())
def test_unquote_reverses_quote(value: str) -> None:
    assert unquote(quote(value)) == value


@pytest.mark.parametrize(
    ("value", "quoted"), [("a", False), ("a,b", True), ("a:b", True), ("a\nb", True), ("a b", False)]
)
def test_only_values_with_marks_are_quoted(value: str, quoted: bool) -> None:
    assert (quote(value) != value) == quoted


KNOWN_PATTERN = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@given(st.text(alphabet=st.sampled_from(list('ab1 -/:,"\\.é!\t')), max_size=60))
@settings(max_examples=1000)
@example('a b: "x, y", cc: 1')
@example('ab: "\\", cd: 2')
def test_the_linear_pattern_finds_what_the_known_one_finds(line: str) -> None:
    ours = [(match.group(1), match.group(2)) for match in _PAIR.finditer(line)]
    assert ours == KNOWN_PATTERN.findall(line)


@pytest.mark.parametrize(
    "text", ["a cat", "", "a cat, nice: yes", "Steps: 20, Sampler: Euler", "one\ntwo: 2, three: 3"]
)
def test_text_without_three_pairs_is_no_recipe(text: str) -> None:
    recipe = spec_from_infotext(text)
    assert recipe.spec is None
    assert recipe.source == ""
    assert parse_infotext(text)["Prompt"] == text


def test_windows_line_ends_and_lines_of_several_prompts_are_read() -> None:
    text = "one\r\ntwo\r\nNegative prompt: bad\r\nworse\r\nSteps: 5, Sampler: Euler, Seed: 1"
    fields = parse_infotext(text)
    assert (fields["Prompt"], fields["Negative prompt"]) == ("one\ntwo", "bad\nworse")


def test_older_files_have_the_schedule_in_the_samplers_name() -> None:
    recipe = spec_from_infotext("x\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1", lookups=LOOKUPS)
    assert recipe.spec is not None
    assert (recipe.spec.sampler, recipe.spec.schedule) == ("dpmpp_2m", "karras")
    assert recipe.spec.clip_skip == 1
    assert recipe.spec.negative_prompt == ""


def test_a1111s_automatic_is_translated_but_easels_is_not() -> None:
    line = "x\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, Seed: 1"
    theirs = spec_from_infotext(line, lookups=LOOKUPS).spec
    ours = spec_from_infotext(line + ", RNG: CPU, Version: Easel 0.1.0", lookups=LOOKUPS).spec
    assert theirs is not None
    assert ours is not None
    assert (theirs.schedule, ours.schedule) == ("karras", "automatic")


def test_what_cannot_be_restored_is_told() -> None:
    text = (
        "x\nSteps: 900, Sampler: Restart, CFG scale: 0.5, Seed: 18446744073709551615, Size: 513x10000, RNG: NV, "
        "Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent, Foo: bar, ADetailer model: face.pt, "
        "Model: m, Version: v1.10.1"
    )
    recipe = spec_from_infotext(text, lookups=LOOKUPS)
    spec = recipe.spec
    assert spec is not None
    assert (spec.steps, spec.guidance, spec.width, spec.height) == (150, 1.0, 512, 4096)
    assert (spec.seed, spec.sampler) == (2**32 - 1, None)
    told = " | ".join(notice.message for notice in recipe.notices)
    for words in (
        "900",
        "0.5",
        "513",
        "10000",
        "Restart",
        "Hires upscale",
        "detailer",
        "Foo",
        "GPU",
        "18446744073709551615",
    ):
        assert words in told
    assert recipe.spec == GenerationSpec.model_validate(spec.model_dump())


def test_a_megabyte_is_refused_and_a_hostile_line_is_linear() -> None:
    with pytest.raises(SpecError) as caught:
        parse_infotext("a" * (2**20 + 1))
    assert caught.value.code == "image_unreadable"
    # Quadratic patterns need hours for these; the suite's timeout would end them.
    for piece in ("a", "a ", " ", 'aa: "', 'a b:"\\', "Hashes: {", "a-/ ", "<lora:"):
        spec_from_infotext(("x, " + piece * (2**20 // len(piece)))[: 2**20])
