"""Who is served next: pure functions over values, so that fairness can be read and tested as a table.

Fairness comes first between people, then between classes: each owner's turn comes in order of how much they have been
served, classes weigh 10:5:1, relaxed work keeps a floor of 20 %, and who has waited five minutes goes to the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLASS_WEIGHTS: Mapping[str, float] = {"high": 10.0, "normal": 5.0, "relaxed": 1.0}
# 1 of 5 turns when only the highest class competes with it.
FLOOR_WEIGHT = 10.0 / 4.0
PROMOTION_SECONDS = 300.0


@dataclass(frozen=True)
class Waiting:
    """A queued job: when it came (seconds since the epoch) and whose it is."""

    job_id: str
    owner: str
    priority: str
    created_at: float


def class_weight(priority: str) -> float:
    """The weight of a class, never under the floor."""
    return max(CLASS_WEIGHTS.get(priority, CLASS_WEIGHTS["normal"]), FLOOR_WEIGHT)


def fair_order(queue: Sequence[Waiting], served: Mapping[str, float], now: float) -> list[Waiting]:
    """The queue in the order in which its jobs will start.

    Owners take turns: an owner's n-th job counts as if n − 1 jobs had been served already, divided by its class weight;
    `served` (job counts per owner in the recent past) starts the tally. Jobs older than five minutes come first, oldest
    first. Stable: equal claims keep the order of arrival.
    """
    promoted = [job for job in queue if now - job.created_at >= PROMOTION_SECONDS]
    rest = [job for job in queue if now - job.created_at < PROMOTION_SECONDS]
    promoted.sort(key=lambda job: job.created_at)

    tally = {job.owner: served.get(job.owner, 0.0) for job in rest}
    # Within an owner: class first, then arrival.
    pending: dict[str, list[Waiting]] = {}
    for job in sorted(rest, key=lambda job: (-class_weight(job.priority), job.created_at)):
        pending.setdefault(job.owner, []).append(job)
    ordered: list[Waiting] = []
    while pending:
        owner = min(
            pending,
            key=lambda who: (tally[who] + 1.0 / class_weight(pending[who][0].priority), pending[who][0].created_at),
        )
        job = pending[owner].pop(0)
        ordered.append(job)
        tally[owner] += 1.0 / class_weight(job.priority)
        if not pending[owner]:
            del pending[owner]
    return promoted + ordered


@dataclass(frozen=True)
class Group:
    """Pictures that can share one UNet call. `weight` is the largest class weight among them."""

    key: object
    weight: float
    oldest: float


def choose_group(groups: Sequence[Group], virtual_time: Mapping[object, float]) -> Group:
    """The group to advance by one evaluation: stride scheduling, the least virtual time first, then the oldest.

    After serving, add `1 / weight` to the group's virtual time. Raises ValueError when there are no groups.
    """
    return min(groups, key=lambda group: (virtual_time.get(group.key, 0.0), group.oldest))
