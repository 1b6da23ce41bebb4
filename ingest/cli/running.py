"""Carry out what a command asks for, show it, and stop well when it is interrupted."""

from __future__ import annotations

import os
import traceback
from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ingest.cli import INTERRUPTED, briefly
from ingest.cli.options import TALLY, Asked, asked
from ingest.errors import BucketNotFound, IngestError, NotFound
from ingest.location import LocalPath, ObjectUrl
from ingest.planning.filters import key_filter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

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
    return StoreTree(call.store(location), location.directory)


def is_file(call: Asked, location: Location) -> bool:
    """Whether ``location`` names one file, or one object, that is there."""
    if isinstance(location, LocalPath):
        return not location.is_directory and location.path.exists()
    if not location.name:
        return False
    try:
        call.store(location).head(location.key)
    except BucketNotFound:
        raise
    except NotFound:
        return False
    return True


def named(call: Asked, location: Location, name: str = "") -> tuple[Tree, str]:
    """Return the tree that one file is in, and its key there; a directory gets ``name``."""
    from ingest.trees import LocalTree, StoreTree

    if isinstance(location, ObjectUrl):
        key = location.key if location.name or not name else location.key + name
        return StoreTree(call.store(location)), key
    if location.is_directory:
        return LocalTree(location.path), name
    return LocalTree(location.path.parent), location.path.name


def run(
    ctx: click.Context,
    values: dict[str, Any],
    operations: Callable[[Asked, Transfer], Iterator[Operation]],
    sizes: Callable[[Asked], Iterator[int]] = lambda _: iter(()),
) -> None:
    """Carry out ``operations`` and show them; exit with what became of them.

    On a terminal, ``sizes`` yields meanwhile how many bytes there are, growing as more is known,
    to tell the time that is left.
    """
    from ingest.cli.console import Reporter

    call = asked(ctx, values)
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    ctx.meta[TALLY] = reporter.tally
    try:
        how = call.transfer(reporter.moved)
        done = operations(call, how)
        if values.get("fail_fast"):
            done = _to_the_first_failure(done, how)
        code = _shown(reporter, done, sizes(call), call.cancelled)
    except (KeyboardInterrupt, RuntimeError) as error:
        if not _is_interrupt(error):
            raise
        briefly(reporter.interrupted)
        # Not sys.exit: that would wait for the threads whose parts are on their way.
        os._exit(INTERRUPTED)
    ctx.exit(code)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether ``error`` is Ctrl-C, or what a lock that it came in the midst of has failed with."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _to_the_first_failure(operations: Iterator[Operation], how: Transfer) -> Iterator[Operation]:
    """Yield ``operations`` until one has failed; end what is under way then."""
    for operation in operations:
        yield operation
        if operation.status == "failed":
            how.given_up.set()
            how.cancelled.set()
            return


def _shown(
    reporter: Reporter,
    operations: Iterator[Operation],
    sizes: Iterator[int],
    cancelled: threading.Event,
) -> int:
    """Show ``operations``; where that ends early, stop them, and let them clean up."""
    try:
        return reporter.show(operations, sizes)
    except BaseException as error:
        cancelled.set()
        if isinstance(operations, Generator):
            operations.close()
        # Where it was `operations` that ended, what they had under way is held by their frames.
        traceback.clear_frames(error.__traceback__)
        raise


def bytes_in(call: Asked, source: Location) -> Iterator[int]:
    """Yield the bytes that are in ``source`` and chosen, as they are found; nothing on errors."""
    from ingest.trees import LocalTree

    tree, chosen, total = tree_of(call, source), key_filter(call.rules()), 0
    with suppress(IngestError):  # it is told where it is transferred
        side = tree.side(lambda _: None) if isinstance(tree, LocalTree) else tree.side()
        for entry in side.entries:
            if chosen(entry.key[len(side.prefix) :]):
                total += entry.size
                yield total
