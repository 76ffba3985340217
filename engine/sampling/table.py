"""The table of samplers and schedules: looking up names, and making schedulers.

The rows are in `engine.sampling.rows`; extensions may add some. Importing this module imports no torch:
`make_scheduler` does.
"""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import json
import re
from typing import Any

from engine.errors import SpecError
from engine.protocol.library import SamplerView, ScheduleView
from engine.sampling.rows import SAMPLERS, SCHEDULES, Sampler

# Stable Diffusion's own noise schedule, for a model that brings no scheduler settings.
FALLBACK_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


# A model's config may carry switches of the scheduler that it came with; here the schedule decides.
_SIGMA_SWITCHES = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "thresholding",
)
_SCHEDULE_ALIASES = {"": "automatic", "sgm": "sgm_uniform", "trailing": "sgm_uniform", "usesamescheduler": "automatic"}


def set_added_samplers(rows: tuple[Sampler, ...]) -> None:
    """These rows of extensions and no others stand behind Easel's own from now on.

    Raises:
        SpecError: `extension_unusable`, an id or a title is taken; nothing has changed then.
    """
    taken = dict(_own_names())
    for row in rows:
        for name in {row.id, row.title}:
            if not _folded(name) or _folded(name) in taken:
                raise SpecError(
                    "extension_unusable", f"There is a sampler “{name[:60]}” already.", "Its author has to rename it."
                )
        taken.update({_folded(row.id): row.id, _folded(row.title): row.id})
    _ROWS[:] = [*SAMPLERS, *rows]
    _BY_ID.clear()
    _BY_ID.update({row.id: row for row in _ROWS})
    _BY_NAME.clear()
    _BY_NAME.update(taken)


def sampler_views() -> tuple[SamplerView, ...]:
    """The table as clients see it, the recommended one first."""
    return tuple(
        SamplerView(
            id=row.id,
            title=row.title,
            schedules=tuple(ScheduleView(id=name, title=SCHEDULES[name]) for name in row.schedules),
            evaluations_per_step=row.evaluations_per_step,
            advised_steps=row.advised_steps,
            advice=row.advice,
            stochastic=row.stochastic,
        )
        for row in _ROWS
    )


def sampler(sampler_id: str) -> Sampler:
    """The row of an id. Raises SpecError `sampler_unknown` with the nearest names."""
    row = _BY_ID.get(sampler_id)
    if row is None:
        raise _unknown("sampler", sampler_id, [row.title for row in _ROWS])
    return row


def check(sampler_id: str, schedule_id: str) -> None:
    """Whether the combination exists.

    Raises:
        SpecError: `sampler_unknown`, `schedule_unknown`, `combination_unknown`, each with what is near or possible.
    """
    row = sampler(sampler_id)
    if schedule_id not in SCHEDULES:
        raise _unknown("schedule", schedule_id, list(SCHEDULES.values()))
    if schedule_id not in row.schedules:
        possible = ", ".join(SCHEDULES[name] for name in row.schedules)
        raise SpecError(
            "combination_unknown",
            f"{row.title} has no {SCHEDULES[schedule_id]} schedule.",
            f"Choose one of these schedules: {possible}.",
        )


def canonical(sampler_text: str, schedule_text: str | None = None) -> tuple[str, str]:
    """Ids of what a person or another program wrote: ids, titles, "DPM++ 2M Karras", "k_euler_a", class names.

    A schedule in the sampler's name counts unless `schedule_text` names one too. The pair is not checked: `check` does.

    Raises:
        SpecError: `sampler_unknown`, `schedule_unknown`.
    """
    schedule = _find_schedule(schedule_text) if schedule_text else None
    found = _find_sampler(sampler_text)
    if found is not None:
        return found, schedule or "automatic"
    words = re.split(r"[\s_]+", sampler_text.strip())
    for cut in (2, 1):
        if len(words) > cut:
            tail = _SCHEDULES_BY_NAME.get(_folded(" ".join(words[-cut:])))
            head = _find_sampler(" ".join(words[:-cut]))
            if tail is not None and head is not None:
                return head, schedule if schedule not in (None, "automatic") else tail
    raise _unknown("sampler", sampler_text, [row.title for row in _ROWS])


def from_a1111(sampler_text: str, schedule_text: str | None = None) -> tuple[str, str]:
    """As `canonical`, for A1111's infotext, whose "Automatic" means Karras or exponential for some samplers."""
    sampler_id, schedule_id = canonical(sampler_text, schedule_text)
    if schedule_id == "automatic" and schedule_text:
        return sampler_id, _BY_ID[sampler_id].a1111_automatic
    return sampler_id, schedule_id


def make_scheduler(sampler_id: str, schedule_id: str, base_config: dict[str, Any], seed: int) -> Any:
    """A new scheduler object for one picture.

    Args:
        base_config: the model's own scheduler settings (betas, prediction type, spacing …), as diffusers stores them.
        seed: the picture's seed; DPM++ SDE draws its noise from it.

    Raises:
        SpecError: as `check`.
    """
    check(sampler_id, schedule_id)
    row = _BY_ID[sampler_id]
    if row.make is not None:
        return row.make(schedule_id, dict(base_config), seed)
    scheduler = copy.deepcopy(
        _prototype(sampler_id, schedule_id, json.dumps(base_config, default=list, sort_keys=True))
    )
    if row.seeded:
        scheduler.register_to_config(noise_sampler_seed=seed)
        scheduler.noise_sampler_seed = seed
    return scheduler


@functools.lru_cache(maxsize=64)
def _prototype(sampler_id: str, schedule_id: str, base_config: str) -> Any:
    """A scheduler to copy: making one takes diffusers up to 0.3 s (DPM2), copying takes a millisecond."""
    import diffusers

    row = _BY_ID[sampler_id]
    scheduler_class = getattr(diffusers, row.scheduler)
    accepted = inspect.signature(scheduler_class.__init__).parameters
    settings: dict[str, Any] = {name: False for name in _SIGMA_SWITCHES if name in accepted}
    settings.update(row.settings)
    if schedule_id == "sgm_uniform":
        settings["timestep_spacing"] = "trailing"
    elif schedule_id in row.own_sigmas:
        # Where the sigmas are Easel's own, the first noise is as strong as the first sigma. The Karras switch makes the
        # scheduler take its sigmas from one method, through which `set_steps` hands it Easel's.
        settings["timestep_spacing"] = "linspace"
        if "use_karras_sigmas" in accepted:
            settings["use_karras_sigmas"] = True
    elif schedule_id in ("karras", "exponential"):
        settings[f"use_{schedule_id}_sigmas"] = True
    config = {name: value for name, value in json.loads(base_config).items() if name in accepted}
    for name, value in FALLBACK_CONFIG.items():
        if name in accepted:
            config.setdefault(name, value)
    return scheduler_class.from_config(config, **settings)


def _folded(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def _own_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for row in SAMPLERS:
        # Two rows share a class: the first one (the plain one) keeps its name.
        for name in (row.id, row.title, *row.aliases, row.scheduler, row.scheduler.removesuffix("Scheduler")):
            names.setdefault(_folded(name), row.id)
    return names


# Easel's rows and those of extensions; only the loading of extensions changes it.
_ROWS = list(SAMPLERS)
_BY_ID = {row.id: row for row in SAMPLERS}
_BY_NAME = _own_names()
_SCHEDULES_BY_NAME = {
    **{_folded(name): name for name in SCHEDULES},
    **{_folded(title): name for name, title in SCHEDULES.items()},
    **_SCHEDULE_ALIASES,
}


def _find_sampler(text: str) -> str | None:
    return _BY_NAME.get(_folded(text))


def _find_schedule(text: str) -> str:
    found = _SCHEDULES_BY_NAME.get(_folded(text))
    if found is None:
        raise _unknown("schedule", text, list(SCHEDULES.values()))
    return found


def _unknown(kind: str, text: str, titles: list[str]) -> SpecError:
    folded = {_folded(title): title for title in titles}
    near = [folded[name] for name in difflib.get_close_matches(_folded(text), folded, n=3, cutoff=0.4)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(titles)}."
    return SpecError(f"{kind}_unknown", f"There is no {kind} called “{text[:60]}”.", hint)
