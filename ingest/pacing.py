"""Time as a budget: a deadline for the run, a limit of requests a second, waits between retries."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECOND_S = 1.05
"""A second of the rate limit: a little over one, since a server that counts seconds sees requests
arrive closer together, or further apart, than they were sent."""


class Deadline:
    """The moment by which a run must have finished."""

    def __init__(self, seconds: float) -> None:
        """Set the moment ``seconds`` from now, which may be in the past."""
        self._at = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Return the seconds that are left; zero or less once it has passed."""
        return self._at - time.monotonic()


class RateLimit:
    """At most ``rate`` starts within any second, over all threads; they may come in one burst.

    Where ``rate`` is not whole, that is so over any time that it takes to come to a whole number
    of starts, ``int(rate)`` of them or, below 1, a single one.
    """

    def __init__(self, rate: float) -> None:
        """Allow ``rate`` starts a second."""
        burst = max(int(rate), 1)
        self._window_s = burst / rate * _SECOND_S
        self._starts: deque[float] = deque(maxlen=burst)
        self._not_before = 0.0
        self._lock = threading.Lock()

    def delay_s(self) -> float:
        """Book the next free start and return the seconds until it: wait that long, then go."""
        with self._lock:
            start = max(time.monotonic(), self._not_before)
            if len(self._starts) == self._starts.maxlen:
                start = max(start, self._starts[0] + self._window_s)
            self._starts.append(start)
            return start - time.monotonic()

    def is_quiet(self) -> bool:
        """Whether the server's time of quiet is not over.

        To be asked after the wait for a start: the server may have asked in the meantime.
        """
        return time.monotonic() < self._not_before

    def pause(self, seconds: float) -> None:
        """Book no start for the next ``seconds``: the server has asked for quiet."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between retries: doubling from ``base_s`` up to ``cap_s``, the upper half at random.

    The random half keeps clients that failed together from coming back together.
    """

    retries: int = 5
    base_s: float = 0.5
    cap_s: float = 20.0

    def wait_s(self, attempt: int) -> float:
        """Return the seconds to wait after the failed ``attempt``, counted from 0."""
        whole = min(self.cap_s, self.base_s * 2.0**attempt)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


class ByteRate:
    """At most so many bytes a second over all threads, in steps of what is moved at once."""

    def __init__(self, bytes_per_s: float) -> None:
        """Limit to ``bytes_per_s``."""
        self._bytes_per_s = bytes_per_s
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def delay_s(self, size: int) -> float:
        """Book ``size`` bytes and return the seconds to wait before they may be moved.

        That is the time they take: a single large step is held back as many small ones are.
        """
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + size / self._bytes_per_s
            return self._free_at - now


def moment_of(text: str | None) -> datetime | None:
    """Return the moment that an HTTP header names; None for what is no date."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - loads slowly, and few need it

    try:
        moment = parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, given as seconds or as a moment.

    Names of ``headers`` are in lower case, or have none.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    moment = moment_of(text) if text else None
    if moment is None:
        return None
    # The server's own clock, so that a difference to ours does not count.
    now = moment_of(headers.get("date")) or datetime.now(UTC)
    return max((moment - now).total_seconds(), 0.0)
