"""How long an appliance is waited for, and what ends the waiting."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ingest.errors import IngestError, StoreError
from ingest.pacing import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_LOOK_S = 0.2
"""How often whoever waits looks whether to go on; an event cannot wait for another."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an appliance is waited for; times are in seconds.

    A request that fails on the way, or that the appliance fails at, is made ``attempts`` times
    with ``backoff`` between. While the appliance is busy, it is asked again after the time it
    says, but not before ``shortest_wait_s`` and after ``longest_wait_s`` at the latest; at most
    ``waits`` times, and ``total_s`` in all, without anything getting on. ``connect_s`` is for a
    connection, and for the next bytes sent, ``answer_s`` for the next bytes of an answer.
    """

    attempts: int = 6
    backoff: Backoff = field(default=Backoff(base_s=0.5, cap_s=20.0))
    waits: int = 1_000
    total_s: float = 6 * 3600.0
    shortest_wait_s: float = 1.0
    longest_wait_s: float = 600.0
    connect_s: float = 20.0
    answer_s: float = 60.0

    def wait_s(self, asked_s: float | None, waits: int) -> float:
        """Return how long to wait where the appliance asks for ``asked_s``, or does not say."""
        wanted = self.backoff.wait_s(waits) if asked_s is None else asked_s
        return min(max(wanted, self.shortest_wait_s), self.longest_wait_s)

    def check(self, error: IngestError, waits: int, waited_s: float) -> None:
        """Raise ``error`` where waiting that often, or that long, is too much."""
        if waits > self.waits or waited_s > self.total_s:
            message = f"{error.message}; given up after {waits - 1:,} waits"
            raise type(error)(message, hint=error.hint) from None


class Stop:
    """Ends waiting: once the caller has cancelled, or ``set`` was called."""

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        """Take the caller's event; without one, nobody else ends it."""
        self._cancelled = cancelled or threading.Event()
        self._ended = threading.Event()

    def set(self) -> None:
        """End it."""
        self._ended.set()

    def is_set(self) -> bool:
        """Whether it is ended."""
        return self._ended.is_set() or self._cancelled.is_set()

    def wait(self, seconds: float, until: threading.Event | None = None) -> None:
        """Wait, or until ``until`` is set. Raises ``StoreError`` soon after it was ended."""
        end = time.monotonic() + seconds
        event = until or self._ended
        while (left := end - time.monotonic()) > 0 and not self.is_set():
            if event.wait(min(left, _LOOK_S)):
                break
        self.check()

    def check(self) -> None:
        """Raise ``StoreError`` once it is ended."""
        if self.is_set():
            raise StoreError("the transfer was stopped")


class Passing(Exception):
    """A failure that may be over at the next try; ``error`` is raised when no try is left.

    ``is_busy`` where the appliance has said that it is, and perhaps in how many seconds,
    ``after_s``, it will not be. ``attempts`` is the most there should be, where that is fewer than
    patience allows.
    """

    def __init__(
        self,
        error: IngestError,
        *,
        is_busy: bool = False,
        after_s: float | None = None,
        attempts: int | None = None,
    ) -> None:
        """Say what failed."""
        super().__init__(str(error))
        self.error = error
        self.is_busy = is_busy
        self.after_s = after_s
        self.attempts = attempts


def retried(work: Callable[[], Result], patience: Patience, stop: Stop) -> Result:
    """Return what ``work`` does, begun anew as often as ``Passing`` and patience allow.

    Raises the error of the last try, and ``StoreError`` soon after ``stop``.
    """
    failures = waits = 0
    waited_s = 0.0
    while True:
        try:
            return work()
        except Passing as passing:
            if passing.is_busy:
                wait_s = patience.wait_s(passing.after_s, waits)
                waits, waited_s = waits + 1, waited_s + wait_s
                patience.check(passing.error, waits, waited_s)
            else:
                failures += 1
                if failures >= min(patience.attempts, passing.attempts or patience.attempts):
                    raise passing.error from None
                wait_s = max(patience.backoff.wait_s(failures - 1), passing.after_s or 0.0)
        stop.wait(wait_s)
