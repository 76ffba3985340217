"""What an adapter file says of itself: kohya's `ss_*` keys, ModelSpec's `modelspec.*` keys, and its hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from training.adapters.config import EmbeddingConfig, LoraConfig
from training.config import Recipe
from training.data.sets import SETS
from training.files import write_atomically

FAMILY = "easel-starter"
PROJECT = "Easel training recipe"


def trigger_of(key: str) -> str:
    """The words that call an adapter of the set `key`."""
    return SETS[key].styles[0]


def lora_metadata(config: LoraConfig, recipe: Recipe, names: list[str], numbers: Mapping[str, float]) -> dict[str, str]:
    """All values are strings; tables are JSON text. `names`: the learnt things' usual words, each once."""
    trigger = trigger_of(config.set)
    arguments: dict[str, Any] = {}
    if config.layout == "lycoris" or config.convolutions:
        arguments = {"algo": config.kind if config.kind in ("loha", "lokr") else "locon"}
        arguments |= {"conv_dim": config.rank, "conv_alpha": config.alpha} if config.convolutions else {}
        arguments |= {"factor": config.factor} if config.kind == "lokr" else {}
        arguments |= {"dora_wd": True, "wd_on_out": True} if config.kind == "dora" else {}
    module = "networks.lora" if config.kind == "lora" and config.layout == "kohya" else "lycoris.kohya"
    counts = Counter({trigger: len(names), **dict.fromkeys(names, 1)})
    return {
        "format": "pt",
        "ss_v2": "False",
        "ss_base_model_version": FAMILY,
        "ss_sd_model_name": recipe.model.name,
        "ss_network_module": "peft" if config.layout == "peft" else module,
        "ss_network_dim": str(config.rank),
        "ss_network_alpha": f"{config.alpha:g}",
        "ss_network_args": json.dumps(arguments),
        "ss_output_name": config.name,
        "ss_clip_skip": "1",
        "ss_resolution": f"({recipe.data.size}, {recipe.data.size})",
        "ss_num_train_images": str(len(names)),
        "ss_steps": str(int(numbers.get("steps", 0))),
        "ss_learning_rate": f"{config.course.rate:g}",
        "ss_batch_size_per_device": str(config.course.batch),
        "ss_seed": str(recipe.seed),
        "ss_v_parameterization": "True",
        "ss_dataset_dirs": json.dumps({config.set: {"n_repeats": 1, "img_count": len(names)}}),
        "ss_tag_frequency": json.dumps({config.set: dict(counts)}),
        "ss_training_comment": config.description,
        **_modelspec(config.title, config.description, config.set, recipe, "lora"),
    }


def embedding_metadata(config: EmbeddingConfig, recipe: Recipe, numbers: Mapping[str, float]) -> dict[str, str]:
    """The same for a textual-inversion file, whose trigger is its own name."""
    words = _modelspec(config.title, config.description, config.set, recipe, "textual-inversion")
    words["modelspec.trigger_phrase"] = config.name
    return {
        "format": "pt", "ss_base_model_version": FAMILY, "ss_output_name": config.name,
        "ss_steps": str(int(numbers.get("steps", 0))), "ss_seed": str(recipe.seed), **words,
    }  # fmt: skip


def _modelspec(title: str, description: str, key: str, recipe: Recipe, kind: str) -> dict[str, str]:
    row = SETS[key]
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": title,
        "modelspec.description": description,
        "modelspec.architecture": f"{FAMILY}/{kind}",
        "modelspec.implementation": PROJECT,
        "modelspec.author": f"{PROJECT}; pictures by {row.author}",
        "modelspec.license": row.licence,
        "modelspec.date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "modelspec.resolution": f"{recipe.data.size}x{recipe.data.size}",
        "modelspec.prediction_type": "v",
        "modelspec.tags": "style",
        "modelspec.trigger_phrase": trigger_of(key),
        "modelspec.usage_hint": f"Fits {recipe.model.name} only. Learnt from {row.title}.",
    }


def data_hash(document: bytes) -> str:
    """SHA-256 of everything after the safetensors header: it stays when only metadata change."""
    header = int.from_bytes(document[:8], "little")
    return hashlib.sha256(document[8 + header :]).hexdigest()


def save_with_hashes(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    """Write the file with `sshs_model_hash` and `modelspec.hash_sha256` added; returns the hash."""
    value = data_hash(save(tensors, metadata))
    whole = save(tensors, {**metadata, "sshs_model_hash": value, "modelspec.hash_sha256": f"0x{value}"})
    write_atomically(path, lambda target: target.write_bytes(whole))
    path.chmod(0o644)
    return value


def write_sidecar(path: Path, config: LoraConfig | EmbeddingConfig) -> None:
    """`X.json` beside `X.safetensors`, in the words that A1111's user metadata have."""
    lora = isinstance(config, LoraConfig)
    document = {
        "description": config.description,
        "sd version": "Other",
        "activation text": trigger_of(config.set) if lora else config.name,
        "preferred weight": config.weight if isinstance(config, LoraConfig) else 1.0,
        "negative text": "",
        "notes": f"Fits the starter model only. Learnt from {SETS[config.set].title} ({SETS[config.set].licence}).",
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def settings_of(config: LoraConfig | EmbeddingConfig, model_hash: str, size: int, seed: int) -> dict[str, Any]:
    """What a checkpoint is bound to: everything but the course and the words, and the base's weights."""
    words = ("course", "title", "description", "weight", "name", "layout")
    return {
        **{key: value for key, value in asdict(config).items() if key not in words},
        "base": model_hash, "size": size, "seed": seed,
    }  # fmt: skip


def hash_of_base(model: Path) -> str:
    """First 16 digits of the SHA-256 of the UNet's and the text encoder's weights."""
    made = hashlib.sha256()
    for part in ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        made.update((model / part).read_bytes())
    return made.hexdigest()[:16]
