"""Easel beside plain diffusers, in one run: what the studio costs on top of the bare pipeline.

Both sides load the starter model in float32 with the same thread settings, each in its own process. They take turns, so
that what else the machine does falls on both alike. The studio's side is everything: REST, queue, previews, PNG with
metadata, rows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.clock import seconds
from benchmarks.report import Report, Row
from benchmarks.studio import ROOT, Studio, running_studio
from engine.launcher.threads import engine_environment
from engine.settings import load_settings

PAIRS = 30
ENLARGED = 9
WARM_UP = 3
SPEC = {"prompt": "a red apple", "negative_prompt": "", "steps": 20, "guidance_scale": 4.0}
MEBIBYTE = 1024**2


def run() -> Report:
    """Measure the ratio, the second start, and the web process at rest."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        with running_studio(data) as studio:
            studio.wait_until_ready()
            ratio, ours, plain = _side_by_side(studio)
            enlarged = _enlarged(studio)
            resident = _at_rest(studio)
        start, page, tabs = _second_start(data)
    return Report(
        "engine",
        (
            Row("picture through the studio ÷ bare pipeline", ratio, "×", limit=1.05),
            Row("picture through the studio, median", ours, "s"),
            Row("bare StableDiffusionPipeline, median", plain, "s"),
            Row("picture enlarged twice, median", enlarged, "s", limit=3.0),
            Row("second start to the first finished picture", start, "s", limit=10.0),
            Row("second start to the warming page", page, "s", limit=1.0),
            Row("second start to the tabs", tabs, "s", limit=6.0),
            Row("web process at rest", resident, "MB", limit=200.0),
        ),
    )


def _side_by_side(studio: Studio) -> tuple[float, float, float]:
    """(median of the pairs' ratios, our median, theirs); seconds."""
    size = _default_size()
    ours: list[float] = []
    plain: list[float] = []
    with PlainPipeline() as other:
        for turn in range(WARM_UP + PAIRS):
            seed = 1000 + turn
            mine = seconds(partial(studio.generate, **SPEC, seed=seed, width=size, height=size))
            theirs = other.seconds(seed, size)
            if turn >= WARM_UP:
                ours.append(mine)
                plain.append(theirs)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, plain, strict=True))
    return ratio, statistics.median(ours), statistics.median(plain)


def _enlarged(studio: Studio) -> float:
    """Seconds for a picture of 20 steps in the model's own size, enlarged twice; the upscaler is loaded before."""
    size = _default_size()
    spec = {"prompt": SPEC["prompt"], "steps": 20, "width": size, "height": size, "upscale": 2}
    taken = [seconds(partial(studio.paint, **spec, seed=seed)) for seed in range(1 + ENLARGED)]
    return statistics.median(taken[1:])


def _default_size() -> int:
    config = load_settings().starter_dir / "unet" / "config.json"
    vae = load_settings().starter_dir / "vae" / "config.json"
    scale = 2 ** (len(json.loads(vae.read_text())["block_out_channels"]) - 1)
    return int(json.loads(config.read_text())["sample_size"]) * int(scale)


class PlainPipeline:
    """The bare pipeline's process, while open."""

    def __enter__(self) -> PlainPipeline:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.plain_diffusers", str(load_settings().starter_dir)],
            cwd=ROOT,
            env=engine_environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()
        return self

    def seconds(self, seed: int, size: int) -> float:
        """How long one picture took."""
        assert self._process.stdin is not None
        request = {**SPEC, "guidance": SPEC["guidance_scale"], "seed": seed, "width": size, "height": size}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the bare pipeline's process ended; is diffusers installed?")
        return dict(json.loads(line))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)


def _at_rest(studio: Studio) -> float:
    """Resident memory of the web process, MB (MiB)."""
    return psutil.Process(studio.process.pid).memory_info().rss / MEBIBYTE


def _second_start(data: Path) -> tuple[float, float, float]:
    """Seconds from the process's start to (the first finished picture, the warming page, the tabs)."""
    with running_studio(data) as studio:
        page = tabs = 0.0
        while not tabs:
            try:
                answer = studio.http.get("/healthz")
            except httpx.HTTPError:
                time.sleep(0.01)
                continue
            page = page or time.perf_counter() - studio.started
            if answer.json().get("page") == "ready":
                tabs = time.perf_counter() - studio.started
            time.sleep(0.02)
        size = _default_size()
        studio.wait_until_ready()
        studio.generate(**SPEC, seed=1, width=size, height=size)
        return time.perf_counter() - studio.started, page, tabs
