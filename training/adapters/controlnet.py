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
from training.autoencoder import to_tensor
from training.config import Recipe
from training.data.compose import BACKGROUNDS
from training.data.latents import Draw
from training.data.moves import Moves, move, on_grounds, premultiplied
from training.data.pictures import Pictures
from training.data.variants import Variant, cut_variant
from training.device import Device
from training.errors import RecipeError
from training.files import write_atomically
from training.noise import Noise

NAME = "diffusion_pytorch_model.safetensors"
WEIGHT_WORDS = ("weight", "weight_low", "weight_high")
COPIED_FACTOR = 0.5
"""How fast the layers copied from the base learn, against the new ones."""
MOVES = Moves(turn=0.2, shift=0.16, shrink=(0.95, 1.6))
"""Why: the base knows each picture by its caption alone, so only where the thing is somewhere else is a hint needed."""
LOW_NOISE_SHARE = 0.3


def build_controlnet(unet: Any, size: int) -> Any:
    """The UNet's encoder copied, zero convolutions behind it. Hints (B, 3, `size`, `size`) in 0–1 are brought to the
    latents' size by one stride of 2 for each halving."""
    from diffusers import ControlNetModel

    halvings = (size // unet.config.sample_size).bit_length() - 1
    widths = tuple(16 * 2**number for number in range(halvings + 1))
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)
    # Only the outer zero convolutions begin at zero: with zeros inside too, the hint is not seen for hundreds of steps.
    torch.nn.init.kaiming_normal_(net.controlnet_cond_embedding.conv_out.weight, nonlinearity="linear")
    return net


def train_controlnet(
    config: ControlNetConfig, recipe: Recipe, folder: Path, model: Path, device: Device
) -> dict[str, float]:
    """Train, or go on from `folder`/adapters/NAME.pt; writes `model`/controlnet/NAME/."""
    base = FrozenBase(model, device.place)
    data = replace(recipe.data, no_caption=config.no_caption, coloured_background=0.3)
    concepts, variants, sets = list_set(recipe, folder, recipe.data.sets)
    draw = Draw(data, concepts, variants, torch.empty(0))
    torch.manual_seed(recipe.seed)
    net = build_controlnet(base.unet, recipe.data.size)
    if config.begin:
        _begin_as(net, model / "controlnet" / config.begin)
    net.to(device.place, memory_format=torch.channels_last).train()
    noise = Noise(device.place)
    parameters = list(net.parameters())
    groups = [{"params": [], "factor": 1.0}, {"params": [], "factor": COPIED_FACTOR}]
    for name, value in net.named_parameters():
        groups[0 if name.startswith("controlnet_") else 1]["params"].append(value)  # type: ignore[attr-defined]
    count = sum(parameter.numel() for parameter in parameters)
    print(f"{config.name}: {count / 1e6:.2f} M parameters, {len(variants)} pictures", flush=True)

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        rows, captions = draw.pick(batch, rng)
        pictures = move_variants([variants[row] for row in rows], sets, rng)
        hints = np.stack([hint_of(config.hint, picture, rng) for picture in pictures])
        hint = torch.from_numpy(hints).permute(0, 3, 1, 2).float().div_(255).to(device.place)
        with torch.no_grad():
            clean = base.vae.encode(to_tensor(pictures).to(device.place)).latents
        clean = clean.to(memory_format=torch.channels_last)
        t = noise.draw(batch, LOW_NOISE_SHARE)
        noisy, wanted = noise.mix(clean, torch.randn_like(clean), t)
        states = base.embed(captions)
        with device.autocast():
            down, middle = net(noisy, t, states, controlnet_cond=hint, return_dict=False)
            made = base.unet(
                noisy, t, states, down_block_additional_residuals=down, mid_block_additional_residual=middle
            ).sample
        return F.mse_loss(made.float(), wanted)

    settings = {**asdict(config), "base": hash_of_base(model), "size": recipe.data.size, "seed": recipe.seed}
    for word in ("course", "title", "description", "name", "no_caption", "weights"):
        settings.pop(word)
    path = folder / "adapters" / f"{config.name}.pt"
    numbers = run_course(config.name, config.course, parameters, loss_of, path, settings, recipe.seed, groups)
    return {**numbers, "parameters": float(count), "bytes": float(save_controlnet(net, config, model))}


def move_variants(variants: list[Variant], sets: dict[str, Pictures], rng: np.random.Generator) -> np.ndarray:
    """(B, H, W, 3) uint8: the pictures, three of four with the thing moved."""
    rgba = premultiplied([cut_variant(variant, sets) for variant in variants])
    moved = move(rgba, MOVES, rng)
    stay = torch.from_numpy(rng.random(len(variants)) < 0.25)
    moved[stay] = rgba[stay]
    grounds = torch.tensor([BACKGROUNDS[variant.background or "white"] for variant in variants]).float() / 255
    made = on_grounds(moved, grounds)
    return (made.clamp(0, 1) * 255 + 0.5).byte().permute(0, 2, 3, 1).numpy()


def _begin_as(net: Any, place: Path) -> None:
    """Take the weights of a finished ControlNet. Raises `RecipeError` when it is not there."""
    from safetensors.torch import load_file

    if not (place / NAME).exists():
        raise RecipeError(f"The ControlNet {place.name} is not trained yet.", "Train it first.")
    net.load_state_dict({key: value.float() for key, value in load_file(place / NAME).items()})


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
    words: dict[str, str | float] = {
        "name": config.title, "family": "sd1", "variant": FAMILY, "description": config.description,
        "preprocessor": config.hint,
    }  # fmt: skip
    if config.weights:
        words |= dict(zip(WEIGHT_WORDS, config.weights, strict=True))
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in words.items())
    write_atomically(to / "easel.toml", lambda target: target.write_text(lines, encoding="utf-8"))
    return (to / NAME).stat().st_size
