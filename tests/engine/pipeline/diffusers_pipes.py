"""diffusers' own pipelines, which pictures are compared with: opened, built on the same parts, asked for latents.

The schedulers are built here by hand, not through Easel's table.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import torch

from engine.loading.torchvision_guard import guard_torchvision
from engine.protocol.specs import GenerationSpec

guard_torchvision()
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
SWITCHES: dict[str, dict[str, Any]] = {
    "automatic": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "sgm_uniform": {"timestep_spacing": "trailing"},
}


def open_pipe(folder: Path) -> Any:
    """The pipeline of a model folder, without progress bars; `pipe.folder` tells where it came from."""
    if (folder / "text_encoder_2").is_dir():
        pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    else:
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.folder = folder
    return pipe


def scheduler_of(pipe: Any, spec: GenerationSpec, seeds: list[int] | None = None, **more: Any) -> Any:
    """The scheduler that a spec asks for, from the model's own settings; `seeds` of several pictures."""
    name, settings = SCHEDULERS[spec.sampler]
    if spec.sampler == "dpmpp_sde":
        settings = {"noise_sampler_seed": seeds if seeds and len(seeds) > 1 else spec.seed}
    known = json.loads((pipe.folder / "scheduler" / "scheduler_config.json").read_text())
    config = {key: value for key, value in known.items() if not key.startswith("_")}
    return getattr(diffusers, name).from_config(config, **settings, **SWITCHES[spec.schedule], **more)


def on_parts_of(pipe: Any, kind: type[Any], spec: GenerationSpec, **parts: Any) -> Any:
    """A pipeline of another class on the parts of this one, with the spec's scheduler; `parts` are its own."""
    takes = inspect.signature(kind.__init__).parameters
    shared = {name: part for name, part in pipe.components.items() if name in takes}
    without = {name: False for name in ("add_watermarker", "requires_safety_checker") if name in takes}
    made = kind(**{**shared, **without, "scheduler": scheduler_of(pipe, spec), **parts})
    made.set_progress_bar_config(disable=True)
    return made


def latents_of(pipe: Any, spec: GenerationSpec, **more: Any) -> torch.Tensor:
    """The pipeline's latents for a spec; `more` goes to its call, and goes before what the spec says."""
    asked = {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt or None,
        "num_inference_steps": spec.steps,
        "guidance_scale": spec.guidance,
        "width": spec.width,
        "height": spec.height,
        "generator": torch.Generator().manual_seed(spec.seed or 0),
        "output_type": "latent",
    }
    latents: torch.Tensor = pipe(**{**asked, **more}).images
    return latents


def assert_same(ours: torch.Tensor, reference: torch.Tensor) -> None:
    """Within 1e-5 of the size of the latents (random weights let them grow to ten and more)."""
    scale = max(1.0, float(reference.abs().max()))
    assert float((ours - reference).abs().max()) <= 1e-5 * scale
