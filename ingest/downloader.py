"""A store -> files and directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.files.landing import Landing
from ingest.files.paths import PathPlan, Problem, probe
from ingest.operation import Operation
from ingest.planning.plan import Transfer as Send
from ingest.storage.base import GetItem, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.operation import Verb
    from ingest.planning.plan import Copy
    from ingest.storage.base import Transfer
    from ingest.trees import LocalTree, StoreTree


class Downloading:
    """Moves what a plan says from a store to a directory."""

    verb: Verb = "download"

    def __init__(self, source: StoreTree, destination: LocalTree, how: Transfer) -> None:
        """Make nothing yet, not even the directory."""
        self._source = source
        self._destination = destination
        self._how = how

    def send(self, sends: Iterator[Send]) -> Iterator[Outcome]:
        """Download each object to the path that its key is, with the object's time."""
        made: list[Outcome] = []
        with Landing(self._destination.root, overwrite=self._how.overwrite) as landing:

            def items() -> Iterator[GetItem]:
                for send in sends:
                    if send.target.endswith("/"):
                        made.append(_make_directory(landing, send.target))
                    else:
                        yield GetItem(send.source, send.target)

            yield from self._source.store.get_many(items(), landing, self._how)
        yield from made

    def copy(self, copies: Iterator[Copy]) -> Iterator[Outcome]:
        """Download them: a directory has no hashes that a plan could know origins by."""
        return self.send(Send(copy.source, copy.target, "new") for copy in copies)


def without_place(
    source: StoreTree, destination: LocalTree, chosen: Callable[[str], bool], *, touch: bool
) -> Iterator[tuple[str, Operation]]:
    """Yield the keys, relative to the prefix, that the file system cannot hold, and what to tell.

    Reads the whole listing. Without ``touch`` nothing is written to find out.
    """
    root = destination.root
    paths = PathPlan(probe(root, touch=touch), source.prefix)
    for entry in source.store.list(source.prefix):
        key = entry.key.removeprefix(source.prefix)
        if not chosen(key):
            continue
        place = paths.place(entry.key, entry.size)
        if isinstance(place, Problem):
            shown = source.shown(entry.key)
            yield (
                key,
                Operation(
                    "download", str(root), shown, entry.size, status="failed", error=place.error
                ),
            )


def _make_directory(landing: Landing, path: str) -> Outcome:
    try:
        landing.make_directory(path.removesuffix("/"))
    except IngestError as error:
        return Outcome(path, 0, error)
    return Outcome(path, 0)
