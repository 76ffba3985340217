"""Three LoRAs of rank 32 and SD 1.5's size merged, beside peft's `add_weighted_adapter`; and SDXL's size for memory.

Each run is a process of its own, so that its peak memory is its own; concatenation, which takes less than a second, is
the median of several runs in turn. Both go from three files to one, because that is
what a merge is: peft loads the three adapters into the model, merges, and saves; Easel reads three and writes one.
Neither counts starting Python or loading the model (which only peft needs); Easel's also hashes its inputs, measures
the difference from stacking, and matches the result with the model again. peft's merge alone, of what lies in memory
already, is shown beside them.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.own_process import answer_of
from benchmarks.report import Report, Row

RANK = 32
PAIRS = 5
LOOK_SECONDS = 0.005
WEIGHTS = (0.5, 0.3, 0.2)
GIBIBYTE = 1024**3
MEBIBYTE = 1024**2
# Files with the module of the largest matrices alone.
LARGEST = "largest"
# The layers of benchmarks/adapter_files.py, as peft names them.
CHANGED = re.compile(r".*(attn\d\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2)|proj_(in|out))$")

Found = dict[str, dict[str, float]]


def run() -> Report:
    """Measure both, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        _child("write", folder, "sd1")
        _child("write", folder, "sdxl")
        pairs = [(_child("ours", folder, "sd1", "concat"), _child("peft", folder, "sd1", "cat")) for _ in range(PAIRS)]
        ours = {"concat": _medians([mine for mine, _ in pairs]), "svd": _child("ours", folder, "sd1", "svd")}
        theirs = {"cat": _medians([other for _, other in pairs]), "svd": _child("peft", folder, "sd1", "svd")}
        large = {method: _child("ours", folder, "sdxl", method) for method in ours}
        memory = {
            f"{title}, {method}": (found[method], _child("ours", folder, family, method, LARGEST))
            for title, family, found in (("SD 1.5", "sd1", ours), ("SDXL", "sdxl", large))
            for method in ours
        }
    return Report("merge", (*_rows(ours, theirs, large), *_memory_rows(memory)))


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in runs) for name in runs[0]}


def _rows(ours: Found, theirs: Found, large: Found) -> Iterator[Row]:
    for mine, other, limit in (("concat", "cat", 0.3), ("svd", "svd", 0.1)):
        yield Row(f"{mine}, Easel", ours[mine]["seconds"], "s")
        yield Row(f"{other}, peft", theirs[other]["seconds"], "s")
        yield Row(f"{other}, peft, of that the merge alone", theirs[other]["alone"], "s")
        yield Row(f"{mine}: Easel ÷ peft", ours[mine]["seconds"] / theirs[other]["seconds"], "×", limit=limit)
        yield Row(f"{mine}: peak memory, Easel", ours[mine]["peak"] / GIBIBYTE, "GiB")
        yield Row(f"{other}: peak memory, peft", theirs[other]["peak"] / GIBIBYTE, "GiB")
        yield Row(f"{mine}: peak memory, Easel ÷ peft", ours[mine]["peak"] / theirs[other]["peak"], "×", limit=0.5)
        yield Row(f"{mine}: difference from stacking (float16 file)", ours[mine]["parity"], "")
    for method, found in large.items():
        yield Row(f"SDXL, {method}", found["seconds"], "s")
        yield Row(f"SDXL, {method}: peak memory", found["peak"] / GIBIBYTE, "GiB", limit=4.0)


def _memory_rows(found: dict[str, tuple[dict[str, float], dict[str, float]]]) -> Iterator[Row]:
    """The private memory that a merge takes, beside that of a merge of its largest module alone."""
    for name, (whole, module) in found.items():
        allowed = 1.5 * module["working"] + whole["output"]
        yield Row(f"{name}: memory taken while merging", whole["working"] / MEBIBYTE, "MiB")
        yield Row(f"{name}: the same for the largest module alone", module["working"] / MEBIBYTE, "MiB")
        yield Row(f"{name}: the file that is made", whole["output"] / MEBIBYTE, "MiB")
        yield Row(
            f"{name}: memory taken ÷ (1.5 × the largest module's + the file)",
            whole["working"] / allowed,
            "×",
            limit=1.0,
        )


def _child(*arguments: str) -> dict[str, float]:
    # Merges run in the engine, so ours have its environment; peft has the one that it has elsewhere.
    environment = None if arguments[0] == "ours" else os.environ
    return answer_of("benchmarks.merge", *arguments, environment=environment)


# --- in a process of its own ---------------------------------------------------------------------------------------


def _main(task: str, folder: str, family: str, method: str = "", part: str = "whole") -> None:
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    files = [Path(folder) / f"{family}-{part}-{seed}.safetensors" for seed in range(3)]
    if task == "write":
        found = _write(files, family)
    else:
        found = _ours(files, family, method) if task == "ours" else _peft(files, method)
    print(json.dumps(found))


def _write(files: list[Path], family: str) -> dict[str, float]:
    from safetensors.torch import load_file, save_file

    from benchmarks.adapter_files import write_peft_lora

    for seed, file in enumerate(files):
        write_peft_lora(file, _unet(family, meta=True), rank=RANK, seed=seed)
        tensors = load_file(file)
        largest = max(tensors, key=lambda name: tensors[name].numel()).rsplit(".lora_", 1)[0]
        alone = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{largest}.lora_")}
        # One module does not show the family.
        says = {"ss_base_model_version": {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}[family]}
        save_file(alone, file.with_name(file.name.replace("whole", LARGEST)), says)
    return {}


def _ours(files: list[Path], family: str, method: str) -> dict[str, float]:
    from engine.families.families import family as family_of
    from engine.memory.meter import private_bytes
    from engine.memory.monitor import MemoryMonitor
    from engine.merge.bases import targets_of_family
    from engine.merge.files import RecipeFiles
    from engine.merge.run import run as run_recipe
    from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe, Reduction

    # The first use imports diffusers; a studio has done that long before.
    targets_of_family(family_of(family))
    inputs = tuple(MergeInput(name=file.stem, weight=weight) for file, weight in zip(files, WEIGHTS, strict=True))
    target = AdapterTarget(reduction=Reduction(rank=RANK) if method == "svd" else None)
    recipe = MergeRecipe(inputs=inputs, method=method, target=target)
    report = None
    known = RecipeFiles({file.stem: file for file in files})
    out, held = files[0].with_name(f"merged-{method}.safetensors"), private_bytes()
    # The run before made it, and a file that is there is never overwritten.
    out.unlink(missing_ok=True)
    began = time.perf_counter()
    with MemoryMonitor(interval=LOOK_SECONDS) as monitor:
        for progress in run_recipe(recipe, known, out):
            report = progress.report
    assert report is not None
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "peak": _peak(),
        "parity": report.parity or 0.0,
        "working": monitor.peak.ram - held,
        "output": out.stat().st_size,
    }


def _peft(files: list[Path], method: str) -> dict[str, float]:
    """From files to a file as well, with the model loaded before; `alone` is its merge of what lies in memory."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    unet = _unet("sd1", meta=False)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=CHANGED.pattern)
    names = [file.stem.replace("-", "_") for file in files]
    began = time.perf_counter()
    model = get_peft_model(unet, config, adapter_name=names[0])
    for name, file in zip(names, files, strict=True):
        if name != names[0]:
            model.add_adapter(name, config)
        state = {f"base_model.model.{key.removeprefix('unet.')}": value for key, value in load_file(file).items()}
        loaded = set_peft_model_state_dict(model, state, adapter_name=name)
        assert not loaded.unexpected_keys
    alone = time.perf_counter()
    merge = model.base_model.add_weighted_adapter
    with torch.no_grad():
        merge(names, list(WEIGHTS), "merged", combination_type=method, svd_rank=RANK if method == "svd" else None)
    alone = time.perf_counter() - alone
    merged = get_peft_model_state_dict(model, adapter_name="merged")
    save_file(
        {name: value.half().contiguous() for name, value in merged.items()}, files[0].with_name("peft.safetensors")
    )
    return {"seconds": time.perf_counter() - began, "alone": alone, "peak": _peak()}


def _unet(family: str, *, meta: bool) -> Any:
    from diffusers import UNet2DConditionModel

    from engine.families.families import family as family_of
    from engine.loading.components import build

    config = family_of(family).config("unet")
    if meta:
        return build("unet", config, family)
    return UNet2DConditionModel.from_config(config).eval().requires_grad_(False)


def _peak() -> float:
    """Bytes of the process's largest resident set; 0 where the system does not tell (only Linux does, as a file)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0.0
    line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    _main(*sys.argv[1:])
