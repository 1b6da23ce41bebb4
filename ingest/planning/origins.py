"""Where in the destination a new key's content already is, so that it need not be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.storage.base import Entry

    HashOf = Callable[[Entry], str | None]

_RECENT = 10_000


@dataclass(frozen=True, slots=True)
class Origin:
    """An entry to copy from: the destination's, or where ``is_sent`` one of the source's."""

    entry: Entry
    is_sent: bool


class Index:
    """Entries by size; by hash once their size is looked for, and only those are ever hashed."""

    def __init__(self, hash_of: HashOf) -> None:
        """``hash_of`` returns None where it does not know, and is asked once an entry."""
        self._hash_of = hash_of
        self._by_size: dict[int, list[Entry]] = {}
        self._by_hash: dict[tuple[int, str], Entry] = {}

    def add(self, entry: Entry) -> None:
        """Make ``entry`` known."""
        self._by_size.setdefault(entry.size, []).append(entry)

    def has_size(self, size: int) -> bool:
        """Whether an entry of this size is known."""
        return size in self._by_size

    def find(self, size: int, digest: str) -> Entry | None:
        """Return the first entry of this size and hash."""
        unhashed = self._by_size.get(size, [])
        for entry in unhashed:
            if known := self._hash_of(entry):
                self._by_hash.setdefault((size, known), entry)
        unhashed.clear()
        return self._by_hash.get((size, digest))


class Recent:
    """An index that forgets: it holds the last 10,000 entries at least, and 20,000 at most."""

    def __init__(self, hash_of: HashOf) -> None:
        """``hash_of`` is as for ``Index``."""
        self._hash_of = hash_of
        self._young = self._old = Index(hash_of)
        self._count = 0

    def add(self, entry: Entry) -> None:
        """Make ``entry`` known."""
        if self._count == _RECENT:
            self._old, self._young, self._count = self._young, Index(self._hash_of), 0
        self._count += 1
        self._young.add(entry)

    @property
    def indexes(self) -> tuple[Index, Index]:
        """What it knows."""
        return self._young, self._old


class Origins:
    """What a new key may be copied from.

    ``extra`` are entries that only the destination has, and a copy of one is a rename where they
    are deleted later; ``unchanged`` are entries of the destination that stay; ``sent`` are those
    of the source whose transfers come before the copies. An entry that is overwritten is none.
    """

    def __init__(self, source_hash: HashOf, destination_hash: HashOf) -> None:
        """Both return equal hashes only for equal content."""
        self._source_hash = source_hash
        self.extra = Index(destination_hash)
        self.unchanged = Recent(destination_hash)
        self.sent = Recent(source_hash)

    def find(self, source: Entry) -> Origin | None:
        """Return an origin of the size and hash of ``source``, which is hashed only if need be."""
        candidates = [found for found in self._indexes() if found[0].has_size(source.size)]
        digest = self._source_hash(source) if candidates else None
        if digest:
            for index, is_sent in candidates:
                if entry := index.find(source.size, digest):
                    return Origin(entry, is_sent)
        return None

    def _indexes(self) -> Iterator[tuple[Index, bool]]:
        yield self.extra, False
        for index in self.unchanged.indexes:
            yield index, False
        for index in self.sent.indexes:
            yield index, True
