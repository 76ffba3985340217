"""Chores: work for the worker's thread, asked for by another."""

from __future__ import annotations

import threading

import pytest

from engine.errors import ControlError, EngineLostError
from engine.jobs.chores import Chores


def test_a_chore_is_done_on_the_workers_thread_and_answered() -> None:
    woken = threading.Event()
    chores = Chores(woken.set)
    answers: list[object] = []

    def ask(act: object) -> None:
        try:
            answers.append(chores.run(act))  # type: ignore[arg-type]
        except ControlError as error:
            answers.append(error.code)

    def fail() -> int:
        raise ControlError("annotator_missing", "It is not there.", "")

    for act in (threading.get_ident, fail, lambda: chores.run(lambda: "inside another")):
        woken.clear()
        asking = threading.Thread(target=ask, args=(act,))
        asking.start()
        assert woken.wait(5)
        assert chores.serve()
        asking.join(5)
    assert answers == [threading.get_ident(), "annotator_missing", "inside another"]
    assert not chores.serve()


def test_a_worker_that_does_not_come_is_not_waited_for_for_ever() -> None:
    chores = Chores(lambda: None)
    with pytest.raises(EngineLostError):
        chores.run(lambda: 1, patience=0.05)
    done: list[int] = []
    with pytest.raises(EngineLostError):
        chores.run(lambda: done.append(1), patience=0.05)
    while chores.serve():
        pass
    assert done == [], "what nobody waits for any more is not done"
