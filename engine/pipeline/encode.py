"""From a resolved spec to a GenerationContext: prompts encoded, scheduler prepared, first noise drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from engine.adapters.plan import NO_CHANGES
from engine.adapters.stack import AdapterStack
from engine.conditioning.encode import Conditioning, encode
from engine.conditioning.grammar import parse
from engine.conditioning.inversions import PromptWords, Sources, WordSource, bundled_sources, file_sources
from engine.control.compose import ControlSet
from engine.errors import AdapterError
from engine.pipeline.context import GenerationContext, LatentStart
from engine.pipeline.lengths import TextRows, join
from engine.pipeline.model import EmbeddingCache, ModelBundle
from engine.pipeline.snapshot import ContextSnapshot, SnapshotUnusableError, recipe_digest
from engine.protocol.notices import Notice
from engine.protocol.specs import SEED_RANGE, GenerationSpec
from engine.sampling.guidance import guidance_embedding
from engine.sampling.noise import PictureNoise
from engine.sampling.schedules import set_steps
from engine.sampling.table import make_scheduler, sampler


def begin(
    bundle: ModelBundle,
    spec: GenerationSpec,
    index: int,
    *,
    context_id: str,
    cache: EmbeddingCache | None = None,
    start: LatentStart | None = None,
    stack: AdapterStack | None = None,
    controls: ControlSet | None = None,
) -> GenerationContext:
    """Picture `index` of a resolved spec, before its first step; its seed is the spec's plus `index`.

    Args:
        stack: the spec's adapters, read for this model; whoever reads them closes them.
        controls: the spec's ControlNet units, with their hints embedded; whoever lends the networks keeps them leased.

    Raises:
        SpecError: what the prompt or the sampler is refused for. AdapterError: the adapters overflow the text encoder.
    """
    steps, guidance = _needed(spec.steps, "steps"), _needed(spec.guidance, "guidance")
    sampler_id, schedule_id = _needed(spec.sampler, "sampler"), spec.schedule or "automatic"
    seed = picture_seed(spec, index)
    scheduler = make_scheduler(sampler_id, schedule_id, bundle.scheduler_config, seed)
    set_steps(scheduler, sampler_id, schedule_id, steps)
    first = start.start_step * scheduler.order if start is not None else 0
    first = min(first, len(scheduler.timesteps) - 1)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = _noise(bundle, spec, generator)
    texts = _Texts(bundle, spec, cache, stack)
    text, added, notices = texts.conditions(guided=_is_guided(bundle, guidance))
    context = GenerationContext(
        id=context_id,
        spec=spec,
        index=index,
        seed=seed,
        model=bundle.model_key,
        latents=_first_latents(scheduler, noise, start, first, bundle.device),
        scheduler=scheduler,
        generator=generator,
        text=text,
        weights=(guidance,) if _is_guided(bundle, guidance) else (),
        steps=steps,
        dtype=bundle.dtype,
        eta=sampler(sampler_id).eta,
        added=added,
        timestep_cond=_timestep_cond(bundle, guidance, text.embeds.shape[0]),
        start=_on_device(start, bundle.device),
        noise=noise if start is not None and start.mask is not None else None,
        first=first,
        notices=notices,
        stack=stack,
        controls=controls if controls is not None else ControlSet(),
        words=texts.words,
    )
    if sampler(sampler_id).seeded:
        scheduler.noise_sampler = PictureNoise(scheduler, context.latents, seed)
    return context


def resume(
    bundle: ModelBundle,
    spec: GenerationSpec,
    index: int,
    snapshot: ContextSnapshot | bytes,
    *,
    context_id: str,
    cache: EmbeddingCache | None = None,
    stack: AdapterStack | None = None,
    controls: ControlSet | None = None,
) -> GenerationContext | None:
    """The context that `snapshot` was taken of, to go on bit for bit.

    Returns None where the snapshot is damaged, or of another spec, model, adapter, embedding or version: the picture
    begins anew then.
    """
    try:
        if isinstance(snapshot, bytes):
            snapshot = ContextSnapshot.from_bytes(snapshot)
        sources = stack.sources if stack is not None else ()
        sources += controls.sources if controls is not None else ()
        sources += _Texts(bundle, spec, None, stack).words
        if snapshot.tree["recipe"] != recipe_digest(spec, picture_seed(spec, index), bundle.model_key, sources):
            return None
        start = None
        if "start.latents" in snapshot.tensors:
            start = LatentStart(
                snapshot.tensors["start.latents"],
                int(snapshot.tree["start_step"]),
                snapshot.tensors.get("start.mask"),
            )
        context = begin(
            bundle, spec, index, context_id=context_id, cache=cache, start=start, stack=stack, controls=controls
        )
        context.take_up(snapshot)
    except (SnapshotUnusableError, KeyError):
        return None
    return context


def picture_seed(spec: GenerationSpec, index: int) -> int:
    """The seed of picture `index`; it wraps at 2³²."""
    return (_needed(spec.seed, "seed") + index) % (SEED_RANGE[1] + 1)


def _needed(value: Any, name: str) -> Any:
    if value is None:
        raise ValueError(f"the spec was not resolved: it has no {name}")
    return value


def _is_guided(bundle: ModelBundle, guidance: float) -> bool:
    """Whether the negative prompt is asked too. Distilled UNets take the guidance as a number instead."""
    return guidance > 1.0 and bundle.unet_config.time_cond_proj_dim is None


def _timestep_cond(bundle: ModelBundle, guidance: float, rows: int) -> torch.Tensor | None:
    width = bundle.unet_config.time_cond_proj_dim
    if width is None:
        return None
    return guidance_embedding(guidance, width).to(bundle.device, bundle.dtype).expand(rows, -1)


def _noise(bundle: ModelBundle, spec: GenerationSpec, generator: torch.Generator) -> torch.Tensor:
    """Made on the CPU in float32, so that a seed means the same noise on every machine; shape (1, C, h, w)."""
    height = _needed(spec.height, "height") // bundle.latent_scale
    width = _needed(spec.width, "width") // bundle.latent_scale
    shape = (1, bundle.unet_config.in_channels, height, width)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(bundle.device)


def _first_latents(
    scheduler: Any, noise: torch.Tensor, start: LatentStart | None, first: int, device: torch.device
) -> torch.Tensor:
    if start is None or first == 0:
        return noise * scheduler.init_noise_sigma
    latents: torch.Tensor = scheduler.add_noise(start.latents.to(device), noise, scheduler.timesteps[first : first + 1])
    return latents


def _on_device(start: LatentStart | None, device: torch.device) -> LatentStart | None:
    if start is None:
        return None
    mask = start.mask.to(device) if start.mask is not None else None
    return LatentStart(start.latents.to(device), start.start_step, mask)


class _Texts:
    """The prompts of one picture on their way to embeddings."""

    def __init__(
        self, bundle: ModelBundle, spec: GenerationSpec, cache: EmbeddingCache | None, stack: AdapterStack | None
    ) -> None:
        self._bundle, self._spec, self._cache, self._stack = bundle, spec, cache, stack
        sources = _sources(bundle, stack)
        self._parsed = {text: parse(text, spec.prompt_syntax) for text in (spec.prompt, spec.negative_prompt or "")}
        self._words = {text: PromptWords(parsed, sources) for text, parsed in self._parsed.items()}

    @property
    def words(self) -> tuple[str, ...]:
        """The inversions that the prompts name, with the state of their files."""
        return tuple(f"{word}|{state}" for words in self._words.values() for word, state in words.signature)

    def conditions(self, *, guided: bool) -> tuple[TextRows, dict[str, torch.Tensor], tuple[Notice, ...]]:
        """Embeddings and added conditions of all rows, and what encoding decided by itself."""
        bundle, spec = self._bundle, self._spec
        positive = self._encoded(spec.prompt)
        rows = [self._negative(positive), positive] if guided else [positive]
        text = join([TextRows(row.embeds.to(bundle.device, bundle.dtype)) for row in rows])
        added: dict[str, torch.Tensor] = {}
        if bundle.is_xl:
            pooled = [row.pooled for row in rows if row.pooled is not None]
            size = (spec.height, spec.width, 0, 0, spec.height, spec.width)
            times = torch.tensor([size], dtype=torch.float32, device=bundle.device)
            added = {
                "text_embeds": torch.cat(pooled).to(bundle.device, bundle.dtype),
                "time_ids": times.expand(len(rows), -1),
            }
        notices = dict.fromkeys(notice for row in rows for notice in row.notices)
        return text, added, tuple(notices)

    def _negative(self, positive: Conditioning) -> Conditioning:
        text = self._spec.negative_prompt or ""
        bundle = self._bundle
        if bundle.is_xl and bundle.zeros_for_empty and not text.strip() and positive.pooled is not None:
            # As diffusers' `force_zeros_for_empty_prompt`; SDXL was trained with zeros for "no prompt".
            return Conditioning(torch.zeros_like(positive.embeds), torch.zeros_like(positive.pooled), 0)
        return self._encoded(text)

    def _encoded(self, text: str) -> Conditioning:
        bundle, spec, stack, cache = self._bundle, self._spec, self._stack, self._cache
        parsed, words = self._parsed[text], self._words[text]
        clip_skip = spec.clip_skip or 1
        carried = stack.text_signature() if stack is not None else ""
        key = (bundle.text_key, carried, clip_skip, text, spec.prompt_syntax, str(bundle.dtype), words.signature)
        found = cache.get(key) if cache is not None else None
        if found is not None:
            return found
        try:
            bundle.carry_text(stack.text_plan() if stack is not None else NO_CHANGES)
        except AdapterError as error:
            if stack is not None:
                stack.failed(error)
            raise
        made = encode(parsed, bundle.tokenizers, bundle.text_encoders, clip_skip, words)
        # Admission has told already what the grammar left out.
        told = set(parsed.notices)
        made = replace(made, notices=tuple(notice for notice in made.notices if notice not in told))
        if cache is not None:
            cache.put(key, made, made.nbytes)
        return made


def _sources(bundle: ModelBundle, stack: AdapterStack | None) -> Sources:
    """The words that inversions stand for. Those inside the job's adapters were trained with them, and come first."""
    sources: dict[str, WordSource] = {}
    for row in stack.adapters if stack is not None else ():
        if row.ref.enabled:
            bundled = bundled_sources(row.adapter.embeddings, f"{row.source}|bundled", row.adapter.path.name)
            sources = {**sources, **bundled, **sources}
    files = file_sources(bundle.find_embeddings())
    return {**sources, **files, **sources}
