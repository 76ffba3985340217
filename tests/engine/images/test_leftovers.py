"""Half-written files: a living process's stay, a killed one's go at once, however young they are."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from engine import platform
from engine.images.disk import remove_leftovers, unfinished
from engine.protocol.commands import GetStatus
from tests.support.engine_process import running_engine
from tests.support.studio_data import make_data

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import sys, time
from pathlib import Path
import torch
from engine.images.disk import unfinished
from engine.merge.writer import streamed

folder = Path(sys.argv[1])
with streamed(folder / "made.safetensors", tensors=2, metadata={}) as writer:
    with unfinished(folder / "model", folder=True) as model:
        (model / "part").write_bytes(b"half")
        writer.add("one", torch.ones(1000))
        print("writing", flush=True)
        time.sleep(60)
"""

pytestmark = pytest.mark.skipif(platform.is_windows(), reason="Windows tells by refusing to delete")


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".easel-*.tmp"))


def test_what_a_killed_process_was_writing_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "writing\n"
        assert len(hidden(tmp_path)) == 2
        assert remove_leftovers(tmp_path) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert len(hidden(tmp_path)) == 2
    assert remove_leftovers(tmp_path, older_than=3600.0) == 2
    assert list(tmp_path.iterdir()) == []


def test_where_the_system_cannot_tell_the_age_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".easel-0011223344556677.tmp").write_bytes(b"half")
    monkeypatch.setattr(platform, "system", lambda: "windows")
    assert remove_leftovers(tmp_path, older_than=3600.0) == 0
    assert remove_leftovers(tmp_path) == 1


def test_what_gets_no_name_is_gone(tmp_path: Path) -> None:
    with unfinished(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"half")
    with unfinished(tmp_path / "model", folder=True) as temporary:
        (temporary / "part").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_starts_clears_away_what_the_killed_one_left(tmp_path: Path) -> None:
    config = make_data(tmp_path)
    loras = tmp_path / "models" / "loras"
    left = [loras / ".easel-00.tmp", loras / "mine" / ".easel-11.tmp", tmp_path / "models/checkpoints/.easel-22.tmp"]
    for each in left:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_bytes(b"half")

    async def story() -> None:
        async with running_engine(tmp_path, config) as (_, client):
            await client.call(GetStatus())
            assert [each for each in left if each.exists()] == []

    asyncio.run(asyncio.wait_for(story(), 120))
