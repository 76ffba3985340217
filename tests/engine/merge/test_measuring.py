"""Modules measured beside the one who writes them: all of them, in order, and torch's threads are given back."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import torch

from engine.merge.measuring import Measuring
from engine.merge.written import Form, Measured, Written


def _written(place: int, measure) -> Written:
    form = Form(("unet", str(place)), "LoRA", place, place, 1.0, 0.0)
    return Written(form, {}, lambda: measure(Measured(form, 1.0 / (place + 1), 1.0, 0.0, 1.0)))


def test_results_come_in_order_whoever_measured_them() -> None:
    first, caller, by = threading.Event(), threading.get_ident(), []

    def measured(result: Measured) -> Measured:
        by.append(threading.get_ident())
        if threading.get_ident() != caller:
            assert first.wait(10)
        return result

    with closing(Measuring()) as measuring:
        for place in range(4):
            measuring.add(_written(place, measured))
        # The thread is at the first one until now, so the others were measured here.
        assert by.count(caller) == 3
        first.set()
        assert [each.form.rank for each in measuring.all()] == [0, 1, 2, 3]
    assert len(set(by)) == 2


def test_torch_has_all_its_threads_again_afterwards() -> None:
    cores = torch.get_num_threads()
    with closing(Measuring()) as measuring:
        with measuring.sharing():
            assert torch.get_num_threads() == max(1, cores - 1)
            measuring.add(_written(0, lambda result: result))
            measuring.all()
        assert torch.get_num_threads() == cores
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    # Also threads that start later.
    assert later == [cores]


def test_what_measuring_raises_is_raised() -> None:
    def broken(result: Measured) -> Measured:
        raise ArithmeticError("no number")

    with closing(Measuring()) as measuring:
        measuring.add(_written(0, broken))
        with pytest.raises(ArithmeticError):
            measuring.all()
