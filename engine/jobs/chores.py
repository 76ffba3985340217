"""Chores: short work that needs the worker's thread, asked for by a thread that waits for the answer."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from engine.errors import EngineLostError, StudioError

log = logging.getLogger("easel.worker")

Answer = TypeVar("Answer")
PATIENCE = 300.0


class Chores:
    """The worker does them between evaluations, one a turn.

    Args:
        wake: tells a worker that waits for jobs.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._worker: int | None = None

    def run(self, act: Callable[[], Answer], patience: float = PATIENCE) -> Answer:
        """The answer of `act`, or what it raised. On the worker's own thread it is done at once.

        Raises:
            EngineLostError: nobody did it within `patience` seconds.
        """
        if threading.get_ident() == self._worker:
            return act()
        future: Future[Answer] = Future()
        self._waiting.put((act, future))
        self._wake()
        try:
            return future.result(patience)
        except FutureTimeout:
            future.cancel()
            raise EngineLostError(
                "engine_starting", "The engine has not come to it yet.", "Try again when it has less to do."
            ) from None

    def post(self, act: Callable[[], None]) -> None:
        """Have something done for which nobody waits; what it raises goes to the log."""

        def logged() -> None:
            try:
                act()
            except StudioError as error:
                log.warning("a chore failed: %s", error)

        self._waiting.put((logged, Future()))
        self._wake()

    def serve(self) -> bool:
        """Do one, if one waits. Called by the worker; whether there was one."""
        self._worker = threading.get_ident()
        try:
            act, future = self._waiting.get_nowait()
        except queue.Empty:
            return False
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(act())
            except BaseException as error:
                # It belongs to whoever asked; the worker's own end (KeyboardInterrupt, SystemExit) is never held up.
                future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
        return True
