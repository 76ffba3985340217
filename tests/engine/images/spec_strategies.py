"""Hypothesis strategies for specs: any that the types allow, and those that infotext can carry."""

from __future__ import annotations

from hypothesis import strategies as st

from engine.protocol.specs import AdapterRef, ControlUnit, GenerationSpec, OutputOptions
from engine.sampling.table import sampler_views

PAIRS = [(view.id, schedule.id) for view in sampler_views() for schedule in view.schedules]
fractions = st.floats(0, 1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
adapters = st.builds(
    AdapterRef,
    name=st.text(min_size=1, max_size=12),
    unet_weight=st.floats(-10, 10),
    text_weight=st.none() | st.floats(-10, 10),
    enabled=st.booleans(),
    start=fractions,
    end=fractions,
)
controls = st.builds(ControlUnit, model=st.text(max_size=12), image=st.text(max_size=12), weight=fractions)


@st.composite
def any_specs(draw: st.DrawFn, image_format: str = "png") -> GenerationSpec:
    """Any spec that the types allow."""
    return GenerationSpec(
        prompt=draw(st.text()),
        negative_prompt=draw(st.none() | st.text()),
        model=draw(st.none() | st.text(max_size=20)),
        vae=draw(st.none() | st.text(max_size=20)),
        steps=draw(st.none() | st.integers(1, 150)),
        guidance=draw(st.none() | st.floats(1, 30)),
        sampler=draw(st.none() | st.text(max_size=10)),
        schedule=draw(st.none() | st.text(max_size=10)),
        width=draw(st.none() | st.integers(1, 4096)),
        height=draw(st.none() | st.integers(1, 4096)),
        seed=draw(st.none() | st.integers(0, 2**32 - 1)),
        count=draw(st.integers(1, 100)),
        clip_skip=draw(st.none() | st.integers(1, 12)),
        upscale=draw(st.none() | st.sampled_from([1, 2, 4])),
        styles=tuple(draw(st.lists(st.text(max_size=5), max_size=2))),
        prompt_syntax=draw(st.sampled_from(["a1111", "compel"])),
        repeatable=draw(st.booleans()),
        adapters=tuple(draw(st.lists(adapters, max_size=2))),
        controls=tuple(draw(st.lists(controls, max_size=2))),
        output=OutputOptions(format=image_format, quality=draw(st.integers(1, 100))),
        ext=draw(st.dictionaries(st.text(max_size=5), json_values, max_size=2)),
    )


def _carried(text: str) -> bool:
    """Whether infotext's grammar can carry `text` as a prompt: it marks the negative by a line and trims the ends."""
    lines = text.split("\n")
    return (
        text == text.strip()
        and "\r" not in text
        and not any(line.lstrip().startswith("Negative prompt:") for line in lines)
    )


_names = st.text(min_size=1, max_size=20).filter(lambda name: "\r" not in name)


@st.composite
def infotext_specs(draw: st.DrawFn) -> GenerationSpec:
    """Resolved specs of which infotext carries every field that is not at its default."""
    sampler, schedule = draw(st.sampled_from(PAIRS))
    return GenerationSpec(
        prompt=draw(st.text().filter(_carried)),
        negative_prompt=draw(st.text().filter(_carried)),
        model=draw(_names.filter(lambda name: name.strip() == name)),
        vae=draw(st.none() | _names.filter(lambda n: n.strip() == n and n.lower() not in ("none", "automatic"))),
        steps=draw(st.integers(1, 150)),
        guidance=draw(st.floats(1, 30)),
        sampler=sampler,
        schedule=schedule,
        width=draw(st.integers(4, 512)) * 8,
        height=draw(st.integers(4, 512)) * 8,
        seed=draw(st.integers(0, 2**32 - 1)),
        clip_skip=draw(st.integers(1, 12)),
        upscale=draw(st.sampled_from([1, 2, 4])),
    )
