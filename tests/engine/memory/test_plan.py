"""The forecast as pure tables: which level fits which card, what would fit, and how measuring corrects it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.families.families import family
from engine.memory.activations import text_units, unet_shape, vae_units
from engine.memory.correction import MeasuredPeak, corrected
from engine.memory.levels import MemoryOptimizationConfig, OptimizationLevel, first_guess, parse_level
from engine.memory.parts import ModelSizes
from engine.memory.plan import Planner, Work
from tests.support.fake_machine import GIB, card, no_card

NONE, BALANCED, AGGRESSIVE, ULTRA = OptimizationLevel


def full_size(name: str) -> ModelSizes:
    config = family(name).config
    xl = name == "sdxl"
    elements = {"text_encoder": 123_060_480, "unet": 859_520_964, "vae": 83_653_863}
    if xl:
        elements |= {"text_encoder_2": 694_659_840, "unet": 2_567_463_684}
    return ModelSizes(
        name,
        elements,
        unet_shape(config("unet")),
        vae_units(config("vae")),
        text_units(config("text_encoder")),
        tile_pixels=(1024 if xl else 512) ** 2,
        vae_wide=xl,
        largest_layer=0.006,
        stored=dict.fromkeys(elements, "float16"),
    )


SDXL, SD1 = full_size("sdxl"), full_size("sd1")
PORTRAIT = Work(1024, 1024)


@pytest.mark.parametrize(
    ("vram", "level"), [(80, NONE), (12, NONE), (8, BALANCED), (6.5, BALANCED), (5, AGGRESSIVE), (3.4, ULTRA)]
)
def test_the_fastest_level_that_fits_is_taken(vram: float, level: OptimizationLevel) -> None:
    plan = Planner(card(vram), dtype="bfloat16").plan(SDXL, PORTRAIT)
    assert plan.fits
    assert plan.chosen.level is level
    assert plan.chosen.peak <= plan.budget.usable


@pytest.mark.parametrize(("level", "most"), [(NONE, 9.0), (BALANCED, 7.2), (AGGRESSIVE, 5.0), (ULTRA, 3.3)])
def test_each_level_keeps_its_promise_for_sdxl(level: OptimizationLevel, most: float) -> None:
    plan = Planner(card(24), dtype="bfloat16").plan(SDXL, PORTRAIT, level=level)
    assert plan.chosen.level is level
    assert plan.chosen.peak <= most * GIB


def test_a_harder_level_never_takes_more() -> None:
    for machine, dtype in ((card(24), "bfloat16"), (no_card(), "float32")):
        for model in (SDXL, SD1):
            planner = Planner(machine, dtype=dtype)
            peaks = [planner.plan(model, PORTRAIT, level=level).chosen.peak for level in OptimizationLevel]
            assert peaks == sorted(peaks, reverse=True)
            assert peaks[-1] < peaks[0] * 0.6


def test_on_a_cpu_every_level_saves_ram() -> None:
    planner = Planner(no_card(), dtype="float32")
    peaks = {level: planner.plan(SD1, Work(256, 256), level=level).chosen.peak for level in OptimizationLevel}
    assert peaks[BALANCED] <= 0.88 * peaks[NONE]
    assert peaks[AGGRESSIVE] <= 0.55 * peaks[NONE]


def test_a_limit_counts_like_a_smaller_card() -> None:
    limited = Planner(card(24), dtype="bfloat16", max_vram_gb=5.0).plan(SDXL, PORTRAIT)
    assert limited.chosen.level is AGGRESSIVE
    assert limited.budget.free == 5 * GIB


def test_the_margin_is_a_tenth_and_at_least_six_tenths() -> None:
    assert Planner(card(24)).budget.margin == pytest.approx(2.4 * GIB, rel=0.001)
    assert Planner(card(4)).budget.margin == pytest.approx(0.6 * GIB, rel=0.001)
    assert Planner(card(1)).budget.margin == pytest.approx(0.25 * GIB, rel=0.001)


def test_what_does_not_fit_says_what_would() -> None:
    plan = Planner(card(3), dtype="bfloat16").plan(SDXL, Work(1024, 1024, pictures=64))
    assert not plan.fits
    assert plan.advice
    assert 0 < plan.largest_batch < 64
    planner = Planner(card(3), dtype="bfloat16")
    assert planner.plan(SDXL, Work(1024, 1024, pictures=plan.largest_batch)).fits
    assert not planner.plan(SDXL, Work(1024, 1024, pictures=plan.largest_batch + 1)).fits


def test_the_largest_size_fits_and_the_next_does_not() -> None:
    planner = Planner(card(2.4), dtype="bfloat16")
    plan = planner.plan(SDXL, Work(2048, 1536, pictures=4))
    assert not plan.fits
    assert plan.largest_size is not None
    width, height = plan.largest_size
    assert abs(width / height - 4 / 3) < 0.05
    assert planner.plan(SDXL, Work(width, height, pictures=4)).fits
    assert not planner.plan(SDXL, Work(width + 64, height + 48, pictures=4)).fits
    assert f"{width} × {height}" in " ".join(plan.advice)


def test_a_model_that_cannot_fit_at_all_says_so() -> None:
    plan = Planner(card(0.2), dtype="bfloat16").plan(SDXL, PORTRAIT)
    assert not plan.fits
    assert plan.largest_size is None
    assert "does not fit at any size" in plan.advice[0]


def test_the_bands_are_the_budget() -> None:
    plan = Planner(card(12), dtype="bfloat16").plan(SDXL, Work(1024, 1024, adapter_bytes=GIB // 4, control_bytes=GIB))
    assert sum(plan.bands.values()) == pytest.approx(plan.budget.free, rel=0.001)
    assert plan.bands["margin"] == plan.budget.margin
    assert plan.bands["controls"] == GIB


def test_ram_must_hold_what_rests() -> None:
    assert Planner(card(5, memory=32), dtype="bfloat16").plan(SDXL, PORTRAIT).fits
    assert not Planner(card(5, memory=2), dtype="bfloat16").plan(SDXL, PORTRAIT, level=AGGRESSIVE).fits


def test_without_an_efficient_kernel_scores_count() -> None:
    config = MemoryOptimizationConfig.from_level(NONE)
    with_kernel = Planner(card(24), dtype="float16").forecast(SD1, Work(1024, 1024), config)
    without = Planner(card(24, capability=(3, 5)), dtype="float16").forecast(SD1, Work(1024, 1024), config)
    # 8 heads, 16 384 cells, 2 rows, twice, 2 bytes.
    assert without.peak - with_kernel.peak > 15 * GIB


def test_measured_times_change_the_order() -> None:
    factors = {BALANCED: 1.02, NONE: 1.0, AGGRESSIVE: 1.6, ULTRA: 1.05}
    plan = Planner(card(5), dtype="bfloat16", time_factors=factors).plan(SDXL, PORTRAIT)
    assert plan.chosen.level is ULTRA, "dominated levels are passed over"


def test_controlnets_count_while_leaves_travel() -> None:
    planner, ultra = Planner(card(4), dtype="float16"), MemoryOptimizationConfig.from_level(ULTRA)
    sequential = replace(ultra, enable_sequential_offload=True)
    alone, guided = (
        next(stage for stage in planner.forecast(SD1, work, sequential).stages if stage.stage == "denoise").weights
        for work in (Work(512, 512), Work(512, 512, control_bytes=GIB, controls=1))
    )
    assert guided - alone == GIB


def test_enlarging_is_a_stage_of_its_own() -> None:
    planner, config = Planner(no_card(), dtype="float32"), MemoryOptimizationConfig.from_level(AGGRESSIVE)
    plain, twice, large = (
        planner.forecast(SD1, work, config)
        for work in (Work(256, 256), Work(256, 256, upscale=2), Work(4096, 4096, upscale=4))
    )
    assert [stage.stage for stage in plain.stages] == ["encode", "denoise", "decode"]
    assert twice.stages[-1].stage == "enlarge"
    assert twice.peak == plain.peak, "small pictures are enlarged in less than they are painted in"
    # The network's answer in float32 alone.
    assert large.stages[-1].activations > 3 * (4 * 4096) ** 2 * 4


# --- correction ----------------------------------------------------------------------------------------------------


def bare(work: Work) -> tuple[object, int]:
    forecast = Planner(card(24), dtype="bfloat16").forecast(SD1, work, MemoryOptimizationConfig.from_level(NONE))
    return forecast, forecast.activations


def real(activations: int) -> int:
    """A machine that is not what the formula believes: more base, steeper growth."""
    return int(2.9 * GIB + 1.4 * activations)


def measured(work: Work, noise: float = 1.0) -> MeasuredPeak:
    return MeasuredPeak(int(real(bare(work)[1]) * noise), bare(work)[1], work.width, work.height, work.pictures)


@pytest.mark.parametrize("noises", [(0.98, 1.0, 1.02), (1.3, 0.98, 1.0), (1.02, 0.55, 1.0)])
def test_three_runs_of_a_setting_are_right_within_a_tenth_and_never_far_under(noises: tuple[float, ...]) -> None:
    work = Work(512, 512)
    peaks = [measured(work, noise) for noise in noises]
    forecast = corrected(bare(work)[0], work, peaks)  # type: ignore[arg-type]
    assert forecast.measured
    assert real(bare(work)[1]) * 0.95 <= forecast.peak <= real(bare(work)[1]) * 1.10


@pytest.mark.parametrize("work", [Work(768, 768), Work(512, 512, pictures=4), Work(1024, 640)])
def test_a_setting_never_run_follows_from_two_others(work: Work) -> None:
    peaks = [measured(Work(512, 512), 0.99), measured(Work(640, 640), 1.01), measured(Work(512, 512), 1.0)]
    forecast = corrected(bare(work)[0], work, peaks)  # type: ignore[arg-type]
    truth = real(bare(work)[1])
    assert 0.95 * truth <= forecast.peak <= 1.20 * truth


def test_the_noise_of_small_pictures_says_nothing_about_huge_ones() -> None:
    small = [Work(64, 64), Work(72, 64), Work(64, 64)]
    peaks = [MeasuredPeak(300_000_000, bare(work)[1], work.width, work.height, work.pictures) for work in small]
    huge = Work(4096, 4096, pictures=16)
    forecast = corrected(bare(huge)[0], huge, peaks)  # type: ignore[arg-type]
    assert forecast.peak > 0.95 * bare(huge)[1]


def test_the_noise_of_two_sizes_foretells_no_picture_that_takes_nothing() -> None:
    work, other = Work(1024, 1024), Work(1088, 1024)
    activations = bare(work)[1]
    peaks = [
        MeasuredPeak(activations, activations, 1024, 1024, 1),
        MeasuredPeak(int(1.5 * activations), bare(other)[1], 1088, 1024, 1),
    ]
    small = Work(256, 256)
    forecast = corrected(bare(small)[0], small, peaks)  # type: ignore[arg-type]
    assert bare(small)[1] <= forecast.peak <= 2 * bare(small)[1]


def test_nothing_measured_changes_nothing() -> None:
    work = Work(512, 512)
    forecast = bare(work)[0]
    assert corrected(forecast, work, []) == forecast  # type: ignore[arg-type]
    assert corrected(forecast, work, [measured(Work(640, 640))]) == forecast  # type: ignore[arg-type]


def test_enlarged_pictures_say_nothing_about_others() -> None:
    work = Work(768, 768)
    peaks = [replace(measured(each), upscale=2) for each in (Work(512, 512), Work(640, 640))]
    assert corrected(bare(work)[0], work, peaks) == bare(work)[0]  # type: ignore[arg-type]
    assert corrected(bare(work)[0], replace(work, upscale=2), peaks).measured  # type: ignore[arg-type]


# --- levels --------------------------------------------------------------------------------------------------------


def test_the_thresholds_are_the_first_guess() -> None:
    assert [first_guess(gb) for gb in (3, 5.9, 6, 7.9, 8, 11.9, 12, 80)] == [
        ULTRA, ULTRA, AGGRESSIVE, AGGRESSIVE, BALANCED, BALANCED, NONE, NONE,
    ]  # fmt: skip


def test_levels_by_name() -> None:
    assert parse_level("AUTO") is None
    assert parse_level(" Ultra ") is ULTRA
    from engine.errors import SpecError

    with pytest.raises(SpecError) as refused:
        parse_level("extreme")
    assert refused.value.code == "memory_level_unknown"
    assert NONE.harder is BALANCED
    assert ULTRA.harder is None
