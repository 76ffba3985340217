"""How often a large adapter file is read: a scan reads its header, loading it reads its data once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from engine.adapters.file import read_adapter
from engine.adapters.modules import TargetModule, Targets, targets_of
from engine.families.families import family
from engine.library.headers import read_header
from engine.library.library import Library
from engine.loading.components import outline
from engine.settings import parse_settings
from engine.store.store import open_store
from tests.engine.adapters.making import write_adapter

COUNTERS = Path("/proc/self/io")
RANK = 72
LEAST = 150_000_000
# Beside the file: the store, side files, imports.
OTHERS = 4_000_000

pytestmark = pytest.mark.skipif(not COUNTERS.is_file(), reason="only Linux counts what a process reads")


class Reads:
    """What this process read: `asked` bytes by calls, `fetched` bytes from the disk, mapped files included."""

    def __init__(self) -> None:
        self.asked, self.fetched = self._now()

    def end(self) -> None:
        asked, fetched = self._now()
        self.asked, self.fetched = asked - self.asked, fetched - self.fetched

    @staticmethod
    def _now() -> tuple[int, int]:
        lines = dict(line.split(": ") for line in COUNTERS.read_text().splitlines())
        return int(lines["rchar"]), int(lines["read_bytes"])


@contextmanager
def reads(file: Path) -> Iterator[Reads]:
    """Count, with nothing of the file in memory at first."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    counted = Reads()
    yield counted
    counted.end()


@pytest.fixture(scope="module")
def unet() -> Targets:
    """The places of SD 1.5's UNet in its own size; no weight is made."""
    return targets_of({"unet": outline("unet", family("sd1").config("unet"), "SD 1.5")}, family="sd1")


@pytest.fixture(scope="module")
def large(unet: Targets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of 150 MB in a data folder."""
    folder = tmp_path_factory.mktemp("studio") / "models" / "loras"
    folder.mkdir(parents=True)

    def wide(target: TargetModule, generator: torch.Generator) -> dict[str, torch.Tensor]:
        ones = [1] * (len(target.shape) - 2)
        down = torch.randn(RANK, *target.shape[1:], generator=generator)
        return {"lora_down.weight": down, "lora_up.weight": torch.ones(target.shape[0], RANK, *ones)}

    file = write_adapter(folder / "large.safetensors", unet, wide, dtype=torch.float16)
    assert file.stat().st_size >= LEAST
    with reads(file) as counted:
        file.read_bytes()
    if counted.fetched < LEAST:
        pytest.skip("this disk does not tell what is read from it")
    return file


def test_a_scan_reads_the_header_alone(large: Path, tmp_path: Path) -> None:
    data = large.parents[2]
    library = Library(parse_settings({"paths": {"data": str(data)}}), open_store(tmp_path).library)
    with reads(large) as counted:
        library.refresh()
        entry = library.adapters.find("large")
    assert entry.view.family == "sd1"
    assert counted.asked < 2 * read_header(large).data_start + OTHERS
    # A disk reads ahead, a little.
    assert counted.fetched < LEAST / 5
    with reads(large) as counted:
        library.refresh()
    assert counted.asked < OTHERS
    assert counted.fetched < OTHERS
    library.close()


@pytest.mark.parametrize("storage", [None, "int8"])
def test_loading_reads_every_byte_once(
    large: Path, unet: Targets, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    taken: Counter[str] = Counter()

    class Counted:
        """safetensors' own reader, with what it is asked for."""

        def __init__(self, path: Path, **options: Any) -> None:
            opened.append(str(path))
            self._file = safe_open(path, **options)

        def __enter__(self) -> Counted:
            self._file.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self._file.__exit__(*error)

        def get_tensor(self, name: str) -> torch.Tensor:
            taken[name] += 1
            return self._file.get_tensor(name)

    monkeypatch.setattr("engine.adapters.file.safe_open", Counted)
    header = read_header(large)
    with reads(large) as counted:
        adapter = read_adapter(large, unet, title="Large", storage=storage)
    assert adapter.report.matched == adapter.report.total > 0
    assert opened == [str(large)]
    assert taken == dict.fromkeys(header.tensors, 1)
    # The data come through the map; calls read the header.
    assert counted.asked < 2 * header.data_start + OTHERS
    assert 0.9 * LEAST <= counted.fetched <= 1.2 * large.stat().st_size
