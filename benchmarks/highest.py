"""Highest: how much private memory this process holds at most for a while."""

from __future__ import annotations

import threading

LOOK_SECONDS = 0.005


class Highest:
    """`with Highest() as highest: ...`; then `peak`, in bytes: private memory (see `engine.memory.meter`), looked at
    every 5 ms."""

    def __enter__(self) -> Highest:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        from engine.memory.meter import private_bytes

        while True:
            self.peak = max(self.peak, private_bytes())
            if self._over.wait(LOOK_SECONDS):
                return
