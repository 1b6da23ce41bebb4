"""Log lines: JSON by Powertools in Lambda, one readable line each on stderr elsewhere.

What is true of many lines, such as the run's id or the dataset, is said once with ``log_keys``.
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ingest.powertools import SERVICE, LambdaPowertoolsFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_keys: ContextVar[Mapping[str, Any]] = ContextVar("keys", default=MappingProxyType({}))
"""Of a context, not of the process: a thread that outlives its run, in a function that is used
again, still says which run it belongs to."""


def configure(*, in_lambda: bool, level: str) -> None:
    """Send the log lines of this package where they belong, from ``level`` up."""
    lines = logging.getLogger("ingest")
    lines.setLevel(level)
    # The runtime has a handler of its own at the root, which would tell each line again.
    lines.propagate = not in_lambda
    if not lines.handlers:
        lines.addHandler(_json_on_stdout() if in_lambda else _readable_on_stderr())


def _json_on_stdout() -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    # Times as Lambda itself reads them, where it filters lines by their level.
    form = LambdaPowertoolsFormatter(service=SERVICE, utc=True, use_rfc3339=True)
    handler.setFormatter(form)
    handler.addFilter(_add_keys)
    return handler


def _readable_on_stderr() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


@contextmanager
def log_keys(**keys: object) -> Iterator[None]:
    """Add ``keys``, less those that are None, to the log lines of this context meanwhile.

    Threads have contexts of their own: work that is handed over to one takes the keys along in
    ``contextvars.copy_context()``.
    """
    given = {name: value for name, value in keys.items() if value is not None}
    before = _keys.set({**_keys.get(), **given})
    try:
        yield
    finally:
        _keys.reset(before)


@contextmanager
def no_line_between() -> Iterator[None]:
    """Keep the log lines of other threads back: what is printed meanwhile is not torn by one."""
    with ExitStack() as held:
        for handler in logging.getLogger("ingest").handlers:
            if handler.lock:
                held.enter_context(handler.lock)
        yield


def _add_keys(record: logging.LogRecord) -> bool:
    for name, value in _keys.get().items():
        record.__dict__.setdefault(name, value)
    return True
