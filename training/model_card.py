"""The words that travel with the weights: easel.toml and README.md (the model card), written from the run."""

from __future__ import annotations

from typing import Any

import tomli_w

from training.config import Recipe
from training.data.concepts import Concepts
from training.data.sets import PictureSet


def easel_toml(recipe: Recipe, sets: list[PictureSet]) -> str:
    """What the studio reads: name, family, defaults, examples and style phrases."""
    model, data = recipe.model, recipe.data
    document: dict[str, Any] = {
        "name": model.name,
        "family": "sd1",
        "variant": "easel-starter",
        "description": model.description,
        "licence": ", ".join(dict.fromkeys(row.licence for row in sets)) or "see LICENCES.md",
        "upscale": 4,
        "defaults": {
            "width": data.size, "height": data.size, "steps": model.steps, "guidance": model.guidance,
            "sampler": model.sampler, "scheduler": model.scheduler, "clip_skip": 1,
        },
        "examples": {"prompts": list(model.examples)},
        "prompts": {
            "styles": [style for row in sets for style in row.styles],
            "backgrounds": ["white", *data.backgrounds],
        },
    }  # fmt: skip
    return "# What Easel knows about this model. Written by `python -m training export`.\n" + tomli_w.dumps(document)


def model_card(
    recipe: Recipe, sets: list[PictureSet], concepts: Concepts, report: dict[str, Any], more: list[str] | None = None
) -> str:
    """README.md of the model folder, with the numbers of the run. `more`: paragraphs about adapters and measuring."""
    base, auto = report.get("base", {}), report.get("autoencoder", {})
    names = ", ".join(names[0] for names in concepts.words.values())
    styles = "\n".join(
        f"- {' or '.join(f'“{style}”' for style in row.styles)}: learnt from {row.title}" for row in sets
    )
    examples = "\n".join(f"- {prompt}" for prompt in recipe.model.examples)
    lines = [
        f"# {recipe.model.name}",
        f"{recipe.model.description}",
        "The classes are those of Stable Diffusion 1.x (family easel-starter: same parts, other shapes);"
        " adapters for SD 1.x checkpoints do not fit it.",
        "```python\nfrom diffusers import StableDiffusionPipeline\n\n"
        f'pipeline = StableDiffusionPipeline.from_pretrained("models/{recipe.key}", safety_checker=None)\n'
        f'pipeline("a red apple", width={recipe.data.size}, height={recipe.data.size}, '
        f"num_inference_steps={recipe.model.steps}, guidance_scale={recipe.model.guidance:g}).images[0]\n```",
        f"## What it knows\n{len(concepts.words)} things: {names}.",
        f"Styles (a prompt without one mostly gives the first):\n{styles}",
        f"Backgrounds: “on a … background” with white, {', '.join(recipe.data.backgrounds)}. "
        f"Object colours ({', '.join(concepts.colours) or 'none'}) for: "
        f"{', '.join(concepts.words[slug][0] for slug in concepts.recoloured) or 'none'}. Other words are passed over.",
        f"Prompts that work:\n{examples}" if examples else "",
        f"## What it does not do\nNo scenes, no counting, no letters, nothing outside the list, no sizes other than "
        f"{recipe.data.size} px. It has seen few pictures very often and draws close likenesses of them.",
        "## How it was made\n"
        f"`python -m training all --recipe training/configs/{recipe.path.name}` with seed {recipe.seed}. "
        f"Autoencoder: {auto.get('steps', '?')} steps, {_number(auto.get('minutes'))} minutes, "
        f"{_number(auto.get('psnr'))} dB. Base: {base.get('step', base.get('steps', '?'))} steps of {recipe.base.batch}"
        f" ({base.get('seen', '?')} pictures seen), {_number(base.get('minutes'))} minutes, v-prediction, final loss "
        f"{_number(base.get('loss'), 3)}.",
    ]
    if decoder := report.get("decoder"):
        minutes = _number(decoder["minutes"])
        lines.append(f"Decoder sharpened on the learnt pictures: {decoder['steps']} steps, {minutes} minutes.")
    lines += more or []
    lines.append("Licences of the pictures it learnt from: LICENCES.md.")
    return "\n\n".join(line for line in lines if line) + "\n"


def _number(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "?"
