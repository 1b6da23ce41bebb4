"""Carry out what a command asks for, show it, and stop well when it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ingest.cli.options import INTERRUPTED, Asked, asked
from ingest.errors import IngestError
from ingest.location import LocalPath
from ingest.planning.filters import key_filter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from types import FrameType

    import click

    from ingest.cli.console import Reporter
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
    source: Location | None = None,
) -> None:
    """Carry out ``operations`` and show them; exit with what became of them.

    On a terminal, what is in the directory ``source`` is counted meanwhile, to tell the time that
    is left.
    """
    from ingest.cli.console import Reporter

    call = asked(ctx, values)
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    with _interruptible(call.cancelled):
        try:
            done = operations(call, call.transfer(reporter.moved))
            sizes = _sizes(call, source) if source else iter(())
            code = _shown(reporter, done, sizes, call.cancelled)
        except KeyboardInterrupt:
            reporter.interrupted()
            sys.stdout.flush()
            # Not sys.exit: that would wait for the threads whose parts are on their way.
            os._exit(INTERRUPTED)
    ctx.exit(code)


def _shown(
    reporter: Reporter,
    operations: Iterator[Operation],
    sizes: Iterator[int],
    cancelled: threading.Event,
) -> int:
    """Show ``operations``; where that ends early, stop them, and let them clean up."""
    try:
        return reporter.show(operations, sizes)
    except BaseException:
        cancelled.set()
        if isinstance(operations, Generator):
            operations.close()
        raise


@contextmanager
def _interruptible(cancelled: threading.Event) -> Iterator[None]:
    """Let Ctrl-C stop the threads of a transfer before it stops this one."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if cancelled.is_set():  # a second one, while the first is being seen to
            os._exit(INTERRUPTED)
        cancelled.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _sizes(call: Asked, source: Location) -> Iterator[int]:
    """Yield the bytes that are in ``source`` and chosen, as they are found; nothing on errors."""
    from ingest.trees import LocalTree

    tree, chosen, total = tree_of(call, source), key_filter(call.rules()), 0
    with suppress(IngestError):  # it is told where it is transferred
        side = tree.side(lambda _: None) if isinstance(tree, LocalTree) else tree.side()
        for entry in side.entries:
            if chosen(entry.key[len(side.prefix) :]):
                total += entry.size
                yield total
