"""Carry out what a command asks for, show it, and stop well when it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ingest.cli.options import Asked, asked
from ingest.location import LocalPath

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from types import FrameType

    import click

    from ingest.location import Location
    from ingest.operation import Operation
    from ingest.storage.base import Transfer
    from ingest.sync import Tree


def tree_of(call: Asked, location: Location) -> Tree:
    """Return the directory that ``location`` names, read as asked."""
    from ingest.trees import LocalTree, StoreTree

    if isinstance(location, LocalPath):
        return LocalTree(location.path, call.values["follow_symlinks"], call.values["empty_dirs"])
    return StoreTree(call.store(location.bucket), location.directory)


def run(
    ctx: click.Context,
    values: dict[str, Any],
    operations: Callable[[Asked, Transfer], Iterator[Operation]],
) -> None:
    """Carry out ``operations`` and show them; exit with what became of them."""
    from ingest.cli.console import INTERRUPTED, Reporter

    call = asked(ctx, values)
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    with _interruptible(call.cancelled):
        try:
            code = reporter.show(operations(call, call.transfer(reporter.moved)))
        except KeyboardInterrupt:
            reporter.interrupted()
            sys.stdout.flush()
            # Not sys.exit: that would wait for the threads whose parts are on their way.
            os._exit(INTERRUPTED)
    ctx.exit(code)


@contextmanager
def _interruptible(cancelled: threading.Event) -> Iterator[None]:
    """Let Ctrl-C stop the threads of a transfer before it stops this one."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        cancelled.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
