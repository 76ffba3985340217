"""A tick: one UNet evaluation for many pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from engine.adapters.plan import NO_CHANGES
from engine.control.compose import summed
from engine.control.ip_adapter import prompted
from engine.control.reference import referred
from engine.control.t2i_adapter import inside
from engine.control.together import Asked, Together, together
from engine.errors import AdapterError, GenerationError
from engine.pipeline.company import of_one_mind
from engine.pipeline.context import GenerationContext, Rows
from engine.pipeline.lengths import TextRows, join
from engine.pipeline.model import ModelBundle
from engine.pipeline.step_hooks import StepHooks
from engine.pipeline.stop import Stopped, stopping_at

__all__ = ["PINNED_ROWS", "Stopped", "tick"]

# Rows of every UNet call of `repeatable` pictures: two pictures with guidance.
PINNED_ROWS = 4
NOTHING = Together()


@dataclass(frozen=True)
class _Call:
    """The arguments of one UNet call, and of the ControlNets before it."""

    sample: torch.Tensor
    timesteps: torch.Tensor
    text: TextRows
    added: dict[str, torch.Tensor]
    timestep_cond: torch.Tensor | None
    controls: Together = NOTHING


def tick(
    bundle: ModelBundle,
    contexts: Sequence[GenerationContext],
    *,
    should_stop: Callable[[], bool] | None = None,
    pad_to: int | None = None,
    hooks: StepHooks | None = None,
) -> None:
    """Advance every context by one evaluation, all of them in one UNet call.

    Each context keeps its own timestep, embeddings, guidance and scheduler; they share an ExecutionKey, and with it the
    weights that the UNet carries during the call. Or they share all but the adapters (`company.company_key`): then
    the UNet is bare, and each row has its adapters beside the layers.

    Args:
        should_stop: asked between the blocks of the UNet and of the ControlNets.
        pad_to: pin the call's shape to this many rows: fewer are filled up, more are served in several calls. None pins
            `repeatable` pictures to `PINNED_ROWS`, so that they are the same bit for bit whatever runs beside them.
        hooks: what extensions do before and after the call.

    Raises:
        Stopped: nothing has changed; the same tick may be asked for again.
        AdapterError: the weights could not be made to carry the adapters; they carry what they did before.
        GenerationError: `picture_not_finite` for a context whose latents are no numbers any more; the others have
            advanced.
        ValueError: no contexts, one that is finished, or contexts that may not share a call.
    """
    if not contexts or any(context.finished for context in contexts):
        raise ValueError("a tick needs contexts that are not finished")
    alike = of_one_mind(contexts)
    if pad_to is None and contexts[0].spec.repeatable:
        pad_to = PINNED_ROWS
    _carry(bundle, contexts, alike)
    with torch.inference_mode():
        asked = [context.rows() for context in contexts]
        call = _merged(asked, bundle)
        seen = hooks.rows(contexts, asked, call.sample, call.timesteps) if hooks else None
        if hooks and seen is not None:
            seen = hooks.entering(seen)
            call = replace(call, sample=seen.latents)
        points = [*bundle.stop_points, *(point for each in call.controls.nets for point in each.network.stop_points)]
        parts = [(rows.count, context.unet_plan) for rows, context in zip(asked, contexts, strict=True)]
        with stopping_at(points, should_stop), nullcontext() if alike else bundle.row_paths.beside(parts):
            answer = _evaluate(bundle, call) if pad_to is None else _evaluate_pinned(bundle, call, pad_to)
        if hooks and seen is not None:
            answer = hooks.leaving(seen, answer)
        fault: GenerationError | None = None
        place = 0
        for context, rows in zip(contexts, asked, strict=True):
            try:
                context.fold(rows, answer[place : place + rows.count])
            except GenerationError as error:
                fault = error
            place += rows.count
    if fault is not None:
        raise fault


def _carry(bundle: ModelBundle, contexts: Sequence[GenerationContext], alike: bool) -> None:
    """The weights of the contexts' adapters, or the bare ones where each row carries its own."""
    try:
        bundle.carry_unet(contexts[0].unet_plan if alike else NO_CHANGES)
    except AdapterError as error:
        for context in contexts:
            if context.stack is not None:
                context.stack.failed(error)
        raise


def _merged(asked: Sequence[Rows], bundle: ModelBundle) -> _Call:
    """The rows of all contexts below each other."""
    samples = [rows.latents.expand(rows.count, -1, -1, -1) for rows in asked]
    times = [rows.timestep for rows in asked for _ in range(rows.count)]
    conds = [rows.timestep_cond for rows in asked if rows.timestep_cond is not None]
    return _Call(
        sample=torch.cat(samples).to(bundle.dtype).contiguous(memory_format=bundle.memory_format),
        timesteps=torch.tensor(times, dtype=torch.float32, device=bundle.device),
        text=join([rows.text for rows in asked]),
        added={name: _stacked([rows.added[name] for rows in asked]) for name in asked[0].added},
        timestep_cond=_stacked(conds) if conds else None,
        controls=together([Asked(rows.controls, rows.count, rows.negative, rows.signal) for rows in asked]),
    )


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _evaluate(bundle: ModelBundle, call: _Call, *, whole: bool = False) -> torch.Tensor:
    controls = call.controls
    residuals = summed(
        controls.nets,
        call.sample,
        call.timesteps,
        call.text.embeds,
        mask=call.text.mask,
        added=call.added,
        whole=whole,
    )
    features = inside(controls.features, bundle.dtype)

    def ask(latents: torch.Tensor | None = None) -> torch.Tensor:
        if latents is not None:
            return _asked(bundle, call, latents.to(bundle.dtype).contiguous(memory_format=bundle.memory_format))
        return _asked(bundle, call, call.sample, residuals, features)

    with prompted(bundle.unet, controls.prompts) if controls.prompts else nullcontext():
        return referred(bundle.unet, controls.references, ask, whole=whole) if controls.references else ask()


def _asked(
    bundle: ModelBundle,
    call: _Call,
    sample: torch.Tensor,
    residuals: tuple[list[torch.Tensor], torch.Tensor] | None = None,
    features: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """The UNet's answer for `sample`."""
    text: Any = call.text.embeds
    if call.controls.prompts:
        text = (text, [each.tokens for each in call.controls.prompts])
    answer: torch.Tensor = bundle.unet(
        sample,
        call.timesteps,
        encoder_hidden_states=text,
        encoder_attention_mask=call.text.mask,
        timestep_cond=call.timestep_cond,
        added_cond_kwargs=call.added or None,
        down_block_additional_residuals=residuals[0] if residuals is not None else None,
        mid_block_additional_residual=residuals[1] if residuals is not None else None,
        # The UNet takes them out of the list one by one.
        down_intrablock_additional_residuals=None if features is None else list(features),
        return_dict=False,
    )[0]
    return answer


def _evaluate_pinned(bundle: ModelBundle, call: _Call, size: int) -> torch.Tensor:
    """In calls of exactly `size` rows; what is missing in the last one is filled with copies of its first row."""
    answers = []
    for start in range(0, call.sample.shape[0], size):
        rows = torch.arange(start, min(start + size, call.sample.shape[0]), device=bundle.device)
        used = len(rows)
        rows = torch.cat([rows, rows[:1].expand(size - used)])
        answers.append(_evaluate(bundle, _picked(bundle, call, rows), whole=True)[:used])
    return torch.cat(answers)


def _picked(bundle: ModelBundle, call: _Call, rows: torch.Tensor) -> _Call:
    return _Call(
        sample=call.sample[rows].contiguous(memory_format=bundle.memory_format),
        timesteps=call.timesteps[rows],
        text=TextRows(call.text.embeds[rows], None if call.text.mask is None else call.text.mask[rows]),
        added={name: value[rows] for name, value in call.added.items()},
        timestep_cond=None if call.timestep_cond is None else call.timestep_cond[rows],
        controls=call.controls.picked(rows),
    )
