"""Threads that do not keep a process from ending.

``concurrent.futures`` joins its threads when the interpreter exits, however long they still wait
for an answer that nobody wants any more. These are daemons.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class Workers:
    """At most ``threads`` daemon threads, each started when there is work for it."""

    def __init__(self, threads: int, name: str) -> None:
        """Start none yet."""
        self._name = name
        self._most = threads
        self._started = 0
        self._starting = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.SimpleQueue()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Do ``work`` in the background, unless its future is cancelled before."""
        future: Future[Result] = Future()
        self._jobs.put((future, work))
        with self._starting:
            if self._started < self._most:
                self._started += 1
                threading.Thread(target=self._serve, daemon=True, name=self._name).start()
        return future

    def close(self) -> None:
        """Let each thread end after what it is doing; what is queued is cancelled."""
        with contextlib.suppress(queue.Empty):
            while job := self._jobs.get_nowait():
                job[0].cancel()
        with self._starting:
            for _ in range(self._started):
                self._jobs.put(None)

    def _serve(self) -> None:
        while job := self._jobs.get():
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised where the result is taken
                future.set_exception(error)
