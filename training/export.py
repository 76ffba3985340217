"""Write a trained model as a folder that plain diffusers loads: half precision, `text_model.` prefix, notices."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.adapters.card import adapters_lines
from training.adapters.config import read_adapters
from training.base import load_parts
from training.config import Recipe
from training.data.concepts import read_concepts
from training.data.sets import SETS
from training.decoder import load_tuned_autoencoder
from training.errors import RecipeError
from training.files import write_atomically
from training.licences import licences
from training.model_card import easel_toml, model_card
from training.noise import build_scheduler
from training.reports import read_report, write_report
from training.text import tokenizer_folder, widen

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
LIMIT, FILE_LIMIT = 180_000_000, 95_000_000
"""Bytes: the whole folder and each file must stay below, since they travel with every clone."""


WEIGHTS = ".safetensors"


def export_model(recipe: Recipe, work: Path, folder: Path, to: Path) -> dict[str, float]:
    """Write the whole model folder `to`. Raises `RecipeError` when it grows past `LIMIT`."""
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    parts, numbers = load_parts(recipe, concepts, work, folder)
    report = read_report(folder)
    report["base"] = {**report.get("base", {}), **numbers, "seen": numbers["step"] * recipe.base.batch}
    save_component(load_tuned_autoencoder(recipe, folder), to / "vae")
    save_component(parts.unet, to / "unet")
    save_component(widen(parts.text, parts.compact, recipe.base), to / "text_encoder", "model.safetensors")
    check_prefix(to / "text_encoder" / "model.safetensors")
    scheduler = build_scheduler()
    scheduler.save_pretrained(to / "scheduler")
    (to / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        write_atomically(to / "tokenizer" / name, partial(shutil.copyfile, tokenizer_folder(work) / name))
    write_index(to)
    write_report(folder, "base", report["base"])
    write_papers(recipe, folder, to)
    sizes = [path.stat().st_size for path in to.rglob("*") if path.is_file()]
    print(f"{to.name}: {sum(sizes) / 1e6:.1f} MB, step {numbers['step']}", flush=True)
    for what, size, limit in (("model folder", sum(sizes), LIMIT), ("largest file", max(sizes), FILE_LIMIT)):
        if size > limit:
            raise RecipeError(
                f"The {what} takes {size / 1e6:.0f} MB, more than {limit / 1e6:.0f}.", "Use narrower networks."
            )
    return numbers


def write_papers(recipe: Recipe, folder: Path, to: Path) -> None:
    """easel.toml, README.md and LICENCES.md of the model folder `to`, from the run's numbers and the files there."""
    concepts, adapters = read_concepts(recipe.concepts_path(), recipe.data.only), read_adapters(recipe)
    rows = [SETS[key] for key in recipe.data.sets if key in SETS]
    texts = {
        "easel.toml": easel_toml(recipe, rows),
        "README.md": model_card(recipe, rows, concepts, read_report(folder), adapters_lines(adapters, folder, to)),
    }
    files = {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}
    shipped = {Path(name).stem for name in files}
    learnt = {each.name: each.set for each in adapters.loras} | {each.name: each.set for each in adapters.embeddings}
    learnt = {name: key for name, key in learnt.items() if name in shipped}
    more = [SETS[key] for key in dict.fromkeys(learnt.values()) if key not in recipe.data.sets]
    hashes = {name: hashlib.sha256((to / name).read_bytes()).hexdigest() for name in files if name.endswith(WEIGHTS)}
    texts["LICENCES.md"] = licences([*rows, *more], sorted({*files, *texts, "LICENCES.md"}), learnt, hashes)
    for name, text in texts.items():
        write_atomically(to / name, lambda target, text=text: target.write_text(text, encoding="utf-8"))  # type: ignore[misc]
        (to / name).chmod(0o644)


def save_component(model: Any, folder: Path, name: str = "diffusion_pytorch_model.safetensors") -> None:
    """Weights in float16 and the config of a diffusers or transformers model."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    if name == "model.safetensors":
        state = {key: value for key, value in state.items() if not key.endswith("position_ids")}
        state = {key if key.startswith("text_model.") else f"text_model.{key}": value for key, value in state.items()}
        config = {**model.config.to_dict(), "architectures": ["CLIPTextModel"], "dtype": "float32"}
        config.pop("_name_or_path", None)
        text = json.dumps(config, indent=2, sort_keys=True, default=str) + "\n"
        write_atomically(folder / "config.json", lambda target: target.write_text(text, encoding="utf-8"))
    else:
        write_atomically(folder / "config.json", lambda target: model.to_json_file(target))
    write_atomically(folder / name, lambda target: save_file(state, target, metadata={"format": "pt"}))
    (folder / name).chmod(0o644)


def check_prefix(path: Path) -> None:
    """Every key of a text encoder file must begin with `text_model.`: otherwise it loads as random weights."""
    wrong = [key for key in load_file(path) if not key.startswith("text_model.")]
    if wrong:
        raise RecipeError(f"The text encoder's key {wrong[0]!r} lacks the prefix text_model.")


def write_index(to: Path) -> None:
    """model_index.json of a `StableDiffusionPipeline` without a safety checker."""
    from diffusers import __version__

    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": __version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    text = json.dumps(index, indent=2) + "\n"
    write_atomically(to / "model_index.json", lambda target: target.write_text(text, encoding="utf-8"))


def load_pipeline(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Plain diffusers, offline."""
    from diffusers import StableDiffusionPipeline

    if not (folder / "model_index.json").exists():
        raise RecipeError(f"There is no model in {folder.name}.", "Run `python -m training export` first.")
    pipeline = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, dtype=dtype, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
