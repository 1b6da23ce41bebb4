"""What a sync will do, from two ordered listings, before anything is touched. Pure: no I/O.

``plan`` merges the listings of source and destination and yields what to do, in this order:

1. ``Transfer``, ``Skip`` and ``Unchanged``, as the listings are read;
2. ``Copy``, whose origins are all in the destination once the transfers are done;
3. at most one ``Deletes``, for which ``refuse_deletes`` decides whether it may go ahead.

Keys are compared relative to each side's prefix. Their order is that of UTF-8 bytes, which is the
order of Python's strings. A listing that breaks it, or that names a key outside its prefix, ends
the plan with a ``StoreError`` before it has come to copies and deletes.

**Memory** does not grow with unchanged pairs. What is held: the keys that only the destination
has, where they are to be deleted or may be origins of copies; the copies; at most 100,000 new
keys that wait for an origin; of what is unchanged or new, the last 10,000 to 20,000 as origins.

**Directories.** A key that ends in ``/`` and has no content marks a directory. Between two stores
it is a key as any other. Where one side is a tree of files, it only means that the directory is
there, and is unchanged where the other side has the directory in any form; the times of two are
not compared; a tree's own are never deleted; and a tree gets new ones only with ``empty_dirs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.planning.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.planning.compare import Compare, Reason
    from ingest.planning.origins import Origin
    from ingest.storage.base import Entry

_BATCH = 1_000
_WAITING = 100_000
_END = (None, None)


@dataclass(frozen=True, slots=True)
class Side:
    """A listing in order, the prefix its keys share, and how their content is told.

    ``is_tree`` says that it is of a file system, where directories exist by themselves.
    ``hash_of`` returns a hash that is equal on both sides only where the content is (an MD5, a
    SHA-256), or None where it does not know. It is asked only for sizes that occur twice and
    are not 0. Without it on either side nothing is copied.
    """

    entries: Iterable[Entry]
    prefix: str = ""
    is_tree: bool = False
    hash_of: Callable[[Entry], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How to sync. ``included`` takes relative keys; what it refuses is neither sent nor deleted.

    Without ``overwrite`` what the destination has stays, and is a ``Skip`` where it differs.
    """

    compare: Compare
    delete: bool = False
    overwrite: bool = True
    empty_dirs: bool = False
    included: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Send ``source`` to the destination's key ``target``; a file gets the time of ``source``."""

    source: Entry
    target: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy the destination's key ``origin``, which has the content of ``source``, to ``target``.

    ``etag`` is the origin's as it was listed, to copy nothing else; None where it has none, or
    where the origin is a key of this plan's own transfers: should that one fail, ``source`` can
    still be sent. A copy counts as a transfer of ``source``: a file gets its time.
    """

    source: Entry
    target: str
    origin: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave ``target`` as it is, though ``source`` differs: nothing may be overwritten."""

    source: Entry
    target: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """So many objects, of ``size`` bytes together, need nothing."""

    objects: int
    size: int


@dataclass(frozen=True, slots=True)
class Deletes:
    """Delete all of ``entries``, or none: see ``refuse_deletes``.

    ``source_is_empty`` says that the source has no included key. Directories do not count: a
    tree of nothing but directories may be a disk that is not mounted.
    """

    entries: tuple[Entry, ...]
    source_is_empty: bool


Action = Transfer | Copy | Skip | Unchanged | Deletes


def directory_prefix(prefix: str) -> str:
    """Return ``prefix`` with the ``/`` that makes it a directory; the empty one is the bucket.

    So ``data`` never matches ``database/``. Nothing else changes: keys are exact.
    """
    return prefix + "/" if prefix and not prefix.endswith("/") else prefix


def plan(source: Side, destination: Side, rules: Rules) -> Iterator[Action]:
    """Yield what makes ``destination`` equal to ``source``; see the module for the order.

    Whatever reading a side raises ends the plan, and so before any ``Deletes``.
    """
    return _Plan(source, destination, rules).actions()


def refuse_deletes(
    deletes: Deletes, *, failures: int, max_delete: int | None, destination: str
) -> StoreError | None:
    """Return why nothing of ``deletes`` may be deleted from ``destination``, or None if it may.

    ``failures`` counts everything that was to be done before and was not: transfers, copies, and
    what a scan of the source could not read.
    """
    count = len(deletes.entries)
    what = f"nothing was deleted from {destination}: {count:,} objects are not in the source"
    if failures:
        return StoreError(f"{what}, but {failures:,} of the steps before failed")
    if deletes.source_is_empty:
        return StoreError(
            f"{what}, which has no object at all",
            hint="check the source; to empty the destination, use rm --recursive",
        )
    if max_delete is not None and count > max_delete:
        return StoreError(f"{what}, more than the {max_delete:,} that --max-delete allows")
    return None


class _Plan:
    """The state of a plan: what it holds back, and the run of unchanged pairs it is in."""

    def __init__(self, source: Side, destination: Side, rules: Rules) -> None:
        self._source = source
        self._destination = destination
        self._rules = rules
        self._target = directory_prefix(destination.prefix)
        self._origins = _origins(source, destination)
        self._waiting: list[tuple[str, Entry]] = []
        self._suspects: list[tuple[str, Entry, Entry, Reason]] = []
        self._copies: list[Copy] = []
        self._extra: list[Entry] = []
        self._source_is_empty = True
        self._unchanged = 0
        self._unchanged_size = 0

    def actions(self) -> Iterator[Action]:
        """Yield the whole plan."""
        yield from self._read()
        yield from self._settle()
        yield from self._send_waiting()
        if self._unchanged:
            yield self._run()
        yield from self._copies
        if self._extra:
            yield Deletes(tuple(self._extra), self._source_is_empty)

    def _read(self) -> Iterator[Action]:
        verdict, included = self._rules.compare.verdict, self._rules.included
        merged = _merge(self._source, self._destination)
        if included:
            merged = (item for item in merged if included(item[0]))
        for name, source, destination, ahead in merged:
            if self._source_is_empty and source and not name.endswith("/"):
                self._source_is_empty = False
            if source and destination:
                if reason := verdict(source, destination):
                    yield from self._differs(name, source, destination, reason)
                else:
                    self._same(source, destination)
            elif source:
                yield from self._only_in_source(name, source, ahead)
            elif destination:
                self._only_in_destination(name, destination, ahead)
            if self._unchanged >= _BATCH:
                yield self._run()

    def _only_in_source(self, name: str, source: Entry, ahead: str | None) -> Iterator[Action]:
        if self._destination.is_tree and _is_directory(name, source):
            exists = ahead is not None and ahead.startswith(name)
            if exists or not self._rules.empty_dirs:
                return
        if self._origins and source.size:
            # An origin may still come, as long as the destination has more keys.
            self._waiting.append((name, source))
            if ahead is None or len(self._waiting) >= _WAITING:
                yield from self._send_waiting()
        else:
            yield Transfer(source, self._target + name, "new")

    def _only_in_destination(self, name: str, entry: Entry, ahead: str | None) -> None:
        if _is_directory(name, entry):
            in_source = ahead is not None and ahead.startswith(name)
            if self._destination.is_tree or (self._source.is_tree and in_source):
                return
        if self._rules.delete:
            self._extra.append(entry)
        if self._origins:
            self._origins.extra.add(entry)

    def _same(self, source: Entry, destination: Entry) -> None:
        self._unchanged += 1
        self._unchanged_size += source.size
        if self._origins:
            self._origins.unchanged.add(destination)

    def _differs(
        self, name: str, source: Entry, destination: Entry, reason: Reason
    ) -> Iterator[Action]:
        in_tree = self._source.is_tree or self._destination.is_tree
        if in_tree and _is_directory(name, source) and _is_directory(name, destination):
            self._same(source, destination)
        elif not self._rules.overwrite:
            yield Skip(source, self._target + name)
        elif reason == "size" or not self._rules.compare.same_content:
            yield self._transfer(name, source, reason)
        else:
            self._suspects.append((name, source, destination, reason))
            if len(self._suspects) >= _BATCH:
                yield from self._settle()

    def _settle(self) -> Iterator[Action]:
        """Ask which of the pairs that look different are the same."""
        suspects, self._suspects = self._suspects, []
        if not suspects or not self._rules.compare.same_content:
            return
        answers = self._rules.compare.same_content(
            [(ours, theirs) for _, ours, theirs, _ in suspects]
        )
        for (name, source, destination, reason), same in zip(suspects, answers, strict=True):
            if same:
                self._same(source, destination)
            else:
                yield self._transfer(name, source, reason)

    def _send_waiting(self) -> Iterator[Action]:
        """Decide what the new keys are: copies where an origin is known by now, else transfers."""
        waiting, self._waiting = self._waiting, []
        for name, source in waiting:
            if self._origins and (origin := self._origins.find(source)):
                self._copies.append(self._copy(name, source, origin))
            else:
                yield self._transfer(name, source, "new")

    def _copy(self, name: str, source: Entry, origin: Origin) -> Copy:
        if not origin.is_sent:
            return Copy(source, self._target + name, origin.entry.key, origin.entry.etag)
        sent_as = origin.entry.key[len(directory_prefix(self._source.prefix)) :]
        return Copy(source, self._target + name, self._target + sent_as, None)

    def _transfer(self, name: str, source: Entry, reason: Reason) -> Transfer:
        target = self._target + name
        if self._origins:
            self._origins.sent.add(source)
        return Transfer(source, target, reason)

    def _run(self) -> Unchanged:
        run = Unchanged(self._unchanged, self._unchanged_size)
        self._unchanged = self._unchanged_size = 0
        return run


def _origins(source: Side, destination: Side) -> Origins | None:
    if source.hash_of and destination.hash_of:
        return Origins(source.hash_of, destination.hash_of)
    return None


def _is_directory(name: str, entry: Entry) -> bool:
    return name.endswith("/") and not entry.size


def _merge(
    source: Side, destination: Side
) -> Iterator[tuple[str, Entry | None, Entry | None, str | None]]:
    """Yield each relative key with its entries, and with the next key of the side that lacks it."""
    ours, theirs = _relative(source), _relative(destination)
    ours_name, ours_entry = next(ours, _END)
    theirs_name, theirs_entry = next(theirs, _END)
    while ours_name is not None and theirs_name is not None:
        if ours_name == theirs_name:
            yield ours_name, ours_entry, theirs_entry, None
            ours_name, ours_entry = next(ours, _END)
            theirs_name, theirs_entry = next(theirs, _END)
        elif ours_name < theirs_name:
            yield ours_name, ours_entry, None, theirs_name
            ours_name, ours_entry = next(ours, _END)
        else:
            yield theirs_name, None, theirs_entry, ours_name
            theirs_name, theirs_entry = next(theirs, _END)
    while ours_name is not None:
        yield ours_name, ours_entry, None, None
        ours_name, ours_entry = next(ours, _END)
    while theirs_name is not None:
        yield theirs_name, None, theirs_entry, None
        theirs_name, theirs_entry = next(theirs, _END)


def _relative(side: Side) -> Iterator[tuple[str, Entry]]:
    """Yield entries with their keys below the prefix; the prefix's own directory is left out."""
    prefix = directory_prefix(side.prefix)
    start = len(prefix)
    last = ""
    for entry in side.entries:
        key = entry.key
        name = key[start:]
        if name <= last or not key.startswith(prefix):
            if key == prefix and not last:
                continue
            raise StoreError(
                f"cannot sync: a listing of the prefix {prefix!r} has the key {key!r}, "
                f"which is outside it or not in order"
            )
        last = name
        yield name, entry
