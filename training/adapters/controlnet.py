"""Train a ControlNet (arxiv.org/abs/2302.05543) on the frozen base and write it as a diffusers folder."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from training.adapters.config import ControlNetConfig
from training.adapters.frozen import FrozenBase, list_set
from training.adapters.hints import hint_of
from training.adapters.loop import run_course
from training.adapters.metadata import FAMILY, PROJECT, hash_of_base
from training.config import Recipe
from training.data.latents import Draw, encode_variants
from training.data.variants import draw_variant
from training.device import Device
from training.files import write_atomically
from training.noise import Noise

NAME = "diffusion_pytorch_model.safetensors"
COPIED_FACTOR = 0.4
"""How fast the layers copied from the base learn, against the new ones."""


def build_controlnet(unet: Any, size: int) -> Any:
    """The UNet's encoder copied, zero convolutions behind it. Hints (B, 3, `size`, `size`) in 0–1 are brought to the
    latents' size by one stride of 2 for each halving."""
    from diffusers import ControlNetModel

    halvings = (size // unet.config.sample_size).bit_length() - 1
    widths = tuple(16 * 2**number for number in range(halvings + 1))
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)


def train_controlnet(
    config: ControlNetConfig, recipe: Recipe, folder: Path, model: Path, device: Device
) -> dict[str, float]:
    """Train, or go on from `folder`/adapters/NAME.pt; writes `model`/controlnet/NAME/."""
    base = FrozenBase(model, device.place)
    data = replace(recipe.data, no_caption=config.no_caption)
    concepts, variants, sets = list_set(recipe, folder, recipe.data.sets)
    latents = encode_variants(base.vae, variants, sets, folder / "latents.pt", device.place)
    draw = Draw(data, concepts, variants, latents)
    torch.manual_seed(recipe.seed)
    net = build_controlnet(base.unet, recipe.data.size).to(device.place, memory_format=torch.channels_last).train()
    noise = Noise(device.place)
    fresh = {name for name, _ in net.named_parameters() if name.startswith("controlnet_")}
    parameters = list(net.parameters())
    groups = [
        {"params": [value for name, value in net.named_parameters() if name in fresh], "factor": 1.0},
        {"params": [value for name, value in net.named_parameters() if name not in fresh], "factor": COPIED_FACTOR},
    ]
    count = sum(parameter.numel() for parameter in parameters)
    print(f"{config.name}: {count / 1e6:.2f} M parameters, {len(variants)} pictures", flush=True)

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        rows, captions = draw.pick(batch, rng)
        hints = np.stack([hint_of(config.hint, draw_variant(variants[row], sets), rng) for row in rows])
        hint = torch.from_numpy(hints).permute(0, 3, 1, 2).float().div_(255).to(device.place)
        clean = draw.latents[torch.tensor(rows)].to(device.place, memory_format=torch.channels_last)
        t = noise.draw(batch, recipe.base.low_noise_share)
        noisy, wanted = noise.mix(clean, torch.randn_like(clean), t)
        states = base.embed(captions)
        with device.autocast():
            down, middle = net(noisy, t, states, controlnet_cond=hint, return_dict=False)
            made = base.unet(
                noisy, t, states, down_block_additional_residuals=down, mid_block_additional_residual=middle
            ).sample
        return F.mse_loss(made.float(), wanted)

    settings = {**asdict(config), "base": hash_of_base(model), "size": recipe.data.size, "seed": recipe.seed}
    for word in ("course", "title", "description", "name", "no_caption"):
        settings.pop(word)
    path = folder / "adapters" / f"{config.name}.pt"
    numbers = run_course(config.name, config.course, parameters, loss_of, path, settings, recipe.seed, groups)
    return {**numbers, "parameters": float(count), "bytes": float(save_controlnet(net, config, model))}


def save_controlnet(net: Any, config: ControlNetConfig, model: Path) -> int:
    """config.json, float16 weights and easel.toml in `model`/controlnet/NAME; returns the weights' bytes."""
    from safetensors.torch import save_file

    to = model / "controlnet" / config.name
    to.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in net.state_dict().items()}
    metadata = {
        "format": "pt", "modelspec.sai_model_spec": "1.0.0", "modelspec.title": config.title,
        "modelspec.description": config.description, "modelspec.architecture": f"{FAMILY}/controlnet",
        "modelspec.implementation": PROJECT, "modelspec.preprocessor": config.hint,
    }  # fmt: skip
    write_atomically(to / NAME, lambda target: save_file(state, target, metadata=metadata))
    (to / NAME).chmod(0o644)
    document = {key: value for key, value in dict(net.config).items() if key not in ("_name_or_path",)}
    text = json.dumps({"_class_name": "ControlNetModel", **document}, indent=2, sort_keys=True, default=list) + "\n"
    write_atomically(to / "config.json", lambda target: target.write_text(text, encoding="utf-8"))
    words = {
        "name": config.title, "family": "sd1", "variant": FAMILY, "description": config.description,
        "preprocessor": config.hint,
    }  # fmt: skip
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in words.items())
    write_atomically(to / "easel.toml", lambda target: target.write_text(lines, encoding="utf-8"))
    return (to / NAME).stat().st_size
