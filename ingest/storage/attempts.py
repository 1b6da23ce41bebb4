"""Requests that are sent again after failures that may pass, until the work is to end."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from ingest.storage.answers import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the attempts at a part of a large object: half a minute in all."""
_SMALL_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 16.0, 16.0, 16.0, 16.0)
"""Between those at a small object: a store may be busy for a minute."""

_UNREACHED_TRIES = 4
_LONG_S, _SELDOM_S = 3.0, 15.0
"""From which pause on somebody who waits is told, and how often over all threads."""
_telling = threading.Lock()
_told_at = [-math.inf]


logger = logging.getLogger(__name__)


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


def after(first: _T | Failed | None, call: Callable[[], _T]) -> Callable[[], _T]:
    """Return ``call``, of which a first attempt has been made and come to ``first``."""
    made = [] if first is None else [first]

    def attempt() -> _T:
        if not made:
            return call()
        found = made.pop()
        if isinstance(found, Failed):
            raise found
        return found

    return attempt


def patiently(call: Callable[[], _T], stop: Stop, patience_s: float) -> _T:
    """Return what ``call``, a request for a small object, does; see ``retried``."""
    return retried(call, stop, pauses_s=_SMALL_S, patience_s=patience_s)


def retried(
    call: Callable[[], _T],
    stop: Stop,
    before_again: Callable[[], None] = lambda: None,
    *,
    pauses_s: Sequence[float] = _PAUSES_S,
    patience_s: float = math.inf,
) -> _T:
    """Return what ``call`` does; after a failure that may pass wait, and call again.

    One attempt more than there are pauses, which are longer where the store asks for it, but none
    after ``patience_s``, and few where it has never answered: then the address is more often wrong
    than the store is busy. Raises the last ``Failed``, ``Halt`` once the work is to end, and what
    ``before_again`` raises.
    """
    end = time.monotonic() + patience_s
    for number, pause in enumerate(pauses_s, 1):
        try:
            return call()
        except Failed as failed:
            asked_s, since = failed.wait_s, failed.at
            hopeless = failed.unreached and number == _UNREACHED_TRIES
            if hopeless or not failed.passes or time.monotonic() + max(pause, asked_s) > end:
                raise
            if pause >= _LONG_S:
                _tell(failed)
        before_again()
        spread = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads requests, no secret
        # With others that failed at the same time it may have been waited for already.
        stop.pause(since + max(spread, asked_s) - time.monotonic())
    return call()


def _tell(failed: Failed) -> None:
    """Say that the store is waited for: long silence looks like a program that hangs."""
    with _telling:
        now = time.monotonic()
        if now - _told_at[0] < _SELDOM_S:
            return
        _told_at[0] = now
    said = failed.code or failed.message or f"HTTP {failed.status}"
    logger.warning("the store cannot answer now (%s): it is asked again", said)
