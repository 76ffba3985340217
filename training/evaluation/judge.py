"""The judge: a small classifier of thing and style, trained on real pictures only, never used to train a generator.

Some (thing, set) pairs are held out: it never sees those pictures, and its own score is measured on them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
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

STRONG = Moves(turn=0.12, shift=0.08, shrink=(0.92, 1.45))
MILD = Moves(turn=0.02, shift=0.015, shrink=(0.97, 1.06))
"""As the base draws: framed as the real pictures are. Strong moves wash out the strokes that a style is told by."""


class JudgeNet(nn.Module):
    """RGB (B, 3, H, W) in −1…1 → logits (B, things) and (B, styles)."""

    def __init__(self, width: int, things: int, styles: int) -> None:
        super().__init__()
        # pixels by themselves: each set has its own palette
        self.palette = nn.Sequential(
            nn.Conv2d(3, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, 2 * width, 1), nn.ReLU(),
        )  # fmt: skip
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        sizes = (width, 2 * width, 4 * width, 6 * width)
        self.blocks = nn.ModuleList([_Block(one, other, 2) for one, other in pairwise(sizes)])
        self.drop = nn.Dropout(0.2)
        self.thing, self.style = nn.Linear(sizes[-1], things), nn.Linear(2 * width + sum(sizes), styles)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.stem(pictures)
        # sliced, since the backward pass of a 1×1 convolution with a stride crashes torch 2.13 on some CPUs
        seen = [self.palette(pictures[..., ::2, ::2]).mean((2, 3)), features.mean((2, 3))]
        for block in self.blocks:
            features = block(features)
            seen.append(features.mean((2, 3)))
        # a style shows in colours, strokes and shading, which the earlier features still hold
        return self.thing(self.drop(seen[-1])), self.style(self.drop(torch.cat(seen, 1)))


SETTLED = 4096
"""Pictures from which the batch statistics are taken."""


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
        """Pictures (N, H, W, 3) uint8 → probabilities (N, things) and (N, styles); each is looked at mirrored too."""
        things, styles = [], []
        for part in to_tensor(pictures).split(64):
            thing, style = (sum(both) / 2 for both in zip(self.net(part), self.net(part.flip(3)), strict=True))
            things.append(thing[:, : len(self.slugs)].softmax(1))
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

    def style_among(self, pictures: np.ndarray, asked: list[tuple[str, str]], keys: tuple[str, ...]) -> float:
        """The share of right styles where only `keys` are to choose from."""
        columns = [self.keys.index(key) for key in keys]
        told = self.read(pictures)[1][:, columns].argmax(1)
        return float(np.mean([keys[column] == key for column, (key, _) in zip(told, asked, strict=True)]))


@dataclass
class _Cutouts:
    """Cut-outs (H, W, 4) uint8; what each is (`thing`: row of `slugs`, the `concepts` first); which are held out."""

    raw: list[np.ndarray]
    thing: torch.Tensor
    style: torch.Tensor
    held: torch.Tensor
    slugs: list[str]
    concepts: int

    def learnt(self, concepts_only: bool = False) -> torch.Tensor:
        """Rows that are not held out."""
        return torch.nonzero(~self.held & (self.thing < self.concepts) if concepts_only else ~self.held).flatten()

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
    net = JudgeNet(config.width, len(data.slugs), len(keys)).to(device.place).train()
    parameters = list(net.parameters())
    rows, everything = data.learnt(concepts_only=True), data.learnt()
    shares = _shares(data.style[everything])
    grounds = torch.tensor(list(BACKGROUNDS.values())).float() / 255
    dark = keys.index("fluent-ink") if "fluent-ink" in keys else -1

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        third = batch // 3
        chosen = torch.cat([
            rows[torch.from_numpy(rng.integers(len(rows), size=third))],
            everything[torch.from_numpy(rng.choice(len(everything), size=batch - third, p=shares))],
        ])  # fmt: skip
        ground = grounds[torch.from_numpy(rng.integers(len(grounds), size=batch))]
        plain = torch.from_numpy(rng.random(batch) < 0.8) | (data.style[chosen] == dark)
        ground[plain] = 1.0
        moved = rng.permutation(batch) < batch // 3
        pictures = torch.empty(batch, 3, recipe.data.size, recipe.data.size)
        for moves, these in ((STRONG, moved), (MILD, ~moved)):
            if these.any():
                some = torch.from_numpy(these)
                pictures[some] = _vary(data.some(chosen[some]), ground[some], moves, rng)
        pictures = pictures.to(device.place, memory_format=torch.channels_last)
        with device.autocast():
            thing, style = net(pictures)
        return F.cross_entropy(
            thing.float(), data.thing[chosen].to(device.place), label_smoothing=0.05
        ) + F.cross_entropy(style.float(), data.style[chosen].to(device.place), label_smoothing=0.05)

    settings = {**asdict(config), "slugs": data.slugs, "keys": keys, "seed": recipe.seed, "size": recipe.data.size}
    settings.pop("course")
    path = folder / "judge.pt"
    numbers = run_course("judge", config.course, parameters, loss_of, path, settings, recipe.seed)
    _settle(net, data, device)
    judge = Judge(net.to("cpu").eval(), slugs, keys, numbers)
    judge.numbers.update(_own_score(judge, data, autoencoder, recipe.data.sets))
    return judge


@torch.no_grad()
def _settle(net: JudgeNet, data: _Cutouts, device: Device) -> None:
    """Batch statistics over plain training pictures: they are no parameters, so a checkpoint has none of them."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    rng, white = np.random.default_rng(5), torch.ones(64, 3)
    rows = data.learnt()
    for part in rows[torch.from_numpy(rng.permutation(len(rows))[:SETTLED])].split(64):
        net(_vary(data.some(part), white[: len(part)], MILD, rng).to(device.place))


def _collect(config: ClassifierConfig, seed: int, concepts: list[str], sets: dict[str, Pictures]) -> _Cutouts:
    """The concepts' pictures first, then those of all other things, from which it learns to look."""
    rng = np.random.default_rng([seed, 11])
    others = sorted({slug for pictures in sets.values() for slug in pictures.slugs} - set(concepts))
    slugs = [*concepts, *others]
    rows = [
        (cutout, thing, style, bool(rng.random() < config.held_out))
        for part in (slice(len(concepts)), slice(len(concepts), None))
        for style, pictures in enumerate(sets.values())
        for thing, slug in list(enumerate(slugs))[part]
        if (cutout := pictures.find(slug)) is not None
    ]
    if all(row[3] for row in rows):
        rows[0] = (*rows[0][:3], False)
    cutouts, things, styles, held = zip(*rows, strict=True)
    return _Cutouts(
        list(cutouts), torch.tensor(things), torch.tensor(styles), torch.tensor(held), slugs, len(concepts)
    )  # fmt: skip


def _shares(style: torch.Tensor) -> np.ndarray:
    """How often each row is drawn: halfway between all pictures alike and all styles alike."""
    weight = style.bincount().float()[style].rsqrt().double().numpy()
    return weight / weight.sum()


def _vary(rgba: torch.Tensor, ground: torch.Tensor, moves: Moves, rng: np.random.Generator) -> torch.Tensor:
    """Cut-outs (B, 4, H, W) turned, moved, scaled, mirrored, a little blurred and brightened, on `ground` (B, 3)."""
    count = len(rgba)
    made = on_grounds(move(rgba, moves, rng), ground)
    blur = torch.from_numpy(rng.uniform(0, 0.8, (count, 1, 1, 1))).float()
    soft = F.avg_pool2d(F.pad(made, (1, 1, 1, 1), mode="replicate"), 3, 1)
    made = made + blur * (soft - made)
    light = torch.from_numpy(rng.normal(1, 0.02, (count, 3, 1, 1))).float()
    noise = torch.from_numpy(rng.normal(0, 0.015, made.shape)).float()
    return (made * light + noise).clamp(0, 1) * 2 - 1


def _own_score(judge: Judge, data: _Cutouts, autoencoder: Any, base: tuple[str, ...]) -> dict[str, float]:
    """On held-out real pictures on white, and on the same after the autoencoder's round trip.

    `…_style_of_own`: among the base's styles `base` alone. `tripped_style_of_SET`: how often it tells that style,
    over held-out pictures of any thing (at most 300).
    """
    rows = torch.nonzero(data.held & (data.thing < data.concepts)).flatten().tolist() or [0]
    pictures = _plain(data, rows)
    asked = [(judge.keys[int(data.style[row])], judge.slugs[int(data.thing[row])]) for row in rows]
    real = {f"real_{key}": value for key, value in judge.score(pictures, asked).items()}
    trip = {f"tripped_{key}": value for key, value in judge.score(_tripped(pictures, autoencoder), asked).items()}
    own = [row for row, (key, _) in enumerate(asked) if key in base]
    if own:
        mine = [asked[row] for row in own]
        real["real_style_of_own"] = judge.style_among(pictures[own], mine, base)
        trip["tripped_style_of_own"] = judge.style_among(_tripped(pictures[own], autoencoder), mine, base)
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
