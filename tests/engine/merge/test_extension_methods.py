"""A merge method out of an extension: listed, run, and its faults are the recipe's, not the engine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import MergeError
from engine.extension_methods import AddedMethod
from engine.merge.analysis import preview
from engine.merge.files import RecipeFiles
from engine.merge.methods.table import own_methods
from engine.merge.run import run
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe
from engine.server.extension_halves import ExtensionHalves
from tests.engine.adapters.making import lora, write_adapter
from tests.engine.merge.conftest import nothing, stacked, worst

MANIFEST = 'id = "{id}"\nname = "{id}"\nversion = "1"\napi = 1\nengine = "engine_side.py"\n'
# The method of docs/extensions.md.
QUIETER = """
from engine.merge.delta import combined
from engine.protocol.merge_reports import MethodView


class Quieter:
    view = MethodView(id="quieter", title="Quieter sum", summary="The sum at half its strength.")

    def validate(self, recipe):
        from engine.errors import MergeError
        if len(recipe.inputs) > 2:
            raise MergeError("merge_inputs_missing", "Quieter sum takes two inputs.", "Leave one out.")

    def merge(self, shares, options, random):
        total = combined([share.delta for share in shares], [share.weight for share in shares])
        return total.times(0.5)


def register(host):
    host.merge_method(Quieter())
"""


def methods(root: Path, code: str) -> tuple[AddedMethod, ...]:
    """What an extension of this code adds; an AssertionError with the card's sentence where it is refused."""
    folder = root / "extensions" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "extension.toml").write_text(MANIFEST.format(id="mine"), encoding="utf-8")
    (folder / "engine_side.py").write_text(code, encoding="utf-8")
    halves = ExtensionHalves(root / "extensions")
    halves.load()
    (half,) = halves.tell().halves
    assert not half.reason, half.reason
    return tuple(method for host in halves.hosts for method in host.merge_methods)


def test_an_id_that_another_extension_has_is_refused_with_all_of_that_half(tmp_path: Path) -> None:
    for name in ("first", "second"):
        folder = tmp_path / "extensions" / name
        folder.mkdir(parents=True)
        (folder / "extension.toml").write_text(MANIFEST.format(id=name), encoding="utf-8")
        (folder / "engine_side.py").write_text(QUIETER, encoding="utf-8")
    halves = ExtensionHalves(tmp_path / "extensions")
    halves.load()
    assert [(half.id, half.state) for half in halves.tell().halves] == [("first", "on"), ("second", "broken")]
    assert "the extension first has a method “quieter” already" in halves.tell().halves[1].reason
    method = halves.merge_methods()["quieter"]
    assert isinstance(method, AddedMethod)
    assert method.extension == "first"


@pytest.fixture
def files(targets, base, tmp_path) -> RecipeFiles:
    folder = tmp_path / "in"
    folder.mkdir()
    paths = {
        name: write_adapter(folder / f"{name}.safetensors", targets["sd1"], lora, seed=ord(name)) for name in "abc"
    }
    return RecipeFiles(paths, {"tiny": base})


def recipe(names: str = "ab") -> MergeRecipe:
    inputs = tuple(MergeInput(name=name) for name in names)
    return MergeRecipe(inputs=inputs, method="quieter", base="tiny", target=AdapterTarget(kind="lora", dtype="float32"))


def test_a_method_of_an_extension_makes_a_file(files, targets, tmp_path) -> None:
    (added,) = methods(tmp_path, QUIETER)
    known = {**own_methods(), added.view.id: added}
    out = tmp_path / "out.safetensors"
    *_, last = run(recipe(), files, out, methods=known)
    wanted = stacked([files.adapters[name] for name in "ab"], [0.5, 0.5], targets["sd1"], nothing(targets["sd1"]))
    assert worst(stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"])), wanted) < 1e-5
    # The parity number is measured against stacking, which this method is not.
    assert last.report.parity == pytest.approx(0.5, abs=1e-3)
    assert preview(recipe(), files, methods=known).loss == 0.0
    with pytest.raises(MergeError) as caught:
        list(run(recipe("abc"), files, tmp_path / "no.safetensors", methods=known))
    assert caught.value.message == "Quieter sum takes two inputs."


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("return total.times(0.5)", "return 1 / 0"), "ZeroDivisionError: division by zero (engine_side.py, line 16)"),
        (("return total.times(0.5)", "return total.matrix()"), "it did not make a Delta of the shape"),
        (("def merge(self, shares, options, random)", "def merge(self, shares)"), "TypeError"),
    ],
)
def test_a_method_that_fails_ends_the_merge_with_one_sentence(change, told, files, tmp_path) -> None:
    (added,) = methods(tmp_path, QUIETER.replace(*change))
    before = sorted(tmp_path.rglob("*.safetensors"))
    with pytest.raises(MergeError) as caught:
        list(run(recipe(), files, tmp_path / "out.safetensors", methods={added.view.id: added}))
    assert caught.value.code == "merge_method_failed"
    assert told in caught.value.message
    assert "Quieter sum" in caught.value.message
    assert sorted(tmp_path.rglob("*.safetensors")) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('id="quieter"', 'id="ties"'), "there is a method “ties” already"),
        (('id="quieter"', 'id="Quieter!"'), "small letters"),
        (("def merge", "def fuse"), "Quieter sum has no merge()"),
        (("    view = MethodView", "    look = MethodView"), "it has no “view”"),
        (('summary="The sum', 'options=("heat",), summary="The sum'), "Quieter sum asks for “heat”"),
        (("host.merge_method(Quieter())", "[host.merge_method(Quieter()) for _ in '12']"), "already"),
    ],
)
def test_a_method_that_cannot_be_used_is_refused_on_its_card(change, told, tmp_path) -> None:
    with pytest.raises(AssertionError) as caught:
        methods(tmp_path, QUIETER.replace(*change))
    assert told in str(caught.value)
