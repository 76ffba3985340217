"""`python -m training evaluate`: train the judge, measure everything that the model folder holds, keep the numbers.

Each part is measured once per state of its file, so that a stopped run goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.adapters.config import Adapters, EvaluationConfig, read_adapters
from training.adapters.frozen import load_sets
from training.adapters.metadata import hash_of_base
from training.config import Recipe
from training.data.concepts import read_concepts
from training.device import Device
from training.errors import RecipeError
from training.evaluation.drawing import load_control
from training.evaluation.judge import train_judge
from training.evaluation.measures import (
    Bench,
    measure_adapter,
    measure_base,
    measure_colours,
    measure_control,
    measure_stack,
    measure_word,
)  # fmt: skip
from training.evaluation.neighbours import Label, measure_neighbours
from training.evaluation.reference import Deltas, deltas_of
from training.export import load_pipeline
from training.progress import Progress
from training.reports import read_report, write_report


def evaluate_everything(recipe: Recipe, folder: Path, model: Path, docs: Path, device: Device) -> None:
    """Writes report.json's "measured: …" parts and `docs`/neighbours.png. Raises `RecipeError` without settings."""
    adapters = read_adapters(recipe)
    config = adapters.evaluation
    if config is None:
        raise RecipeError(f"{recipe.path.name} says nothing about measuring.", "Add [evaluation] to its adapters file.")
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    keys = tuple(dict.fromkeys([*recipe.data.sets, *adapters.sets()]))
    learnt = load_sets(recipe, folder, keys)
    pipeline = load_pipeline(model)
    judge = train_judge(config.classifier, recipe, folder, concepts, learnt, pipeline.vae, device)
    write_report(folder, "judge", judge.numbers)
    judged = hash_of_file(folder / "judge.pt")
    progress = Progress("measure", pictures_of(config, adapters))
    bench = Bench(recipe, config, concepts, learnt, judge, pipeline, progress, folder / "drawn")
    base_of = f"{hash_of_base(model)} {judged} {config}"

    def once(name: str, of: str, work: Callable[[], dict[str, float]]) -> None:
        old = read_report(folder).get(f"measured: {name}", {})
        state = hashlib.sha256(f"{base_of} {of}".encode()).hexdigest()[:12]
        if old.get("of") != state:
            write_report(folder, f"measured: {name}", {**work(), "of": state})

    kept: list[tuple[np.ndarray, list[Label]]] = []

    def base() -> dict[str, float]:
        numbers, pictures, labels = measure_base(bench)
        kept.append((pictures, labels))
        rng = np.random.default_rng([recipe.seed, 61])
        rows = rng.permutation(len(labels))[: config.neighbours]
        sets = {key: learnt[key] for key in recipe.data.sets}
        near = measure_neighbours(
            recipe, pictures[rows], [labels[row] for row in rows], concepts, sets, docs / "neighbours.png"
        )
        return {**numbers, **{f"near_{name}": value for name, value in near.items()}}

    once("base", "", base)
    once("colours", "", lambda: measure_colours(bench))
    changes: dict[str, Deltas] = {}
    for lora in adapters.loras:
        file = model / "loras" / f"{lora.name}.safetensors"
        if file.exists():
            deltas = changes[lora.set] = deltas_of(file, pipeline)
            once(lora.name, hash_of_file(file), lambda key=lora.set, deltas=deltas: measure_adapter(bench, key, deltas))  # type: ignore[misc]
    stackable = list(changes.items())
    for first, second in zip(stackable[::2], stackable[1::2], strict=False):
        once(f"{first[0]} + {second[0]}", "", lambda pair=(first, second): measure_stack(bench, *pair))  # type: ignore[misc]
    for word in adapters.embeddings:
        file = model / "embeddings" / f"{word.name}.safetensors"
        if file.exists():
            once(word.name, hash_of_file(file), lambda file=file, word=word: measure_word(bench, word, file))  # type: ignore[misc]
    for net in adapters.controlnets:
        place = model / "controlnet" / net.name
        if (place / "config.json").exists():
            of = hash_of_file(place / "diffusion_pytorch_model.safetensors")
            once(net.name, of, lambda place=place, hint=net.hint: measure_control(bench, hint, load_control(place)))  # type: ignore[misc]


def hash_of_file(path: Path) -> str:
    """First 12 digits of the SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def pictures_of(config: EvaluationConfig, adapters: Adapters) -> int:
    """How many pictures a whole run draws, for the time left."""
    weights = len([weight for weight in config.weights if weight not in (0.0, 1.0)])
    each = 2 * config.adapter + weights * config.sweep
    words = len(adapters.embeddings) * config.adapter
    stacks = len(adapters.loras) // 2 * config.sweep
    control = len(adapters.controlnets) * 3 * config.control
    return config.base + config.colours * 4 // 3 + len(adapters.loras) * each + words + stacks + control
