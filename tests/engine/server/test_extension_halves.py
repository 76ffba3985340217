"""The engine's halves of extensions: a kind of adapter that Easel does not know, and halves that fail in every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.adapters.file import read_adapter
from engine.adapters.modules import TargetModule, Targets
from engine.adapters.plan import Change
from engine.adapters.work_in import work_in
from engine.errors import AdapterError
from engine.host import EngineHost
from engine.library.added_kinds import added_kinds, set_added_kinds
from engine.library.identify import identify_file
from engine.library.layouts import FoundFolder
from engine.library.scan import scan
from engine.server.extension_halves import ExtensionHalves
from tests.engine.adapters.making import lora

MANIFEST = 'id = "{id}"\nname = "{id}"\nversion = "1"\napi = 1\nengine = "engine_side.py"\n'
# ΔW = scale · outer(rows, columns), a kind that nobody else has.
OUTER = """
from dataclasses import dataclass
import torch
from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.parts import Misfit, expect, times

title = "Outer"
names = {"outer_rows", "outer_columns"}

@dataclass(frozen=True)
class Outer(Patch):
    rows: torch.Tensor
    columns: torch.Tensor
    kind: str = "Outer"

    def delta(self, weight, scale):
        return (torch.outer(self.rows, self.columns).float() * scale).reshape(weight.shape)

    def low_rank(self):
        return self.rows.float()[:, None], self.columns.float()[None]

def detect(dims):
    return "outer_rows" in dims

def read(parts, target):
    rows, columns = parts.get("outer_rows"), parts.get("outer_columns")
    if target.kind not in ("linear", "conv"):
        raise Misfit("only layers with a matrix")
    expect((rows.shape[0], columns.shape[0]), target)
    return Outer(rows, columns)

def register(host):
    import sys
    host.adapter_kind(sys.modules[__name__])
"""
LINEAR = ("unet", "down_blocks.0.attentions.0.proj_in")
TARGETS = Targets({LINEAR: TargetModule("linear", (6, 4), False)}, {}, "sd1")
NAME = "lora_unet_down_blocks_0_attentions_0_proj_in"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    set_added_kinds(())


def write(root: Path, folder: str, code: str) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    (place / "extension.toml").write_text(MANIFEST.format(id=folder), encoding="utf-8")
    (place / "engine_side.py").write_text(code, encoding="utf-8")
    return place


def outer_file(folder: Path, rows: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    tensors = {f"{NAME}.outer_rows": torch.randn(rows), f"{NAME}.outer_columns": torch.randn(4)}
    save_file(tensors, folder / "outer.safetensors")
    return folder / "outer.safetensors"


def test_a_new_kind_is_found_reported_and_worked_in(tmp_path: Path) -> None:
    write(tmp_path / "extensions", "outer", OUTER)
    file = outer_file(tmp_path / "loras")
    with pytest.raises(AdapterError):
        read_adapter(file, TARGETS, title="outer")
    halves = ExtensionHalves(tmp_path / "extensions")
    assert halves.tell().loaded is False
    halves.load()
    (told,) = halves.tell().halves
    assert (told.id, told.state, told.adds) == ("outer", "on", ("adapters of the kind Outer",))
    identity = identify_file(file)
    assert identity.adapter is not None
    assert (identity.kind, identity.adapter.kind, identity.adapter.modules) == ("adapter", "Outer", 1)
    adapter = read_adapter(file, TARGETS, title="outer")
    assert (adapter.report.matched, adapter.report.total, adapter.nbytes) == (1, 1, 40)
    base, out = torch.randn(6, 4), torch.empty(6, 4)
    work_in(base, [Change(adapter.patches[LINEAR], 0.5, "a")], out)
    patch = adapter.patches[LINEAR]
    expected = base + 0.5 * torch.outer(patch.rows, patch.columns)  # type: ignore[attr-defined]
    torch.testing.assert_close(out, expected)


def test_a_file_that_was_looked_at_before_is_looked_at_again(tmp_path: Path) -> None:
    from engine.store.store import open_store

    outer_file(tmp_path / "loras")
    root = FoundFolder("adapter", tmp_path / "loras", "models")
    store = open_store(tmp_path / "state")
    (before,) = scan([root], store.library).found
    assert before.identity.problem
    write(tmp_path / "extensions", "outer", OUTER)
    ExtensionHalves(tmp_path / "extensions").load()
    (after,) = scan([root], store.library).found
    assert after.identity.adapter is not None
    assert (after.identity.problem, after.identity.adapter.kind) == ("", "Outer")
    store.close()


def test_shapes_that_do_not_fit_are_told_from_the_header(tmp_path: Path) -> None:
    write(tmp_path / "extensions", "outer", OUTER)
    ExtensionHalves(tmp_path / "extensions").load()
    with pytest.raises(AdapterError, match="made for 7×4"):
        read_adapter(outer_file(tmp_path / "loras", rows=7), TARGETS, title="outer")


def test_a_fault_while_reading_names_the_extension_and_the_line(tmp_path: Path) -> None:
    write(
        tmp_path / "extensions", "outer", OUTER.replace("rows, columns = parts.get", "1 / 0; rows, columns = parts.get")
    )
    ExtensionHalves(tmp_path / "extensions").load()
    with pytest.raises(AdapterError, match=r"the extension outer.*ZeroDivisionError.*engine_side.py, line"):
        read_adapter(outer_file(tmp_path / "loras"), TARGETS, title="outer")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("title = ", "no_title = "), "its title must be"),
        (('names = {"outer_rows", "outer_columns"}', 'names = "outer_rows"'), "ends of tensors' names"),
        (('"outer_columns"}', '"lora_up.weight"}'), "means something else already"),
        (('title = "Outer"', 'title = "LoRA"'), "there is a kind LoRA already"),
        (("def detect(", "def detekt("), "has no detect()"),
        (("host.adapter_kind(", "host.no_such_hook("), "no_such_hook"),
        (("import sys", "import sys; sys.exit(2)"), "SystemExit"),
        (("import torch", "import torch_of_another_world"), "torch_of_another_world"),
    ],
    ids=["title", "names", "taken", "twice", "verb", "not-yet", "exit", "import"],
)
def test_a_half_that_fails_adds_nothing_and_says_why(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    write(tmp_path, "broken", OUTER.replace(*change))
    write(tmp_path, "fine", OUTER.replace("outer_", "inner_").replace('"Outer"', '"Inner"'))
    halves = ExtensionHalves(tmp_path)
    halves.load()
    broken, fine = halves.tell().halves
    assert broken.state == "broken"
    assert reason in broken.reason
    assert fine.state == "on"
    assert [kind.title for kind in added_kinds()] == ["Inner"]
    assert [host.id for host in halves.hosts] == ["fine"]


def test_two_extensions_cannot_take_the_same_names(tmp_path: Path) -> None:
    write(tmp_path, "one", OUTER)
    write(tmp_path, "two", OUTER.replace('title = "Outer"', 'title = "Other"'))
    halves = ExtensionHalves(tmp_path)
    halves.load()
    assert [half.state for half in halves.tell().halves] == ["on", "broken"]


def test_disabled_halves_and_safe_mode_run_no_code(tmp_path: Path) -> None:
    write(tmp_path, "loud", "raise RuntimeError('it ran')\n")
    for halves in (ExtensionHalves(tmp_path, ("loud",)), ExtensionHalves(None)):
        halves.load()
        assert halves.tell().halves == ()


def test_own_kinds_are_asked_first(tmp_path: Path) -> None:
    write(tmp_path, "greedy", OUTER.replace('return "outer_rows" in dims', "return True"))
    ExtensionHalves(tmp_path).load()
    generator = torch.Generator().manual_seed(0)
    file = tmp_path / "plain.safetensors"
    save_file({f"{NAME}.{k}": v for k, v in lora(TARGETS.modules[LINEAR], generator).items()}, file)
    assert read_adapter(file, TARGETS, title="plain").patches[LINEAR].kind == "LoRA"


def test_a_host_collects_without_doing_anything() -> None:
    host = EngineHost("x")
    assert (host.adds, host.adapter_kinds) == ((), [])
