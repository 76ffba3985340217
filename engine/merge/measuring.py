"""What written modules lose, measured beside whoever writes them: it takes about as long as making them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from engine.merge.written import Measured, Written


class Measuring:
    """One more thread, which takes one of the cores that torch has here while `sharing()` holds."""

    def __init__(self) -> None:
        self._cores = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(1, "easel-measure", initializer=torch.set_num_threads, initargs=(1,))
        self._results: list[Future[Measured]] = []
        self._busy: Future[Measured] | None = None

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Torch leaves a core to the measuring, in this thread, until the block ends: both asking for all of them would
        wait for each other in every product. Also what torch gives to threads that start later is put back then."""
        torch.set_num_threads(max(1, self._cores - 1))
        try:
            yield
        finally:
            torch.set_num_threads(self._cores)

    def add(self, written: Written) -> None:
        """One more. Where the thread is still at the one before, the caller measures it, so that both have work and the
        tensors of one module at most are kept. Raises what measuring raised."""
        if self._busy is None or self._busy.done():
            self._busy = self._pool.submit(written.measure)
            self._results.append(self._busy)
        else:
            measured: Future[Measured] = Future()
            measured.set_result(written.measure())
            self._results.append(measured)

    def all(self) -> list[Measured]:
        """Each module's result, in order; waits for the last."""
        return [each.result() for each in self._results]

    def close(self) -> None:
        """Nothing more is measured when this returns."""
        self._pool.shutdown(wait=True, cancel_futures=True)
