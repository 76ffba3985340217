"""What is told of a picture while its first evaluation runs: on a CPU that takes half a minute and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.jobs.board import Board
from engine.protocol.jobs import Progress
from tests.engine.jobs.conftest import studio_on
from tests.engine.jobs.test_levels import SPEC, at_step
from tests.support.studio_data import make_settings


def test_it_paints_from_its_first_evaluation_on_and_after_a_resume_from_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, told = make_settings(tmp_path), [Progress()]
    tell = Board.picture

    def listen(board: Board, *given: Any, **changes: Any) -> Progress | None:
        progress = tell(board, *given, **changes)
        told.append(progress or told[-1])
        return progress

    monkeypatch.setattr(Board, "picture", listen)
    first_call, fourth_call = at_step(1, lambda _: told[-1]), at_step(4, lambda _: studio.worker.stop())
    with studio_on(settings) as studio, first_call as first, fourth_call:
        job = studio.submit(SPEC)
        studio.wait(lambda: not studio.client._runtime._worker_thread.is_alive())
    assert [(each.stage, each.step, each.steps, each.fraction) for each in first] == [("denoising", 0, 8, 0.0)]
    with at_step(1, lambda _: told[-1]) as again, studio_on(settings) as studio:
        ended = studio.ended(job)
    assert ended.status == "done", ended.error
    assert "resumed" in [notice.code for notice in ended.notices]
    assert [(each.stage, each.steps) for each in again] == [("denoising", 8)]
    assert again[0].step > 0
    assert again[0].fraction == again[0].step / 8
