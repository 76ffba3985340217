"""`python -m training STEP`: data, autoencoder, base, decoder, upscaler, export, grid, lora, controlnet, evaluate,
gallery, papers, or all.

Each step can be stopped and run again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.config import HERE, Recipe, read_recipe
from training.errors import RecipeError


@dataclass(frozen=True)
class Run:
    """What a step works with. `packages`: node_modules; `folder`: this recipe's renders and checkpoints."""

    recipe: Recipe
    work: Path
    device: str
    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        return self.work / self.recipe.key

    @property
    def packages(self) -> Path:
        return self.work / "packages" / "node_modules"


def step_data(run: Run) -> None:
    """Fetch the packages by name and render the pictures."""
    from training.adapters.config import read_adapters
    from training.data.fetch import fetch_packages, fetch_vocabulary
    from training.data.pictures import render_sets

    keys = tuple(dict.fromkeys([*run.recipe.data.sets, *read_adapters(run.recipe).sets()]))
    fetch_packages(run.work / "packages", keys)
    fetch_vocabulary(run.work / "clip_tokenizer")
    render_sets(run.packages, run.folder, keys, run.recipe.data.size)


def step_autoencoder(run: Run) -> None:
    """Train the autoencoder."""
    from training.autoencoder import train_autoencoder
    from training.data.pictures import load_pictures, pictures_path
    from training.device import choose_device
    from training.reports import write_report

    keys = run.recipe.data.sets
    sets = [load_pictures(pictures_path(run.folder, key, run.recipe.data.size)) for key in keys]
    numbers = train_autoencoder(run.recipe, sets, run.folder, choose_device(run.device))
    write_report(run.folder, "autoencoder", numbers)


def step_base(run: Run) -> None:
    """Train the UNet and the text encoder."""
    from training.base import train_base
    from training.device import choose_device
    from training.reports import write_report

    numbers = train_base(run.recipe, run.work, run.folder, choose_device(run.device))
    write_report(run.folder, "base", numbers)


def step_decoder(run: Run) -> None:
    """Sharpen the decoder on the learnt pictures; does nothing when the recipe asks for no steps."""
    from training.decoder import train_decoder
    from training.device import choose_device
    from training.reports import write_report

    if run.recipe.autoencoder.decoder_steps > 0 and not (run.folder / "decoder.pt").exists():
        write_report(run.folder, "decoder", train_decoder(run.recipe, run.folder, choose_device(run.device)))


def step_export(run: Run) -> None:
    """Write the model folder in half precision."""
    from training.export import export_model

    export_model(run.recipe, run.work, run.folder, Path(run.options.to))


def step_upscaler(run: Run) -> None:
    """Put the ×4 upscaler beside the model; does nothing when it is there."""
    from training.upscaler import NAME, fetch_upscaler

    folder = Path(run.options.to) / "upscaler"
    if not (folder / NAME).exists():
        fetch_upscaler(folder)


def step_grid(run: Run) -> None:
    """Draw the recipe's example prompts with plain diffusers."""
    from training.grid import draw_grid

    draw_grid(Path(run.options.to), Path(run.options.grid), run.recipe)


def step_lora(run: Run) -> None:
    """Train the adapters and the textual inversions on the frozen base."""
    from training.adapters.config import read_adapters
    from training.adapters.embedding import train_embedding
    from training.adapters.lora import train_lora
    from training.device import choose_device
    from training.reports import write_report

    adapters, model, device = read_adapters(run.recipe), Path(run.options.to), choose_device(run.device)
    chosen = adapters.only(run.options.only)
    for lora in chosen.loras:
        write_report(run.folder, lora.name, train_lora(lora, run.recipe, run.folder, model, device))
    for word in chosen.embeddings:
        write_report(run.folder, word.name, train_embedding(word, run.recipe, run.folder, model, device))


def step_controlnet(run: Run) -> None:
    """Train the ControlNets on the frozen base."""
    from training.adapters.config import read_adapters
    from training.adapters.controlnet import train_controlnet
    from training.device import choose_device
    from training.reports import write_report

    adapters, model, device = read_adapters(run.recipe), Path(run.options.to), choose_device(run.device)
    for net in adapters.only(run.options.only).controlnets:
        write_report(run.folder, net.name, train_controlnet(net, run.recipe, run.folder, model, device))


def step_evaluate(run: Run) -> None:
    """Measure the model folder with a classifier made for it; the numbers go into the model card."""
    from training.device import choose_device
    from training.evaluation.run import evaluate_everything

    model, docs = Path(run.options.to), Path(run.options.docs)
    evaluate_everything(run.recipe, run.folder, model, docs, choose_device(run.device))


def step_gallery(run: Run) -> None:
    """Draw the pictures of docs/starter-kit.md."""
    from training.gallery import Gallery

    Gallery(run.recipe, run.folder, Path(run.options.to)).draw_all(Path(run.options.docs))


def step_papers(run: Run) -> None:
    """Write the model card, the licences and easel.toml again, from the numbers and files that there are."""
    from training.export import write_papers

    write_papers(run.recipe, run.folder, Path(run.options.to))


STEPS: dict[str, Callable[[Run], None]] = {
    "data": step_data,
    "autoencoder": step_autoencoder,
    "base": step_base,
    "decoder": step_decoder,
    "upscaler": step_upscaler,
    "export": step_export,
    "grid": step_grid,
    "lora": step_lora,
    "controlnet": step_controlnet,
    "evaluate": step_evaluate,
    "gallery": step_gallery,
    "papers": step_papers,
}


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 after one sentence about what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--recipe", default=str(HERE / "configs" / "starter.toml"), help="a TOML file")
    parser.add_argument("--work", default=str(HERE / "runs"), help="folder for data, renders and checkpoints")
    docs = HERE.parent / "docs" / "starter-kit"
    parser.add_argument("--docs", default=str(docs), help="the folder for the measurements' pictures")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = as the recipe says")
    parser.add_argument("--only", default="", help="lora, controlnet: the one of this name")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--to", default=str(HERE.parent / "models" / "starter"), help="the model folder")
    parser.add_argument("--grid", default=str(HERE.parent / "docs" / "starter-grid.png"), help="the grid picture")
    options = parser.parse_args(arguments)
    # a spinning OpenMP thread beside any other busy program costs a factor of twenty
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        run = Run(read_recipe(Path(options.recipe)), Path(options.work), options.device, options)
        import torch

        from training.torchvision_fix import declare_missing_operators

        declare_missing_operators()
        torch.set_num_threads(options.threads or run.recipe.threads or torch.get_num_threads())
        for name in STEPS if options.step == "all" else [options.step]:
            STEPS[name](run)
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"A file could not be read or written: {error}. Is the disk full?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Run the same step again to go on from the last checkpoint.", file=sys.stderr)
        return 130
    return 0
