"""Pages of mapped files: those that are not needed any more leave the process, and nothing else does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.adapters.base_weights import KeptBase
from engine.loading.components import fill
from engine.loading.weights import open_weights
from engine.memory.file_storage import FileStorage
from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.resources import detect_resources
from engine.memory.technique import Machine
from engine.platform import MappedFiles
from tests.support.fake_machine import FakeProbe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")
MIB = 1024**2
WIDTH = 1024


def resident(path: Path) -> int:
    """Bytes of a file's pages that this process has in memory."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Four layers' weights, 2 MiB each in 16 bits."""
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(3)
    weights = {f"{index}.weight": torch.randn(WIDTH, WIDTH).half() for index in range(4)}
    save_file(weights, path)
    return path


def network() -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)))


def loaded(file: Path, dtype: torch.dtype) -> nn.Sequential:
    module = network()
    with open_weights(file) as weights:
        state = {name: weights.get(name) for name in module.state_dict()}
        fill(module, state, dtype, "unet", "a model")
    return module


def machine() -> Machine:
    return Machine(detect_resources(FakeProbe(memory=16)), torch.device("cpu"), compute=torch.float32)


def test_only_whole_pages_of_files_go(file: Path) -> None:
    with open_weights(file) as weights:
        tensor = weights.get("1.weight")
        total = float(tensor.float().sum())
        files = MappedFiles()
        assert files.holds(tensor.data_ptr(), tensor.nbytes)
        assert resident(file) > MIB
        assert files.forget(tensor.data_ptr(), tensor.nbytes)
        assert resident(file) < MIB
        assert float(tensor.float().sum()) == total, "they come back when they are read"


def test_the_process_own_memory_is_left_alone() -> None:
    ones = torch.ones(4 * MIB)
    files = MappedFiles()
    assert not files.holds(ones.data_ptr(), ones.nbytes)
    assert not files.forget(ones.data_ptr(), ones.nbytes)
    assert float(ones.sum()) == 4 * MIB


def test_loading_in_another_format_keeps_no_page_of_the_file(file: Path) -> None:
    module = loaded(file, torch.float32)
    assert resident(file) < MIB // 2
    with open_weights(file) as weights:
        assert torch.equal(module[2].weight, weights.get("2.weight").float())


def test_layers_that_rest_in_their_file_leave_no_page_behind(file: Path) -> None:
    wide, narrow = loaded(file, torch.float32), loaded(file, torch.float16)
    given = torch.randn(2, WIDTH)
    config = MemoryOptimizationConfig()
    assert FileStorage().apply({"unet": narrow}, machine(), config).done
    for _ in range(2):
        with torch.inference_mode():
            assert torch.equal(narrow(given), wide(given))
        assert resident(file) < MIB // 2
    FileStorage().remove({"unet": narrow}, machine())
    assert torch.equal(narrow[0].weight, wide[0].weight)


def test_weights_that_an_adapter_changed_are_kept(file: Path) -> None:
    narrow = loaded(file, torch.float16)
    FileStorage().apply({"unet": narrow}, machine(), MemoryOptimizationConfig())
    base, weight = KeptBase(), narrow[1].weight
    with torch.no_grad():
        base.begin("1.weight", weight)
        weight.data.copy_(base.get("1.weight", weight) * 2)
    given = torch.randn(2, WIDTH)
    with torch.inference_mode():
        first = narrow(given)
        assert torch.equal(narrow(given), first)
    base.end("1.weight", weight)
    with torch.inference_mode():
        assert not torch.equal(narrow(given), first)
