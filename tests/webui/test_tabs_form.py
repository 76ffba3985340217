"""The form's plain functions: form → spec → form loses nothing, and bad fields are told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.protocol.library import ModelDefaults, ModelView, SamplerView, ScheduleView
from engine.protocol.specs import AdapterRef, GenerationSpec, OutputOptions
from webui.components import form as forms
from webui.components.form import FIELDS, form_from_defaults, form_from_spec, spec_from_form

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.none() | st.text("abcdefghij_+0123456789", min_size=1, max_size=12)
fractions = st.floats(0, 1)
adapters = st.builds(
    AdapterRef,
    name=words,
    unet_weight=st.floats(-10, 10),
    text_weight=st.none() | st.floats(-10, 10),
    enabled=st.booleans(),
    start=fractions,
    end=fractions,
    add_trigger_words=st.booleans(),
    blocks=st.just(()) | st.lists(fractions, min_size=17, max_size=17).map(tuple),
)
specs = st.builds(
    GenerationSpec,
    prompt=words,
    negative_prompt=words,
    model=names,
    vae=names,
    steps=st.integers(1, 150),
    guidance=st.floats(1, 30),
    sampler=names,
    schedule=names,
    width=st.integers(4, 512).map(lambda value: value * 8),
    height=st.integers(4, 512).map(lambda value: value * 8),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 100),
    batch_size=st.integers(1, 16),
    clip_skip=st.integers(1, 12),
    upscale=st.sampled_from([1, 2, 4]),
    styles=st.lists(st.text("abc ", min_size=1, max_size=8), max_size=3).map(tuple),
    prompt_syntax=st.sampled_from(["a1111", "compel"]),
    repeatable=st.booleans(),
    adapters=st.lists(adapters, max_size=3).map(tuple),
    conflicts=st.sampled_from(["keep", "normalize", "priority"]),
    output=st.builds(
        OutputOptions, format=st.sampled_from(["png", "webp", "jpeg"]), quality=st.integers(1, 100), name_pattern=names
    ),
)


@given(specs)
def test_a_form_filled_from_a_spec_asks_for_that_spec_again(spec: GenerationSpec) -> None:
    assert spec_from_form(form_from_spec(spec)) == spec


@given(specs)
def test_every_field_of_the_form_is_known(spec: GenerationSpec) -> None:
    assert set(form_from_spec(spec)) <= set(FIELDS)


@pytest.mark.parametrize("empty", [None, "", "  ", "-1", "random", "Random"])
def test_no_seed_means_a_new_one_each_time(empty: str | None) -> None:
    assert spec_from_form({"prompt": "a cat", "seed": empty}).seed is None


def test_an_emptied_number_is_left_to_the_engine() -> None:
    spec = spec_from_form({"prompt": "a cat", "steps": None, "width": None, "guidance": None})
    assert (spec.steps, spec.width, spec.guidance) == (None, None, None)


def test_numbers_that_a_slider_sends_as_fractions_stay_whole() -> None:
    assert spec_from_form({"prompt": "a cat", "steps": 20.0, "width": 64.0}).steps == 20


@pytest.mark.parametrize(("field", "value"), [("seed", "twelve"), ("steps", 7.5), ("width", "wide"), ("format", "bmp")])
def test_a_field_that_cannot_be_read_is_named(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        spec_from_form({"prompt": "a cat", field: value})
    assert caught.value.code == "bad_request"
    assert field in caught.value.message


@pytest.mark.parametrize("value", ["[", '"words"', '{"name": "a"}', '[{"nome": "a"}]', "[1]"])
def test_a_stack_that_cannot_be_read_is_told(value: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_from_form({"prompt": "a cat", "adapters": value})
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("value", [None, "", "[]"])
def test_an_empty_stack_is_no_adapters(value: str | None) -> None:
    assert spec_from_form({"prompt": "a cat", "adapters": value}).adapters == ()


def test_values_of_extensions_travel_under_their_id() -> None:
    assert spec_from_form({"prompt": "a cat"}, {"hello": {"note": "mine"}}).ext == {"hello": {"note": "mine"}}


def test_a_models_defaults_do_not_replace_a_negative_prompt_that_was_written() -> None:
    defaults = ModelDefaults(steps=30, negative_prompt="blurry")
    assert form_from_defaults(defaults) == {"steps": 30, "negative_prompt": "blurry"}
    assert form_from_defaults(defaults, "ugly") == {"steps": 30}


def test_defaults_are_kept_from_the_form() -> None:
    kept = forms.defaults_from_form(
        {"steps": 12.0, "guidance": 4.5, "width": 64, "height": None, "negative_prompt": ""}
    )
    assert kept == ModelDefaults(steps=12, guidance=4.5, width=64)


def test_models_of_one_title_are_told_apart_and_unusable_ones_left_out() -> None:
    models = [
        ModelView(id="a", title="Dream", family="sd1", format="single_file"),
        ModelView(id="b", title="Dream", family="sdxl", format="single_file"),
        ModelView(id="c", title="Bad", family="", format="single_file", problem="truncated"),
    ]
    assert forms.model_choices(models) == [("Dream (a)", "a"), ("Dream (b)", "b")]


SAMPLERS = (
    SamplerView(
        id="heun",
        title="Heun",
        schedules=(ScheduleView(id="karras", title="Karras"),),
        evaluations_per_step=2,
        advised_steps=(10, 15),
        advice="Precise.",
    ),
)


def test_only_existing_schedules_are_offered() -> None:
    assert forms.schedule_choices(SAMPLERS, "heun") == [("Karras", "karras")]
    assert forms.schedule_choices(SAMPLERS, "nobody") == []


def test_the_advice_names_steps_and_cost() -> None:
    assert forms.sampler_advice(SAMPLERS, "heun") == "Precise. Advised: 10 to 15 steps. Each step costs two."


@pytest.mark.parametrize(("now", "gentler"), [(40, 20), (18, 10), (8, 7), (2, 1), (1, 1), (None, 10)])
def test_fewer_steps_is_always_fewer_and_never_none(now: int | None, gentler: int) -> None:
    assert forms.fewer_steps(now, SAMPLERS, "heun") == gentler
