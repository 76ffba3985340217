"""The picture of docs/adapters.md: each adapter of the starter kit at rising weights, same seed and prompt.

python3 -m benchmarks.adapter_sheet [--out docs/images/adapter-sweeps.png] [--prompt "a red apple"] [--seed 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

OUT = Path(__file__).resolve().parent.parent / "docs" / "images" / "adapter-sweeps.png"
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
SHOWN = 128
LEFT, TOP, GAP = 92, 30, 6
GROUND, INK = "#f5f3ee", "#26241f"
# The picture shows flat drawings; more colours only make the file larger.
COLOURS = 256


def main(arguments: Sequence[str] | None = None) -> None:
    """Paint all pictures and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--prompt", default="a red apple")
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args(arguments)
    sheet_of(sweeps(given.prompt, given.seed)).quantize(COLOURS).save(given.out, optimize=True)
    print(f"{given.out}: {given.out.stat().st_size / 1024:.0f} KB")


def sweeps(prompt: str, seed: int) -> dict[str, list[Any]]:
    """Title → one picture of 128 × 128 for each weight; a weight of 0 leaves the trigger words out as well."""
    from engine.jobs.enlarging import Enlarger
    from engine.protocol.specs import AdapterRef
    from engine.server.facade import IntelligentGenerationPipeline

    found: dict[str, list[Any]] = {}
    with IntelligentGenerationPipeline("starter") as pipeline:
        enlarger = Enlarger(pipeline.pool, lambda name: pipeline.library.path_of("upscaler", name), "cpu")
        upscaler = pipeline.library.files("upscaler")[0].id
        starters = [each for each in pipeline.library.adapters.entries if each.view.id.startswith("easel-")]
        for entry in sorted(starters, key=lambda each: each.view.id):
            row = found[entry.view.title] = []
            for weight in WEIGHTS:
                adapters = (AdapterRef(name=entry.view.id, unet_weight=weight, add_trigger_words=True),)
                painted = pipeline.generate(prompt, seed=seed, adapters=adapters).image
                assert painted is not None
                row.append(enlarger.enlarge(painted, 2, upscaler) if painted.width < SHOWN else painted)
    return found


def sheet_of(rows: dict[str, list[Any]]) -> Image.Image:
    """Rows of pictures under their weights, beside their titles."""
    width = LEFT + len(WEIGHTS) * (SHOWN + GAP) + GAP
    height = TOP + len(rows) * (SHOWN + GAP) + GAP
    sheet = Image.new("RGB", (width, height), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, weight in enumerate(WEIGHTS):
        draw.text((LEFT + column * (SHOWN + GAP) + SHOWN // 2, TOP // 2), f"{weight:g}", INK, font, anchor="mm")
    for line, (title, pictures) in enumerate(rows.items()):
        top = TOP + line * (SHOWN + GAP)
        draw.text((10, top + SHOWN // 2), title.removeprefix("easel-"), INK, font, anchor="lm")
        for column, picture in enumerate(pictures):
            shown = picture.resize((SHOWN, SHOWN), Image.Resampling.NEAREST) if picture.width != SHOWN else picture
            sheet.paste(shown, (LEFT + column * (SHOWN + GAP), top))
    return sheet


if __name__ == "__main__":
    main()
