"""Faults as data: what to do wrong, to which requests, how many times.

Kinds:

* ``400`` to ``599``: that HTTP status, with TMDB's JSON body where it has one (``code`` picks
  which) and HTML otherwise; 502, 503 and 504 are HTML unless ``code`` is given.
* ``error``: the TMDB error ``code``, with its own HTTP status.
* ``slow``: answers after ``seconds``. ``hang``: never answers.
* ``dropped``: closes the connection without an answer. ``truncated``: closes it half-way
  through the body. ``truncated-json``: a complete answer whose JSON is cut. ``not-json``: 200
  with HTML.
* Of lists only: ``null-results``; ``no-id`` (the first record has none); ``short`` (19 rows, then
  15, and so on, although more follow); ``empty-pages`` (no rows, 500 pages announced);
  ``duplicates`` (the last record of each page is again the first of the next one).
* ``torn``: the page is a copy made ``seconds`` earlier (21,414 by default, as once recorded),
  when the three titles that now come first did not exist yet: its total is 3 lower and its last
  three records come again on the next page. ``torn-age``: the same age, today's contents. Both
  touch page 1 unless ``page`` says otherwise.
"""

from __future__ import annotations

import re
import threading
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final

from ingest.sandbox import replies
from ingest.sandbox.replies import ERRORS, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TORN_AGE_S: Final = 21_414  # recorded on 2022-07-10 between two pages read in the same second
NEWER_TITLES: Final = 3  # and by how many titles the two pages' totals differed

LIST_KINDS: Final = frozenset(
    {"null-results", "no-id", "short", "empty-pages", "duplicates", "torn", "torn-age"}
)
_WIRE_KINDS: Final = frozenset(
    {"error", "slow", "hang", "dropped", "truncated", "truncated-json", "not-json"}
)
KINDS: Final = LIST_KINDS | _WIRE_KINDS
"""The names of the faults, beside the statuses 400 to 599."""
_STATUS: Final = re.compile(r"[45][0-9]{2}")
_BODIES: Final = {400: 47, 401: 7, 403: 45, 404: 34, 405: 42, 406: 19, 422: 5, 429: 25, 500: 11}
_OPTIONS: Final[dict[str, Callable[[str], Any]]] = {
    "times": int,
    "page": int,
    "path": str,
    "code": int,
    "retry_after": str,
    "seconds": float,
}
# An HTTP date has a comma of its own.
_BETWEEN_OPTIONS: Final = re.compile(rf",(?=(?:{'|'.join(_OPTIONS)})=)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do wrong.

    ``times`` is how many requests it spoils, for ever by default; ``page`` and ``path`` (a part
    of it) narrow which ones; ``retry_after`` is sent as it is, seconds or an HTTP date.

    Raises:
        ValueError: the kind or the code is unknown, or a number is out of range.

    """

    kind: str
    _: KW_ONLY
    times: int | None = None
    page: int | None = None
    path: str | None = None
    code: int | None = None
    retry_after: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse what could never be carried out."""
        if self.kind not in KINDS and not _STATUS.fullmatch(self.kind):
            known = ", ".join(sorted(KINDS))
            message = f"unknown fault {self.kind!r}; known are 400 to 599, {known}"
            raise ValueError(message)
        if self.code is not None and self.code not in ERRORS:
            message = f"TMDB has no error code {self.code}; known are 1 to {max(ERRORS)}"
            raise ValueError(message)
        if self.kind == "error" and self.code is None:
            message = "the fault 'error' needs a code"
            raise ValueError(message)
        if (self.times or 0) < 0 or not 0 <= (self.seconds or 0) < threading.TIMEOUT_MAX:
            message = "times and seconds must be numbers that are not negative"
            raise ValueError(message)

    @property
    def age_s(self) -> int:
        """How long ago the page it gives was made, in seconds; 0 for a fresh one."""
        if self.kind not in {"torn", "torn-age"}:
            return 0
        return TORN_AGE_S if self.seconds is None else int(self.seconds)

    def concerns(self, path: str, page: int | None) -> bool:
        """Whether a request is one of those to spoil; ``page`` is None where there are none."""
        if self.path is not None and self.path not in path:
            return False
        if self.kind in LIST_KINDS and page is None:
            return False
        wanted = 1 if self.age_s and self.page is None else self.page
        return wanted in {None, page}

    def error_reply(self) -> Reply | None:
        """Make the answer that replaces the real one, for the kinds that have one."""
        if self.kind == "not-json":
            return replies.html(200)
        if self.kind == "error" and self.code is not None:
            return replies.error(self.code, retry_after=self.retry_after)
        if not _STATUS.fullmatch(self.kind):
            return None
        status = int(self.kind)
        code = _BODIES.get(status) if self.code is None else self.code
        if code is None:
            return replies.html(status, retry_after=self.retry_after)
        return replies.error(code, status=status, retry_after=self.retry_after)


class FaultPlan:
    """The faults of one server and how often each may still strike. Safe between threads."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Nothing has struck yet."""
        self._faults = tuple(faults)
        self._left = [fault.times for fault in self._faults]
        self._lock = threading.Lock()

    def take(self, path: str, page: int | None) -> Fault | None:
        """Take the first fault that concerns a request and has times left, counted as used."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                left = self._left[index]
                if left == 0 or not fault.concerns(path, page):
                    continue
                self._left[index] = None if left is None else left - 1
                return fault
        return None


def parse_fault(text: str) -> Fault:
    """``KIND[:key=value,...]`` as given on the command line.

    Raises:
        ValueError: it cannot be read; the message says why.

    """
    kind, _, rest = text.partition(":")
    return Fault(kind, **dict(_option(part) for part in _BETWEEN_OPTIONS.split(rest) if part))


def _option(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    if key not in _OPTIONS:
        message = f"unknown fault option {key!r}; known are {', '.join(_OPTIONS)}"
        raise ValueError(message)
    try:
        return key, _OPTIONS[key](value)
    except ValueError:
        message = f"the fault option {key} is not a number: {value!r}"
        raise ValueError(message) from None
