"""What a call tells while it works, and what it raises in the end: for calls from Python.

The command has ``ingest.console`` for this, with a summary and an exit code instead of an error.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ingest.errors import IngestError
    from ingest.operation import Operation
    from ingest.storage.base import Outcome, Transfer

    Progress = bool | Callable[[float, float, str], object] | None

_BAR = 30
_NOTED = 20
"""So many further errors are named in the notes of the one that is raised."""


def steps(progress: Progress, total: int, filename: str) -> Callable[[int], None]:
    """Return what takes the bytes of each step of one file, for ``Transfer.moved``.

    ``progress`` gets the bytes so far, ``total`` and ``filename``, one call at a time.
    """
    tell = _callback(progress)
    lock, so_far = threading.Lock(), 0

    def moved(size: int) -> None:
        nonlocal so_far
        with lock:
            so_far += size
            tell(so_far, total, filename)

    return moved


def outcome_of(outcomes: Iterable[Outcome], how: Transfer) -> None:
    """Wait for ``outcomes``, which are carried out as ``how`` says; raise the first error."""
    try:
        failures = [outcome.error for outcome in outcomes if outcome.error]
    finally:
        how.cancelled.set()
    for failure in failures:
        raise failure


def follow(
    operations: Iterable[Operation],
    how: Transfer,
    *,
    verbose: bool = False,
    progress: Progress = None,
) -> list[Operation]:
    """Return ``operations``, which are carried out as ``how`` says, once all were tried.

    ``verbose`` writes each as a line to stderr, and a last one that counts them. ``progress``
    gets each file once it is whole. Raises the first error there was, with the others in its
    notes; that the bucket does not exist, at once.
    """
    tell, told = _callback(progress), []
    try:
        for operation in operations:
            told.append(operation)
            if verbose:
                sys.stderr.write(f"{operation}\n")
            if operation.status == "done" and operation.source:
                tell(operation.size, operation.size, operation.target)
            if isinstance(operation.error, BucketNotFound):
                break
    finally:
        # What is still under way, in threads, ends at its next part.
        how.cancelled.set()
    if verbose:
        sys.stderr.write(f"{summary(told)}\n")
    _raise_first([operation.error for operation in told if operation.error])
    return told


def summary(operations: Iterable[Operation]) -> str:
    """Return one line: how many were done and how many bytes that was."""
    counts: Counter[str] = Counter()
    size = 0
    for operation in operations:
        done = operation.status == "done"
        counts[operation.verb if done else operation.status] += 1
        size += operation.size if done else 0
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    return f"{told}; {size:,} bytes" if told else "nothing to do"


def _raise_first(failures: list[IngestError]) -> None:
    if not failures:
        return
    first, *others = failures
    for other in others[:_NOTED]:
        first.add_note(f"also: {other}")
    if len(others) > _NOTED:
        first.add_note(f"and {len(others) - _NOTED:,} more")
    raise first


def _callback(progress: Progress) -> Callable[[float, float, str], object]:
    if callable(progress):
        return progress
    return _bar if progress else _nothing


def _bar(read: float, total: float, filename: str) -> None:
    share = min(read / total, 1.0) if total else 1.0
    end = "\n" if read >= total else ""
    sys.stderr.write(f"\r{filename} [{'#' * int(share * _BAR):<{_BAR}}] {share:4.0%}{end}")
    sys.stderr.flush()


def _nothing(_read: float, _total: float, _filename: str) -> None:
    pass
