"""Which models will be asked for next: a pure function over what was asked for, no torch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

HOUR = 3600.0
BEST = 5
# A waiting picture is certain, a past one is a guess.
WAITING_WEIGHT = 10.0


@dataclass(frozen=True)
class Use:
    """A model was asked for. `at` is seconds since the epoch."""

    model: str
    at: float


def hour_weights(uses: Iterable[Use], hour: int) -> dict[str, float]:
    """How much more than usual each model is asked for at this hour of the day.

    Args:
        hour: 0–23, local time.

    Returns:
        Model → its share of this hour over its share of the whole day, smoothed so that little history says little
        (1.0 is "as usual"); 0.5–2.0.
    """
    whole: Counter[str] = Counter()
    then: Counter[str] = Counter()
    for use in uses:
        whole[use.model] += 1
        if time.localtime(use.at).tm_hour == hour:
            then[use.model] += 1
    day, now = sum(whole.values()), sum(then.values())
    weights: dict[str, float] = {}
    for model, count in whole.items():
        usual = (count + 1) / (day + len(whole))
        present = (then[model] + len(whole) * usual) / (now + len(whole))
        weights[model] = min(2.0, max(0.5, present / usual))
    return weights


def predict(
    recent: Iterable[Use],
    *,
    now: float,
    weights: Mapping[str, float] | None = None,
    waiting: Mapping[str, int] | None = None,
) -> list[tuple[str, float]]:
    """Models with the score of being asked for soon, highest first; equal ones by name.

    score = uses of the last hour × weight of the hour of day + 10 × waiting pictures.

    Args:
        recent: past uses; those older than an hour before `now` do not count.
        weights: from `hour_weights`; a missing model has 1.0.
        waiting: model → pictures in the queue that need it.
    """
    counts = Counter(use.model for use in recent if now - HOUR <= use.at <= now)
    queued = waiting or {}
    scores = {
        model: counts[model] * (weights or {}).get(model, 1.0) + WAITING_WEIGHT * queued.get(model, 0)
        for model in {*counts, *queued}
    }
    return sorted(((model, score) for model, score in scores.items() if score > 0), key=lambda row: (-row[1], row[0]))


def choose_preloads(
    predicted: Sequence[tuple[str, float]],
    *,
    loaded: Iterable[Hashable],
    sizes: Mapping[str, int],
    free_bytes: int,
    quiet: bool,
    best: int = BEST,
) -> list[str]:
    """Which of the best few to load now: only at quiet times, only what fits without evicting anything."""
    if not quiet:
        return []
    here, left = set(loaded), free_bytes
    chosen: list[str] = []
    for model, _ in predicted[:best]:
        size = sizes.get(model)
        if model in here or size is None or size > left:
            continue
        chosen.append(model)
        left -= size
    return chosen
