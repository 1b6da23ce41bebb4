"""Requests that are sent again after failures that may pass, until the work is to end."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from ingest.storage.api import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)


class Halt(Exception):
    """The work is to end: what is under way has no result."""


class Stop:
    """Ends the work of several threads: after the first failure, or when the caller cancels."""

    def __init__(self, cancelled: threading.Event) -> None:
        """Take the caller's event."""
        self._cancelled = cancelled
        self._failed = threading.Event()
        self.failure: BaseException | None = None

    def fail(self, failure: BaseException) -> None:
        """End the work; the first failure is kept."""
        self.failure = self.failure or failure
        self._failed.set()

    def check(self) -> None:
        """Raise ``Halt`` once the work is to end."""
        if self._failed.is_set() or self._cancelled.is_set():
            raise Halt

    def pause(self, seconds: float) -> None:
        """Wait; raise ``Halt`` soon after the work is to end."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            self._failed.wait(min(left, 0.2))
        self.check()


def retried(
    call: Callable[[], _T], stop: Stop, before_again: Callable[[], None] = lambda: None
) -> _T:
    """Return what ``call`` does; after a failure that may pass wait, and call again.

    Six attempts, half a minute in all, or longer where the store asks for it. Raises the last
    ``Failed``, ``Halt`` once the work is to end, and what ``before_again`` raises.
    """
    for pause in _PAUSES_S:
        try:
            return call()
        except Failed as failed:
            if not failed.passes:
                raise
            asked_s = failed.wait_s
        before_again()
        spread = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads requests, no secret
        stop.pause(max(spread, asked_s))
    return call()
