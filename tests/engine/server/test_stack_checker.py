"""What is told of a stack before anything runs, with the model's own weights where a kind works on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.library.library import Library
from engine.protocol.commands import CheckStack
from engine.protocol.specs import AdapterRef
from engine.server.stack_checker import StackChecker
from engine.store.store import open_store
from tests.engine.adapters.making import dora, lora, oft, write_adapter
from tests.support.studio_data import make_settings


@pytest.fixture
def checker(tmp_path: Path) -> Iterator[StackChecker]:
    settings = make_settings(tmp_path)
    store = open_store(settings.state_dir)
    library = Library(settings, store.library)
    checker = StackChecker(library)
    targets = checker._targets_of(library.find_model(None))
    folder = settings.models_dir / "loras"
    folder.mkdir(parents=True)
    for name, make in (("ink", lora), ("pen", dora), ("oil", oft)):
        write_adapter(folder / f"{name}.safetensors", targets, make, seed=len(name))
    library.refresh()
    yield checker
    library.close()
    store.close()


def check(checker: StackChecker, *names: str) -> tuple[dict[str, int], tuple[str, ...]]:
    report = checker.check(CheckStack(adapters=tuple(AdapterRef(name=name) for name in names), conflicts=True))
    assert all(each.usable for each in report.reports)
    return {f"{pair.first} {pair.second}": pair.compared for pair in report.conflicts}, report.advice


def test_kinds_that_work_on_the_weights_are_compared_too(checker: StackChecker) -> None:
    pairs, advice = check(checker, "ink", "pen", "oil")
    assert set(pairs) == {"ink pen", "ink oil", "pen oil"}
    assert all(count > 20 for count in pairs.values())
    assert not any("cannot be compared" in sentence for sentence in advice)
    said = "pen (DoRA) and oil (OFT) work on what those above them changed: the order matters."
    assert [sentence for sentence in advice if "order matters" in sentence] == [
        f"{said} If one of them gets lost, move it further down."
    ], "one sentence, however many"


def test_an_adapter_at_0_has_no_place_in_the_order(checker: StackChecker) -> None:
    def told(*weights: float, text: float | None = None) -> bool:
        given = zip(("ink", "pen", "oil"), weights, strict=True)
        rows = (AdapterRef(name=name, unet_weight=weight, text_weight=text) for name, weight in given)
        report = checker.check(CheckStack(adapters=tuple(rows), conflicts=True))
        return any("order matters" in sentence for sentence in report.advice)

    assert not told(0, 0, 0)
    assert not told(1, 0, 0)
    assert told(1, 0, 1)
    assert told(0, 0, 0, text=0.5)


def test_the_report_says_why_a_file_cannot_be_read(checker: StackChecker, tmp_path: Path) -> None:
    (tmp_path / "models" / "loras" / "ink.safetensors").unlink()
    (tmp_path / "models" / "loras" / "oil.safetensors").write_bytes(b"no longer an adapter")
    report = checker.check(
        CheckStack(adapters=tuple(AdapterRef(name=name) for name in ("ink", "oil", "pen", "nobody")))
    )
    gone, damaged, good, unknown = (each.code for each in report.reports)
    assert (gone, good, unknown) == ("model_file_missing", "", "adapter_unknown")
    assert damaged.startswith("model_file_")


def test_a_model_whose_weights_are_gone_is_told_and_the_rest_is_compared(checker: StackChecker, tmp_path: Path) -> None:
    next((tmp_path / "models").rglob("unet/*.safetensors")).unlink()
    pairs, advice = check(checker, "ink", "pen")
    assert pairs == {}
    assert any("were not compared" in sentence for sentence in advice)
