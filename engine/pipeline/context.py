"""GenerationContext: a picture in progress, as a value."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.adapters.plan import NO_CHANGES, PatchPlan
from engine.adapters.stack import AdapterStack
from engine.control.compose import Active, ControlSet, signature
from engine.control.schedule import Moment, signal_share
from engine.errors import GenerationError
from engine.pipeline.lengths import TextRows
from engine.pipeline.snapshot import SNAPSHOT_SCHEMA, ContextSnapshot, recipe_digest
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.sampling.guidance import guide
from engine.sampling.state import restore_scheduler, scheduler_state


@dataclass(frozen=True)
class ExecutionKey:
    """Contexts with equal keys may share one UNet call.

    `height` and `width` are those of the latents. `pinned` is the length of the text where the batch shape is pinned
    (`repeatable`), 0 elsewhere: pinned pictures share calls only with their like.
    """

    model: str
    height: int
    width: int
    dtype: str
    adapters: str = ""
    controls: str = ""
    level: str = "none"
    pinned: int = 0


@dataclass(frozen=True)
class LatentStart:
    """Where a picture starts if not from noise alone.

    Attributes:
        latents: clean latents of the picture to start from, scaled, shape (1, C, h, w).
        start_step: how many of the steps are skipped (0: the noise covers everything).
        mask: 1 where the picture is made anew, 0 where it stays, shape (1, 1, h, w); None is everywhere.
    """

    latents: torch.Tensor
    start_step: int = 0
    mask: torch.Tensor | None = None


@dataclass(frozen=True)
class Rows:
    """What one context asks of the UNet: r rows.

    Attributes:
        latents: model input, shape (1, C, h, w): the same for each row.
        timestep: the same for each row.
        text: embeddings, r rows.
        added: added conditions by name, r rows each (SDXL: text_embeds, time_ids).
        timestep_cond: guidance embedding of distilled UNets, r rows, or None.
        controls: the ControlNet units that work in this evaluation.
        negative: how many of the rows, from the first, are the negative prompt's.
        signal: the share of signal in the latents (ᾱ of the timestep, 0.0–1.0).
    """

    latents: torch.Tensor
    timestep: float
    text: TextRows
    added: dict[str, torch.Tensor]
    timestep_cond: torch.Tensor | None = None
    controls: tuple[Active, ...] = ()
    negative: int = 0
    signal: float = 1.0

    @property
    def count(self) -> int:
        return int(self.text.embeds.shape[0])


@dataclass
class GenerationContext:
    """One picture: its own scheduler, generator and latents, so that it depends on nothing around it.

    Attributes:
        latents: shape (1, C, h, w), float32, on the model's device.
        text: rows for the UNet: the negative prompt's (unless guidance is 1), then the prompt's.
        weights: guidance of each row of the prompt; empty for a single row without guidance.
        first: index of the first used entry of `scheduler.timesteps`.
        evaluations_done, evaluations_total: UNet calls; a second-order step needs two.
        notices: what encoding decided by itself.
        stack: the adapters of its job; None where there are none.
        controls: its ControlNet units.
        words: the textual inversions that its prompts name, with the state of their files.
    """

    id: str
    spec: GenerationSpec
    index: int
    seed: int
    model: str
    latents: torch.Tensor
    scheduler: Any
    generator: torch.Generator
    text: TextRows
    weights: tuple[float, ...]
    steps: int
    dtype: torch.dtype = torch.float32
    eta: float = 0.0
    added: dict[str, torch.Tensor] = field(default_factory=dict)
    timestep_cond: torch.Tensor | None = None
    start: LatentStart | None = None
    noise: torch.Tensor | None = None
    first: int = 0
    evaluations_done: int = 0
    notices: tuple[Notice, ...] = ()
    stack: AdapterStack | None = None
    controls: ControlSet = field(default_factory=ControlSet)
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._control_sources: tuple[str, ...] = ()
        self._times: list[float] = self.scheduler.timesteps.tolist()
        self._entries: list[torch.Tensor] = list(self.scheduler.timesteps)
        accepted = inspect.signature(self.scheduler.step).parameters
        self._step_options: dict[str, Any] = {}
        if "generator" in accepted:
            self._step_options["generator"] = self.generator
        if "eta" in accepted:
            self._step_options["eta"] = self.eta
        # What the UNet saw and answered last, for previews: (input, prediction, timestep).
        self.seen: tuple[torch.Tensor, torch.Tensor, float] | None = None

    @property
    def evaluations_total(self) -> int:
        """UNet calls from start to finish."""
        return len(self._times) - self.first

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do but decoding."""
        return self.evaluations_done >= self.evaluations_total

    @property
    def step(self) -> int:
        """How many of the `steps` that were asked for are done."""
        return self.steps * self.evaluations_done // max(1, self.evaluations_total)

    @property
    def fraction(self) -> float:
        """Where in its steps it is: 0.0 before the first, below 1.0 in the last."""
        return self.evaluations_done / max(1, self.evaluations_total)

    @property
    def unet_plan(self) -> PatchPlan:
        """What its adapters do to the UNet in the next step."""
        return self.stack.plan(self.fraction) if self.stack is not None else NO_CHANGES

    @property
    def active_controls(self) -> tuple[Active, ...]:
        """The ControlNet units that work in the next evaluation."""
        if not self.controls.units or self.finished:
            return ()
        timestep = self._times[self.first + self.evaluations_done]
        training = int(self.scheduler.config.num_train_timesteps)
        return self.controls.active(Moment(self.evaluations_done, self.evaluations_total, timestep, training))

    @property
    def recipe(self) -> str:
        """What must be the same for a snapshot of it to go on."""
        sources = self.stack.sources if self.stack is not None else ()
        return recipe_digest(
            self.spec, self.seed, self.model, (*sources, *self._control_sources, *self.controls.sources, *self.words)
        )

    def end_controls(self) -> None:
        """Let go of the networks of its units: no step is left for them. Snapshots are of the same recipe as before."""
        self._control_sources = (*self._control_sources, *self.controls.sources)
        self.controls = ControlSet()

    @property
    def key(self) -> ExecutionKey:
        """With whom this picture may share a UNet call, now."""
        return ExecutionKey(
            model=self.model,
            height=int(self.latents.shape[2]),
            width=int(self.latents.shape[3]),
            dtype=str(self.dtype).removeprefix("torch."),
            adapters=self.stack.signature(self.fraction) if self.stack is not None else "",
            controls=signature(self.active_controls),
            pinned=self.text.length if self.spec.repeatable else 0,
        )

    def rows(self) -> Rows:
        """What to ask the UNet next. Asking twice changes nothing."""
        place = self.first + self.evaluations_done
        scaled = self.scheduler.scale_model_input(self.latents, self._entries[place])
        negative = 1 if self.weights else 0
        active, timestep = self.active_controls, self._times[place]
        signal = signal_share(self.scheduler, timestep) if active else 1.0
        return Rows(scaled, timestep, self.text, self.added, self.timestep_cond, active, negative, signal)

    def fold(self, rows: Rows, answer: torch.Tensor) -> None:
        """Take the UNet's answer to `rows`, shape (r, C, h, w), and step.

        Raises:
            GenerationError: `picture_not_finite` when the latents are no numbers any more.
        """
        answer = answer.float()
        prediction = answer
        if self.weights:
            negative = answer[0:1]
            prediction = guide(negative, answer[1:2], self.weights[0])
            for place, weight in enumerate(self.weights[1:], start=2):
                prediction = prediction + weight * (answer[place : place + 1] - negative)
        place = self.first + self.evaluations_done
        latents = self.scheduler.step(
            prediction, self._entries[place], self.latents, return_dict=False, **self._step_options
        )[0]
        self.evaluations_done += 1
        self.latents = self._masked(latents) if self.start is not None else latents
        self.seen = (rows.latents, prediction, rows.timestep)
        if not bool(torch.isfinite(self.latents).all()):
            raise GenerationError(
                "picture_not_finite",
                f"The picture turned into numbers that are none in step {self.step} of {self.steps}.",
                "Try another sampler, a lower guidance, or float32 under [engine] dtype.",
            )

    def _masked(self, latents: torch.Tensor) -> torch.Tensor:
        """Where the mask keeps the old picture, put it back, as noisy as the next step expects."""
        start = self.start
        if start is None or start.mask is None or self.noise is None:
            return latents
        kept = start.latents
        if not self.finished:
            place = self.first + self.evaluations_done
            kept = self.scheduler.add_noise(kept, self.noise, self._entries[place][None])
        return start.mask * latents + (1 - start.mask) * kept

    def snapshot(self) -> ContextSnapshot:
        """All that is needed to go on from here, bit for bit, with `engine.pipeline.encode.resume`."""
        tensors, scheduler = scheduler_state(self.scheduler)
        tensors["latents"] = self.latents.detach().cpu().contiguous().clone()
        tensors["generator"] = self.generator.get_state()
        if self.start is not None:
            tensors["start.latents"] = self.start.latents.detach().cpu().contiguous().clone()
            if self.start.mask is not None:
                tensors["start.mask"] = self.start.mask.detach().cpu().contiguous().clone()
        tree = {
            "schema": SNAPSHOT_SCHEMA,
            "recipe": self.recipe,
            "index": self.index,
            "seed": self.seed,
            "evaluations_done": self.evaluations_done,
            "start_step": self.start.start_step if self.start is not None else 0,
            "scheduler": scheduler,
        }
        return ContextSnapshot(tensors, tree)

    def take_up(self, snapshot: ContextSnapshot) -> None:
        """Go on where `snapshot` was taken. Raises KeyError where it does not fit."""
        tensors, tree = snapshot.tensors, snapshot.tree
        restore_scheduler(self.scheduler, tensors, tree["scheduler"])
        self.generator.set_state(tensors["generator"])
        self.latents = tensors["latents"].to(self.latents.device)
        self.evaluations_done = int(tree["evaluations_done"])
        self._times = self.scheduler.timesteps.tolist()
        self._entries = list(self.scheduler.timesteps)
