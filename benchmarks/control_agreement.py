"""How well do pictures keep to the lines of a hint: `python -m benchmarks.control_agreement [--out docs/controlnet]`.

The starter's two ControlNets over the weight (0 … 1.5) and over the end of the window (0 … 100 %). The sources are
pictures that the starter draws itself, then shrunk, turned and moved, since a caption alone already tells this model
where a thing stands. The lines of what was drawn under the hint are compared with the hint's own. Nothing is needed
but what ships; the same machine gives the same numbers.

No benchmark with a limit (it has no `run`): it writes numbers (`agreement.json`) and a plot for each network, which
docs/controlnet.md shows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.line_plot import Curve, line_plot
from benchmarks.models import starter

THINGS = (
    "a red apple", "a cat", "a dog", "a panda", "a fox", "a blue car", "a castle", "a house", "a yellow star",
    "a butterfly", "a penguin", "a rocket", "a mushroom", "a bus", "a crown", "a fish",
)  # fmt: skip
SOURCE_STYLE, STYLE = "flat", "3d render"
STEPS, GUIDANCE, SIDE, SEED = 20, 3.0, 64, 500
WEIGHTS = tuple(step / 8 for step in range(13))
ENDS = tuple(step / 10 for step in range(11))
USUAL_WEIGHT = 1.0
# Strokes as thick as a hand draws them at 64 px, which is what easel-scribble was trained with.
KINDS: dict[str, dict[str, float]] = {
    "canny": {},
    "scribble_edges": {"thickness": 24.0},
}
NETWORKS = {"canny": "easel-canny", "scribble_edges": "easel-scribble"}
TOLERANCE = 1
ROUNDS = 2
BATCH = 8


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Everything that the plots show: per network the agreement (F1, 0–1) at each weight and at each end."""
    bundle = starter()
    try:
        things = THINGS * ROUNDS
        sources = list(moved(draw(bundle, [f"{thing}, {SOURCE_STYLE}" for thing in things], SEED, None)))
        found: dict[str, Any] = {
            "pictures": len(things), "steps": STEPS, "guidance": GUIDANCE, "tolerance_px": TOLERANCE,
        }  # fmt: skip
        for kind, name in NETWORKS.items():
            course = _Course(bundle, kind, name, sources, [f"{thing}, {STYLE}" for thing in things])
            by_weight = [[weight, course.at(weight, 1.0, say)] for weight in WEIGHTS]
            by_end = [[end, course.at(USUAL_WEIGHT, end, say)] for end in ENDS]
            found[name] = {"preprocessor": kind, "by_weight": by_weight, "by_end": by_end}
        return found
    finally:
        bundle.close()


class _Course:
    """One network's measurements; each place is drawn once."""

    def __init__(
        self, bundle: Any, kind: str, name: str, sources: Sequence[np.ndarray], prompts: Sequence[str]
    ) -> None:
        self._bundle, self._kind, self._name, self._prompts = bundle, kind, name, prompts
        self._network = network_of(bundle, name)
        self._hints = [hint_of(kind, source) for source in sources]
        self._lines = [thin(kind, source) for source in sources]
        self._known: dict[tuple[float, float], float] = {}

    def at(self, weight: float, end: float, say: Callable[[str], None]) -> float:
        """The mean agreement of all pictures with their hints' lines."""
        # Nothing runs with either of them at 0: it is the same picture.
        key = (weight, end) if weight and end else (0.0, 0.0)
        if key not in self._known:
            made = draw(self._bundle, self._prompts, SEED + 100, (self._network, self._hints, *key))
            pairs = zip(made, self._lines, strict=True)
            self._known[key] = round(float(np.mean([agreement(thin(self._kind, one), line) for one, line in pairs])), 4)
            say(f"{self._name}: weight {key[0]:g}, end {key[1]:.0%}: {self._known[key]:.3f}")
        return self._known[key]


def draw(bundle: Any, prompts: Sequence[str], seed: int, control: Any) -> list[np.ndarray]:
    """Pictures, uint8 (64, 64, 3), picture i with seed `seed` + i, drawn by Easel's own loop.

    Args:
        control: None, or (network, hints, weight, end).
    """
    from engine.control.compose import ControlSet, Unit
    from engine.control.fit import as_tensor
    from engine.control.schedule import Window
    from engine.pipeline.decode import decode
    from engine.pipeline.denoise import tick
    from engine.pipeline.encode import begin
    from engine.protocol.specs import GenerationSpec

    contexts = []
    for place, prompt in enumerate(prompts):
        controls = ControlSet()
        if control is not None:
            network, hints, weight, end = control
            controls = ControlSet((Unit(network, network.embed(as_tensor(hints[place])), weight, Window(0.0, end)),))
        spec = GenerationSpec(
            prompt=prompt, negative_prompt="", steps=STEPS, guidance=GUIDANCE, sampler="dpmpp_2m", schedule="karras",
            width=SIDE, height=SIDE, seed=seed + place,
        )  # fmt: skip
        contexts.append(begin(bundle, spec, 0, context_id=str(place), controls=controls))
    for start in range(0, len(contexts), BATCH):
        while any(not context.finished for context in contexts[start : start + BATCH]):
            tick(bundle, [context for context in contexts[start : start + BATCH] if not context.finished])
    return [np.asarray(done.image.convert("RGB")) for done in decode(bundle, contexts)]


def network_of(bundle: Any, name: str) -> Any:
    """One of the starter's ControlNets."""
    from engine.control.network import ControlNetwork
    from engine.loading.controlnet import load_controlnet
    from engine.loading.loader import module_config
    from engine.pipeline.model import ready
    from engine.settings import load_settings

    path = load_settings().starter_dir / "controlnet" / name
    return ControlNetwork(ready(load_controlnet(path, module_config(bundle.unet), title=name)), name)


def moved(pictures: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Each picture smaller, turned and elsewhere, on its own ground, always the same way."""
    import cv2

    rng = np.random.default_rng(SEED)
    for picture in pictures:
        side = picture.shape[0]
        turn, size = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-25, 25), rng.uniform(0.65, 0.9)), side
        turn[:, 2] += rng.uniform(-0.12, 0.12, 2) * side
        ground = tuple(int(value) for value in np.median(np.concatenate([picture[0], picture[-1]]), axis=0))
        yield cv2.warpAffine(picture, turn, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=ground)


def hint_of(kind: str, picture: np.ndarray) -> np.ndarray:
    """What the preprocessor makes of it."""
    from engine.control.hints import run
    from engine.control.preprocessors.table import preprocessor

    what = preprocessor(kind)
    return run(what, picture, what.values(KINDS[kind]), None)


def thin(kind: str, picture: np.ndarray) -> np.ndarray:
    """The lines that are compared, bool (h, w): those of the hint, drawn one pixel wide."""
    from engine.control.hints import run
    from engine.control.preprocessors.table import preprocessor

    what = preprocessor(kind)
    values = {**KINDS[kind], **({"thickness": 1.0} if kind == "scribble_edges" else {})}
    return np.asarray(run(what, picture, what.values(values), None)[:, :, 0] > 127)


def agreement(made: np.ndarray, wanted: np.ndarray) -> float:
    """F1 of two line maps: a pixel counts where the other map has one within `TOLERANCE` px."""
    import cv2

    if not made.any() or not wanted.any():
        return float(made.any() == wanted.any())
    near = np.ones((2 * TOLERANCE + 1,) * 2, np.uint8)
    found = made[cv2.dilate(wanted.astype(np.uint8), near) > 0].sum() / made.sum()
    kept = wanted[cv2.dilate(made.astype(np.uint8), near) > 0].sum() / wanted.sum()
    return float(2 * found * kept / max(1e-9, found + kept))


def write_plots(found: dict[str, Any], folder: Path) -> None:
    """`weight.svg` and `end.svg`, both networks in each."""
    for key, title, unit, scale in (
        ("by_weight", "Lines kept, by weight (whole window)", "weight", 1.0),
        ("by_end", "Lines kept, by the end of the window (weight 1)", "end of the window, %", 100.0),
    ):
        curves = [
            Curve(name, tuple((x * scale, y) for x, y in found[name][key])) for name in NETWORKS.values()
        ]  # fmt: skip
        picture = line_plot(title, curves, across=unit, up="agreement of lines, F1")
        (folder / f"{key.removeprefix('by_')}.svg").write_text(picture, encoding="utf-8")


def main() -> None:
    """The process entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/controlnet"))
    folder: Path = parser.parse_args().out
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    folder.mkdir(parents=True, exist_ok=True)
    found = measure()
    (folder / "agreement.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_plots(found, folder)


if __name__ == "__main__":
    main()
