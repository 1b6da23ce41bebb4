"""A store -> files and directories."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.files.paths import PathPlan, Problem, probe
from ingest.operation import Operation
from ingest.planning.plan import Transfer as Send
from ingest.storage.base import GetItem, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.files.landing import Landing
    from ingest.operation import Verb
    from ingest.planning.plan import Copy
    from ingest.storage.base import Entry, Transfer
    from ingest.trees import LocalTree, NoTree, StoreTree

_KEPT = 50_000
"""Entries of a listing that are kept to be planned from: some 15 MB."""


class Downloading:
    """Moves what a plan says from a store to a directory."""

    verb: Verb = "download"

    def __init__(self, source: StoreTree, destination: LocalTree | NoTree, how: Transfer) -> None:
        """Make nothing yet, not even the directory."""
        self._source = source
        self._destination = destination
        self._how = how

    def send(self, sends: Iterator[Send]) -> Iterator[Outcome]:
        """Download each object to the path that its key is, with the object's time."""
        made: list[Outcome] = []
        with self._destination.landing(overwrite=self._how.overwrite) as landing:

            def items() -> Iterator[GetItem]:
                for send in sends:
                    if send.target.endswith("/") and not send.source.size:
                        made.append(_make_directory(landing, send.target))
                    else:
                        yield GetItem(send.source, send.target)

            yield from self._source.store.get_many(items(), landing, self._how)
        yield from made

    def copy(self, copies: Iterator[Copy]) -> Iterator[Outcome]:
        """Download them: a directory has no hashes that a plan could know origins by."""
        return self.send(Send(copy.source, copy.target, "new") for copy in copies)


class Foreseen:
    """A source's listing, of which it is known in time what the file system cannot hold.

    Entries are judged as they are taken. ``look_ahead`` judges all that are still to come: as many
    of them as memory has room for are kept, and what is beyond those is listed once more.
    """

    def __init__(
        self,
        source: StoreTree,
        destination: LocalTree,
        listed: Callable[[str], Iterator[Entry]],
        chosen: Callable[[str], bool],
        *,
        touch: bool,
    ) -> None:
        """Judge the keys that are ``chosen``, of those that are ``listed`` after a given one.

        Without ``touch`` nothing is written to find out.
        """
        self._source = source
        self._root = destination.root
        self._chosen = chosen
        self._paths = PathPlan(probe(self._root, touch=touch), source.prefix)
        self._listed = listed
        self._listing = listed("")
        self._kept: list[Entry] = []
        self._has_more = False
        self._told: deque[Operation] = deque()
        self.refused: set[str] = set()
        """Keys, relative to the prefix, that the file system cannot hold."""

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries, whether they have a place or not."""
        for entry in self._listing:
            self._judge(entry)
            yield entry
        yield from self._kept
        if self._has_more:
            yield from self._listed(self._kept[-1].key)

    def look_ahead(self) -> Iterator[Operation]:
        """Read on to the end, and return what is refused and has not been told yet."""
        for entry in self._listing:
            self._judge(entry)
            if len(self._kept) < _KEPT:
                self._kept.append(entry)
            else:
                self._has_more = True
        while self._told:
            yield self._told.popleft()

    def _judge(self, entry: Entry) -> None:
        key = entry.key.removeprefix(self._source.prefix)
        if not self._chosen(key):
            return
        place = self._paths.place(entry.key, entry.size)
        if isinstance(place, Problem):
            self.refused.add(key)
            target, shown = str(self._root), self._source.shown(entry.key)
            self._told.append(
                Operation("download", target, shown, entry.size, "failed", error=place.error)
            )


def _make_directory(landing: Landing, path: str) -> Outcome:
    try:
        landing.make_directory(path.removesuffix("/"))
    except IngestError as error:
        return Outcome(path, 0, error)
    return Outcome(path, 0)
