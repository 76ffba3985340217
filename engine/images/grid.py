"""Pictures side by side with their labels, as one picture: lines beside, columns above."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP = 8
_PAPER, _INK, _EMPTY = (255, 255, 255), (38, 35, 31), (232, 229, 224)
_LARGEST_SIDE = 8192
_SMALLEST_CELL = 96


def labelled_grid(
    pictures: Sequence[Sequence[Image.Image | None]], lines: Sequence[str], columns: Sequence[str]
) -> Image.Image:
    """One RGB picture; cells are as large as the largest picture, or smaller where the whole would pass 8192 pixels.

    Args:
        pictures: line by line; None leaves a cell empty. lines, columns: their labels, shortened where they are long.
    """
    sizes = [each.size for line in pictures for each in line if each is not None] or [(256, 256)]
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    share = min(
        1.0, _LARGEST_SIDE / (len(columns) * (width + _GAP) * 1.2), _LARGEST_SIDE / (len(lines) * (height + _GAP))
    )
    width, height = max(int(width * share), _SMALLEST_CELL), max(int(height * share), _SMALLEST_CELL)
    text = max(12, min(28, width // 14))
    font = ImageFont.load_default(text)
    left, top = text * 11, text * 2 + _GAP
    paper = Image.new("RGB", (left + len(columns) * (width + _GAP), top + len(lines) * (height + _GAP)), _PAPER)
    pen = ImageDraw.Draw(paper)
    for place, label in enumerate(columns):
        at = (left + place * (width + _GAP) + width // 2, top // 2)
        pen.text(at, _shortened(label, font, width), _INK, font, anchor="mm")
    for line, label in enumerate(lines):
        y = top + line * (height + _GAP)
        pen.multiline_text((left - _GAP, y + height // 2), _wrapped(label, font, left - 2 * _GAP), _INK, font, "rm")
        for place, picture in enumerate(pictures[line]):
            x = left + place * (width + _GAP)
            if picture is None:
                pen.rectangle((x, y, x + width - 1, y + height - 1), _EMPTY)
                continue
            fitted = picture.convert("RGB")
            fitted.thumbnail((width, height), Image.Resampling.LANCZOS)
            paper.paste(fitted, (x + (width - fitted.width) // 2, y + (height - fitted.height) // 2))
    return paper


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """At most three lines."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > 3:
        lines = [*lines[:2], " ".join(lines[2:])]
    return "\n".join(_shortened(line, font, width) for line in lines)
