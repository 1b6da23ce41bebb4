"""Where the time of a run goes, told to AWS X-Ray; nothing unless a run is traced.

X-Ray's library is loaded by ``traced_run`` alone: its import is the largest of all. It watches no
other library, so that no address, which may hold a key, is ever in what it sends.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ingest.powertools import SERVICE, Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

_open: ContextVar[tuple[Any, Any] | None] = ContextVar("open", default=None)
"""X-Ray's recorder and the subsegment that is open in this context, where a run is traced.

X-Ray itself knows that for each thread alone."""


@contextmanager
def traced_run() -> Iterator[None]:
    """Trace what is done meanwhile as the subsegment ``run``."""
    recorder: Any = Tracer(service=SERVICE, auto_patch=False).provider
    with recorder.in_subsegment("run") as subsegment:
        before = _open.set((recorder, subsegment))
        try:
            yield
        finally:
            _open.reset(before)


@contextmanager
def traced(name: str, **annotations: str) -> Iterator[None]:
    """Trace what is done meanwhile as the subsegment ``name``, below the one that is open."""
    found = _open.get()
    if found is None:
        yield
        return
    recorder, parent = found
    recorder.set_trace_entity(parent)
    with recorder.in_subsegment(name) as subsegment:
        for key, value in annotations.items():
            subsegment.put_annotation(key, value)
        before = _open.set((recorder, subsegment))
        try:
            yield
        finally:
            _open.reset(before)
