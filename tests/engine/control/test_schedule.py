"""Windows and ramps in both percentage rules."""

from __future__ import annotations

import itertools

import pytest
import torch

from engine.control.schedule import Moment, Window


def factors(window: Window, total: int = 10) -> list[float]:
    times = torch.linspace(999, 0, total).tolist()
    return [window.factor(Moment(place, total, times[place])) for place in range(total)]


@pytest.mark.parametrize("total", [1, 4, 7, 20])
def test_the_step_rule_is_diffusers(total: int) -> None:
    """Their own words: keep unless i/n < start or (i+1)/n > end."""
    shares = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0]
    for start, end in itertools.product(shares, shares):
        theirs = [1.0 - float(i / total < start or (i + 1) / total > end) for i in range(total)]
        assert factors(Window(start, end), total) == theirs


def test_the_sigma_rule_is_comfys() -> None:
    """A unit works while the noise is between that of its two percentages; sigma grows with the training timestep."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    sigmas = ((1 - alphas) / alphas).sqrt()

    def sigma_at(percent: float) -> float:
        if percent <= 0.0:
            return 999999999.9
        if percent >= 1.0:
            return 0.0
        place = (1.0 - percent) * 999.0
        low = int(place)
        share = place - low
        return float(((1 - share) * sigmas[low].log() + share * sigmas[min(low + 1, 999)].log()).exp())

    for start, end in [(0.0, 1.0), (0.2, 0.8), (0.0, 0.5), (0.5, 1.0), (0.33, 0.34)]:
        for timestep in range(0, 1000, 7):
            sigma = float(sigmas[timestep])
            inside = not (sigma > sigma_at(start) or sigma < sigma_at(end))
            window = Window(start, end, rule="sigma")
            assert bool(window.factor(Moment(0, 10, float(timestep)))) == inside, (start, end, timestep)


def test_ramps() -> None:
    assert factors(Window(ramp="linear_in"), 4) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert factors(Window(ramp="linear_out"), 4) == pytest.approx([0.875, 0.625, 0.375, 0.125])
    gentle = factors(Window(ramp="cosine"), 4)
    assert gentle == pytest.approx([0.9619, 0.6913, 0.3087, 0.0381], abs=1e-4)
    assert factors(Window(0.0, 0.5, "linear_in"), 4) == pytest.approx([0.25, 0.75, 0, 0])
    by_noise = factors(Window(0.0, 1.0, "linear_in", "sigma"), 5)
    assert by_noise == pytest.approx([0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("ramp", ["constant", "linear_in", "linear_out", "cosine"])
@pytest.mark.parametrize("rule", ["step", "sigma"])
def test_strength_stays_between_nothing_and_all(ramp: str, rule: str) -> None:
    for start, end in itertools.combinations([0.0, 0.2, 0.5, 0.9, 1.0], 2):
        for value in factors(Window(start, end, ramp, rule), 13):  # type: ignore[arg-type]
            assert 0.0 <= value <= 1.0
