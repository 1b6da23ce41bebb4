"""Compare two trees by size and hash, and say what differs. Nothing is written."""

from __future__ import annotations

from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ingest.content import is_same
from ingest.errors import BucketNotFound, IngestError, NotFound, StoreError
from ingest.operation import Operation, from_problem
from ingest.planning.filters import key_filter
from ingest.storage.bulk import in_threads
from ingest.trees import LocalTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.files.scan import Problem
    from ingest.operation import Status
    from ingest.planning.filters import Rule
    from ingest.planning.plan import Side
    from ingest.storage.base import Entry, Transfer
    from ingest.sync import Tree


def compare(
    source: Tree, destination: Tree, rules: tuple[Rule, ...], how: Transfer
) -> Iterator[Operation]:
    """Yield one operation a key: done where both sides have the same content, failed otherwise.

    Skipped is what cannot be told, since the store has no hash of it: then the sizes are equal.
    Raises ``NotFound`` where a local side does not exist, and what reading a listing raises.
    """
    told: list[Operation] = []
    chosen = key_filter(rules)
    pairs = _pairs(_side(source, rules, told), _side(destination, rules, told))

    def one(pair: tuple[str, Entry | None, Entry | None]) -> Operation:
        return _compared(source, destination, *pair)

    yield from in_threads(one, (pair for pair in pairs if chosen(pair[0])), how.threads)
    yield from told


def compare_one(source: Tree, key: str, destination: Tree, target: str) -> Iterator[Operation]:
    """Yield one operation, as ``compare`` does, for two files. Raises ``NotFound`` for no source.

    ``key`` and ``target`` are whole ones.
    """
    one = source.entry(key)
    try:
        other = destination.entry(target)
    except BucketNotFound:
        raise
    except NotFound:
        error = StoreError("it is not in the destination")
        end = destination.shown(target)
        yield Operation("verify", end, source.shown(key), status="failed", error=error)
    else:
        yield _compared(source, destination, key, one, other)


def _side(tree: Tree, rules: tuple[Rule, ...], told: list[Operation]) -> Side:
    if not isinstance(tree, LocalTree):
        return tree.side()

    def report(problem: Problem) -> None:
        told.append(from_problem(problem))

    return tree.side(report, rules)


def _pairs(one: Side, other: Side) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Merge two listings into keys, relative to the prefixes, with the entries of both sides."""
    left = ((entry.key[len(one.prefix) :], 0, entry) for entry in one.entries)
    right = ((entry.key[len(other.prefix) :], 1, entry) for entry in other.entries)
    merged = merge(left, right, key=lambda item: _bytes(item[0]))
    for key, found in groupby(merged, key=itemgetter(0)):
        sides = {side: entry for _, side, entry in found}
        yield key, sides.get(0), sides.get(1)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _compared(
    source: Tree, destination: Tree, key: str, one: Entry | None, other: Entry | None
) -> Operation:
    start = source.shown(one.key if one else _whole(source, key))
    end = destination.shown(other.key if other else _whole(destination, key))
    if one is None or other is None:
        side = "the source" if one is None else "the destination"
        return Operation(
            "verify", end, start, status="failed", error=StoreError(f"it is not in {side}")
        )
    status, reason, error = _verdict(source, one, destination, other)
    return Operation("verify", end, start, one.size, status, reason, error)


def _whole(tree: Tree, key: str) -> str:
    """Return the key that ``key``, relative to the tree, would have there."""
    return key if isinstance(tree, LocalTree) else tree.prefix + key


def _verdict(
    source: Tree, one: Entry, destination: Tree, other: Entry
) -> tuple[Status, str, IngestError | None]:
    if one.size != other.size:
        return "failed", "", StoreError(f"{one.size:,} bytes differ from {other.size:,}")
    if not one.size:  # a directory, perhaps, which cannot be read
        return "done", "", None
    try:
        same = is_same(source, one, destination, other)
    except OSError as error:
        return "failed", "", StoreError(f"it cannot be read: {error.strerror or error}")
    except IngestError as error:
        return "failed", "", error
    if same is None:
        return "skipped", "same size, but the store has no hash to compare", None
    return ("done", "", None) if same else ("failed", "", StoreError("the contents differ"))
