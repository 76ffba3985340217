"""Layers of SD 1.5's own size: ranks of 1 to 128 beside numpy, no whole weight built, and memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.families.families import family
from engine.merge.bases import targets_of_family
from engine.merge.delta import Delta
from engine.merge.files import RecipeFiles
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe, Reduction
from tests.engine.adapters.making import write_adapter
from tests.engine.merge.conftest import finish
from tests.engine.merge.test_sums import lora_of

# A linear layer, a 1×1 and a 3×3 convolution, of 320 to 768 columns and more.
PLACES = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.resnets.0.conv2",
)
RANKS = (1, 8, 32, 128)
WEIGHTS = (0.8, -0.35, 1.4, 0.21)


def written(folder: Path) -> dict[str, Path]:
    targets = targets_of_family(family("sd1"))
    found = {}
    for seed, rank in enumerate(RANKS):
        path = folder / f"r{rank}.safetensors"
        write_adapter(path, targets, lora_of(rank), seed=seed, choose=lambda key: key[1] in PLACES)
        save_file(load_file(path), path, metadata={"ss_base_model_version": "sd_v1"})
        found[path.stem] = path
    return found


def change(path: Path, place: str) -> np.ndarray:
    """ΔW of a LoRA file by the format's formula, in float64, without anything of ours."""
    file, key = load_file(path), "lora_unet_" + place.replace(".", "_")
    up = file[f"{key}.lora_up.weight"].flatten(1).double().numpy()
    down = file[f"{key}.lora_down.weight"].flatten(1).double().numpy()
    return np.asarray(up @ down * (float(file[f"{key}.alpha"]) / down.shape[0]))


@pytest.mark.parametrize("method", ["weighted_sum", "concat", "svd"])
def test_sums_of_ranks_1_to_128_are_those_of_numpy(method, tmp_path, monkeypatch) -> None:
    paths = written(tmp_path)
    inputs = tuple(MergeInput(name=name, weight=weight) for name, weight in zip(paths, WEIGHTS, strict=True))
    target = AdapterTarget(kind="lora", dtype="float32", reduction=Reduction(rank=24) if method == "svd" else None)

    def never(delta: Delta) -> torch.Tensor:
        raise AssertionError("a whole weight was built")

    monkeypatch.setattr(Delta, "matrix", never)
    out = tmp_path / "out.safetensors"
    report = finish(MergeRecipe(inputs=inputs, method=method, target=target), RecipeFiles(paths), out)
    assert {each.kind for each in report.modules} == {"LoRA", "LoCon"}
    for each in report.modules:
        wanted = sum(weight * change(path, each.module) for weight, path in zip(WEIGHTS, paths.values(), strict=True))
        error = np.linalg.norm(change(out, each.module) - wanted) / np.linalg.norm(wanted)
        if method != "svd":
            assert each.rank == sum(RANKS)
            assert error < 1e-6
            assert each.parity == pytest.approx(error, abs=1e-6)
            continue
        values = np.linalg.svd(wanted, compute_uv=False)
        tail = np.linalg.norm(values[24:]) / np.linalg.norm(values)
        assert error == pytest.approx(tail, rel=1e-3)
        assert each.parity == each.error == pytest.approx(tail, rel=1e-3)
        assert each.energy == pytest.approx(1.0 - tail**2, abs=1e-5)


_MEASURED = """
import json, sys
from pathlib import Path
from engine.loading.torchvision_guard import guard_torchvision
guard_torchvision()
from engine.families.families import family
from engine.merge.bases import targets_of_family
from engine.merge.files import RecipeFiles
from engine.merge.run import run
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe, Reduction
from peft.utils import merge_utils
targets_of_family(family("sd1"))
def private():
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
paths = {name: Path(sys.argv[1]) / f"{name}.safetensors" for name in ("a", "b")}
inputs = tuple(MergeInput(name=name) for name in paths)
method = sys.argv[2]
target = AdapterTarget(kind="lora", reduction=None if method == "concat" else Reduction(rank=8))
before, most = private(), 0
for place, _ in enumerate(run(MergeRecipe(inputs=inputs, method=method, target=target), RecipeFiles(paths),
                              Path(sys.argv[1]) / "out.safetensors", replace=True)):
    # The first layers start threads and fill the allocator's arenas.
    before = private() if place == 12 else before
    most = max(most, private() - before)
print(json.dumps(most))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Only Linux tells a process's own memory.")
@pytest.mark.parametrize("method", ["concat", "svd"])
def test_memory_is_that_of_a_layer_not_of_the_file(method, tmp_path) -> None:
    """Two files of 90 MB each: what the process keeps may grow by little from the first layers to the last."""
    targets = targets_of_family(family("sd1"))
    for seed, name in enumerate("ab"):
        path = tmp_path / f"{name}.safetensors"
        write_adapter(path, targets, lora_of(16), seed=seed, choose=lambda key: "attn" in key[1] or "conv" in key[1])
        save_file(load_file(path), path, metadata={"ss_base_model_version": "sd_v1"})
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(tmp_path), method], cwd=root, capture_output=True, text=True, check=True
    )
    # A 3×3 convolution's thin sides of both inputs, in float32 and float64, with their product's: about 10 MB; and
    # what waits to be hashed.
    assert json.loads(done.stdout.splitlines()[-1]) < 80 * 2**20
