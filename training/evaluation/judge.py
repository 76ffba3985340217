"""The judge: a small classifier of thing and style, trained on real pictures only, never used to train a generator.

Some (thing, set) pairs are held out: it never sees those pictures, and its own score is measured on them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.adapters.config import ClassifierConfig
from training.adapters.loop import run_course
from training.autoencoder import to_tensor
from training.config import Recipe
from training.data.compose import BACKGROUNDS, on_background
from training.data.concepts import Concepts
from training.data.moves import Moves, move, on_grounds, premultiplied
from training.data.pictures import Pictures
from training.device import Device

MOVES = Moves(turn=0.12, shift=0.08, shrink=(0.92, 1.45))


class JudgeNet(nn.Module):
    """RGB (B, 3, H, W) in −1…1 → logits (B, things) and (B, styles)."""

    def __init__(self, width: int, things: int, styles: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList([_Block(2 * width, 2 * width, 1), _Block(2 * width, 4 * width, 2)])
        self.blocks.append(_Block(4 * width, 6 * width, 2))
        self.drop = nn.Dropout(0.2)
        self.thing, self.style = nn.Linear(6 * width, things), nn.Linear(10 * width, styles)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        early = self.blocks[1](self.blocks[0](self.stem(pictures)))
        late = self.blocks[2](early).mean((2, 3))
        # a style shows in strokes and shading, which the earlier features still hold
        both = torch.cat([early.mean((2, 3)), late], 1)
        return self.thing(self.drop(late)), self.style(self.drop(both))


class _Block(nn.Module):
    """Two convolutions with a way past them."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        same = inner == outer and stride == 1
        self.past: nn.Module = nn.Identity() if same else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        return F.relu(inside + self.past(x))


@dataclass
class Judge:
    """The trained classifier with its words."""

    net: JudgeNet
    slugs: list[str]
    keys: list[str]
    numbers: dict[str, float]

    @torch.no_grad()
    def read(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures (N, H, W, 3) uint8 → probabilities (N, things) and (N, styles)."""
        things, styles = [], []
        for part in to_tensor(pictures).split(64):
            thing, style = self.net(part)
            things.append(thing.softmax(1))
            styles.append(style.softmax(1))
        return torch.cat(things).numpy(), torch.cat(styles).numpy()

    def score(self, pictures: np.ndarray, asked: list[tuple[str, str]]) -> dict[str, float]:
        """Shares of right things (first, and among five) and right styles for `asked` (set, slug) pairs."""
        things, styles = self.read(pictures)
        wanted = np.asarray([self.slugs.index(slug) for _, slug in asked])
        look = np.asarray([self.keys.index(key) for key, _ in asked])
        order = (-things).argsort(1)
        return {
            "thing_first": float((order[:, 0] == wanted).mean()),
            "thing_in_5": float((order[:, :5] == wanted[:, None]).any(1).mean()),
            "style": float((styles.argmax(1) == look).mean()),
            "style_probability": float(styles[np.arange(len(look)), look].mean()),
        }


@dataclass
class _Cutouts:
    """Cut-outs (H, W, 4) uint8; what each is (`thing` −1: none of the concepts, it shows its style only); which are
    held out."""

    raw: list[np.ndarray]
    thing: torch.Tensor
    style: torch.Tensor
    held: torch.Tensor

    def some(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) float32 in 0–1, premultiplied."""
        return premultiplied([self.raw[row] for row in rows.tolist()])


def train_judge(
    config: ClassifierConfig, recipe: Recipe, folder: Path, concepts: Concepts, sets: dict[str, Pictures],
    autoencoder: Any, device: Device,
) -> Judge:  # fmt: skip
    """Train, or go on from `folder`/judge.pt, and measure it on held-out real pictures and their round trips."""
    slugs, keys = list(concepts.words), list(sets)
    data = _collect(config, recipe.seed, slugs, sets)
    torch.manual_seed(recipe.seed)
    net = JudgeNet(config.width, len(slugs), len(keys)).to(device.place).train()
    parameters = list(net.parameters())
    rows = torch.nonzero(~data.held & (data.thing >= 0)).flatten()
    everything = torch.nonzero(~data.held).flatten()
    grounds = torch.tensor(list(BACKGROUNDS.values())).float() / 255
    dark = keys.index("fluent-ink") if "fluent-ink" in keys else -1

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        half = batch // 2 if config.everything else 0
        chosen = torch.cat([
            rows[torch.from_numpy(rng.integers(len(rows), size=batch - half))],
            everything[torch.from_numpy(rng.integers(len(everything), size=half))],
        ])  # fmt: skip
        ground = grounds[torch.from_numpy(rng.integers(len(grounds), size=batch))]
        plain = torch.from_numpy(rng.random(batch) < 0.6) | (data.style[chosen] == dark)
        ground[plain] = 1.0
        pictures = _vary(data.some(chosen), ground, rng).to(device.place, memory_format=torch.channels_last)
        with device.autocast():
            thing, style = net(pictures)
        return F.cross_entropy(
            thing.float(), data.thing[chosen].to(device.place), ignore_index=-1, label_smoothing=0.05
        ) + F.cross_entropy(style.float(), data.style[chosen].to(device.place), label_smoothing=0.05)

    settings = {**asdict(config), "slugs": slugs, "keys": keys, "seed": recipe.seed, "size": recipe.data.size}
    settings.pop("course")
    if not config.everything:
        settings.pop("everything")
    path = folder / "judge.pt"
    numbers = run_course("judge", config.course, parameters, loss_of, path, settings, recipe.seed)
    _settle(net, data, rows, device)
    judge = Judge(net.to("cpu").eval(), slugs, keys, numbers)
    judge.numbers.update(_own_score(judge, data, autoencoder))
    return judge


@torch.no_grad()
def _settle(net: JudgeNet, data: _Cutouts, rows: torch.Tensor, device: Device) -> None:
    """Batch statistics over the plain training pictures: they are no parameters, so a checkpoint has none of them."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    rng, white = np.random.default_rng(5), torch.ones(64, 3)
    for _ in range(4):
        for part in rows[torch.from_numpy(rng.permutation(len(rows)))].split(64):
            net(_vary(data.some(part), white[: len(part)], rng).to(device.place))


def _collect(config: ClassifierConfig, seed: int, slugs: list[str], sets: dict[str, Pictures]) -> _Cutouts:
    """The concepts' pictures first, then all others, which are held out unless `everything` is learnt from."""
    rng = np.random.default_rng([seed, 11])
    rows = [
        (cutout, thing, style, bool(rng.random() < config.held_out))
        for style, pictures in enumerate(sets.values())
        for thing, slug in enumerate(slugs)
        if (cutout := pictures.find(slug)) is not None
    ]
    if all(row[3] for row in rows):
        rows[0] = (*rows[0][:3], False)
    for style, pictures in enumerate(sets.values()):
        for slug, cutout in zip(pictures.slugs, pictures.rgba, strict=True):
            if slug not in slugs:
                rows.append((cutout, -1, style, not config.everything or bool(rng.random() < config.held_out)))
    cutouts, things, styles, held = zip(*rows, strict=True)
    return _Cutouts(list(cutouts), torch.tensor(things), torch.tensor(styles), torch.tensor(held))


def _vary(rgba: torch.Tensor, ground: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Cut-outs (B, 4, H, W) turned, moved, scaled, mirrored, a little blurred and brightened, on `ground` (B, 3)."""
    count = len(rgba)
    made = on_grounds(move(rgba, MOVES, rng), ground)
    blur = torch.from_numpy(rng.uniform(0, 0.8, (count, 1, 1, 1))).float()
    soft = F.avg_pool2d(F.pad(made, (1, 1, 1, 1), mode="replicate"), 3, 1)
    made = made + blur * (soft - made)
    light = torch.from_numpy(rng.normal(1, 0.05, (count, 3, 1, 1))).float()
    noise = torch.from_numpy(rng.normal(0, 0.015, made.shape)).float()
    return (made * light + noise).clamp(0, 1) * 2 - 1


def _own_score(judge: Judge, data: _Cutouts, autoencoder: Any) -> dict[str, float]:
    """On held-out real pictures on white, and on the same after the autoencoder's round trip.

    `tripped_style_of_SET`: how often it tells that style, over held-out pictures of any thing (at most 300).
    """
    rows = torch.nonzero(data.held & (data.thing >= 0)).flatten().tolist() or [0]
    pictures = _plain(data, rows)
    asked = [(judge.keys[int(data.style[row])], judge.slugs[int(data.thing[row])]) for row in rows]
    real = {f"real_{key}": value for key, value in judge.score(pictures, asked).items()}
    trip = {f"tripped_{key}": value for key, value in judge.score(_tripped(pictures, autoencoder), asked).items()}
    rng = np.random.default_rng(7)
    for style, key in enumerate(judge.keys):
        unseen = torch.nonzero(data.held & (data.style == style)).flatten().numpy()
        if len(unseen):
            some = rng.permutation(unseen)[:300].tolist()
            told = judge.read(_tripped(_plain(data, some), autoencoder))[1].argmax(1)
            trip[f"tripped_style_of_{key}"] = float((told == style).mean())
    return {"held_out": float(len(rows)), **real, **trip}


def _plain(data: _Cutouts, rows: list[int]) -> np.ndarray:
    """(N, H, W, 3) uint8 on white."""
    return np.stack([on_background(data.raw[row], BACKGROUNDS["white"]) for row in rows])


@torch.no_grad()
def _tripped(pictures: np.ndarray, autoencoder: Any) -> np.ndarray:
    """The same pictures encoded and decoded."""
    parts = to_tensor(pictures).split(64)
    back = torch.cat([autoencoder.decode(autoencoder.encode(part).latents).sample for part in parts])
    return ((back.clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(0, 2, 3, 1).numpy()
