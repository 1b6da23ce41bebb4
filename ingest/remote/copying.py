"""Part of a transfer between two buckets: what is there already stays, what is copied is checked.

A part is a run of the source's listing, of some hundred objects. It can be done again at any time:
what has arrived is found in the destination's listing, and is not copied twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING

from ingest.copier import Copying
from ingest.errors import CredentialsRefused, DeadlineExceeded, Incomplete, NotFound
from ingest.planning.compare import Compare, compare_by
from ingest.planning.plan import Rules, Side, plan
from ingest.planning.plan import Transfer as Send
from ingest.storage.base import PLAIN
from ingest.storage.etags import is_md5
from ingest.uploader import Content

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.errors import IngestError
    from ingest.pacing import Deadline
    from ingest.planning.compare import Reason
    from ingest.storage.base import Entry, Transfer
    from ingest.trees import StoreTree

logger = logging.getLogger(__name__)

_COMPARED_AT_ONCE = 10_000
_NAMED = 10
"""Failures that an error names; the log has all of them."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a part: objects ``copied`` now, and ``skipped`` that were there already.

    ``bytes`` are those that were copied.
    """

    copied: int
    skipped: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison has come to: objects of the source, and how many the target lacks.

    ``missing`` are those that are not there, ``different`` those that are there with another size,
    or older than in the source; ``examples`` has the first keys of both. ``after`` is the last key
    that was looked at, None where all were.
    """

    objects: int = 0
    bytes: int = 0
    missing: int = 0
    different: int = 0
    examples: tuple[str, ...] = ()
    after: str | None = None


def copy_batch(
    source: StoreTree,
    target: StoreTree,
    entries: Sequence[Entry],
    deadline: Deadline,
    how: Transfer = PLAIN,
) -> Copied:
    """Copy ``entries`` of ``source``, in any order, below the prefix of ``target``.

    Each is copied with its type and metadata: by the service itself where both are of one, else
    through this machine's disk. Left as it is what has the same ETag in both or, where that tells
    nothing, the same size and no older time. What was copied is looked up in the target's listing.

    Raises ``Incomplete``, which names what could not be copied, once everything else has been,
    ``CredentialsRefused`` where that is why nothing could be, and ``DeadlineExceeded`` where the
    time is up: nothing new is begun then. What raising the target's listing raises is raised, too.
    """
    entries = sorted(entries, key=lambda entry: entry.key)
    wanted = _lacking(source, target, entries, Compare(_by_etag))
    begun: dict[str, Send] = {}

    def in_time() -> Iterator[Send]:
        for send in wanted:
            if deadline.remaining_s() <= 0:
                return
            begun[send.target] = send
            yield send

    failures: dict[str, IngestError] = {}
    for outcome in Copying(source, target, Content(), how).send(in_time()):
        if outcome.error:
            failures[outcome.key] = outcome.error
    arrived = [send.source for key, send in begun.items() if key not in failures]
    for send in _lacking(source, target, arrived, compare_by("size-mtime")):
        failures[send.target] = Incomplete(f"it was copied, and is not there ({send.reason})")
    _raise_for(failures, target, len(entries))
    if len(begun) < len(wanted):
        raise DeadlineExceeded(
            f"{len(begun):,} of {len(wanted):,} objects have been copied to "
            f"{target.shown(target.prefix)} in the time there was",
            hint="the same again copies the rest",
        )
    size = sum(send.source.size for send in wanted)
    return Copied(len(wanted), len(entries) - len(wanted), size)


def compare(source: StoreTree, target: StoreTree, so_far: Compared, deadline: Deadline) -> Compared:
    """Go on from ``so_far`` with looking for each object of ``source`` in ``target``.

    It is there with the same size, and no older than in the source: whether it has the same content
    was found out when it was copied. Returns early where the time is up, with ``after`` set, though
    never without having gone on. What ``target`` has beside that is not looked at.
    """
    listing = source.store.list(source.prefix, so_far.after or "")
    while entries := list(islice(listing, _COMPARED_AT_ONCE)):
        lacking = _lacking(source, target, entries, compare_by("size-mtime"))
        missing = sum(send.reason == "new" for send in lacking)
        named = so_far.examples + tuple(send.source.key for send in lacking)
        so_far = Compared(
            so_far.objects + len(entries),
            so_far.bytes + sum(entry.size for entry in entries),
            so_far.missing + missing,
            so_far.different + len(lacking) - missing,
            named[:_NAMED],
            entries[-1].key if len(entries) == _COMPARED_AT_ONCE else None,
        )
        if so_far.after is None or deadline.remaining_s() <= 0:
            return so_far
    return Compared(so_far.objects, so_far.bytes, so_far.missing, so_far.different, so_far.examples)


def raise_where_incomplete(found: Compared, source: StoreTree, target: StoreTree) -> None:
    """Raise ``Incomplete`` where ``target`` lacks what ``source`` has."""
    lacking = found.missing + found.different
    if lacking:
        raise Incomplete(
            f"{lacking:,} of {found.objects:,} objects are not in {target.shown(target.prefix)} "
            f"as they are in {source.shown(source.prefix)}: {found.missing:,} missing, "
            f"{found.different:,} different, such as {', '.join(found.examples)}",
            hint="the same transfer again copies what is missing",
        )


def _lacking(
    source: StoreTree, target: StoreTree, entries: Sequence[Entry], how: Compare
) -> list[Send]:
    """Return what of ``entries``, in order, ``target`` has not, or has otherwise."""
    start = len(source.prefix)
    names = [entry.key[start:] for entry in entries if entry.key != source.prefix]
    if not names:
        return []
    there = _between(target, target.prefix + names[0], target.prefix + names[-1])
    actions = plan(Side(entries, source.prefix), Side(there, target.prefix), Rules(how))
    return [action for action in actions if isinstance(action, Send)]


def _between(tree: StoreTree, first: str, last: str) -> Iterator[Entry]:
    """Yield the objects from the key ``first`` to the key ``last``, both included.

    A listing begins after a key, so that the first one is asked for by itself.
    """
    try:
        head: list[Entry] = [tree.store.head(first)]
    except NotFound:
        head = []
    rest = tree.store.list(tree.prefix, first) if first != last else iter(())
    return chain(head, takewhile(lambda entry: entry.key <= last, rest))


def _by_etag(source: Entry, target: Entry) -> Reason | None:
    """Return why ``source`` is to be copied; None where ``target`` is the same as far as is told.

    ETags that are hashes decide; encrypted with a key of KMS they are none, and each differs, so
    that such an object is copied anew. One in parts may have got other parts in the target.
    """
    if source.size != target.size:
        return "size"
    if source.etag and source.etag == target.etag:
        return None
    if source.etag and target.etag and is_md5(source.etag) and is_md5(target.etag):
        return "checksum"
    return None if source.modified <= target.modified else "newer"


def _raise_for(failures: dict[str, IngestError], target: StoreTree, count: int) -> None:
    """Log each failure, and raise one error for all of them."""
    if not failures:
        return
    for key, error in failures.items():
        logger.error("%s: %s", target.shown(key), error, extra={"error": type(error).__name__})
    refusals = [each for each in failures.values() if isinstance(each, CredentialsRefused)]
    if len(refusals) == len(failures):
        raise refusals[0]
    named = [f"{key}: {error}" for key, error in islice(failures.items(), _NAMED)]
    more = f"; and {len(failures) - _NAMED:,} more" if len(failures) > _NAMED else ""
    raise Incomplete(
        f"{len(failures):,} of {count:,} objects have not been copied to "
        f"{target.shown(target.prefix)}: {'; '.join(named)}{more}"
    )
