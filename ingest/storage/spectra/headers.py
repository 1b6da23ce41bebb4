"""Answers with more headers than Python's client takes.

A HEAD has one for the checksum of each blob, and ``http.client`` takes 100 at most. Before Python
3.15 it asks nobody how many, so that the limit of the whole process is raised, for as long as such
an answer is waited for.
"""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MANY = 100_000
_USUAL: int = http.client._MAXHEADERS  # type: ignore[attr-defined]  # noqa: SLF001 - see above
_lock = threading.Lock()
_waiting = 0


@contextmanager
def many_headers() -> Iterator[None]:
    """Let an answer that is received within ``with`` have as many headers as it likes."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _waiting  # noqa: PLW0603 - as is what it counts for
    with _lock:
        _waiting += change
        limit = max(_USUAL, _MANY) if _waiting else _USUAL
        http.client._MAXHEADERS = limit  # type: ignore[attr-defined]  # noqa: SLF001
