"""A store -> a store: within one service by the service itself, else through this machine."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.files.landing import Landing
from ingest.storage.base import PLAIN, CopyItem, Entry, GetItem, Outcome, PutItem
from ingest.storage.bulk import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.operation import Verb
    from ingest.planning.plan import Copy
    from ingest.planning.plan import Transfer as Send
    from ingest.storage.base import Transfer
    from ingest.trees import StoreTree
    from ingest.uploader import Content

_BATCH = 256
"""Objects that are on this machine's disk at one time, on their way between two services."""
_BATCH_BYTES = 2 * 1024**3
"""And their bytes, but for one that is larger."""


class Copying:
    """Moves what a plan says from one store to another."""

    verb: Verb = "copy"

    def __init__(
        self, source: StoreTree, destination: StoreTree, content: Content, how: Transfer
    ) -> None:
        """Find out whether both are of one service, which then copies by itself.

        A copy keeps its origin's type and metadata, but for those of ``content``.
        """
        self._content = content
        self._source = source
        self._destination = destination
        self._how = how
        self._bucket = destination.store.copies_from(source.store)

    def send(self, sends: Iterator[Send]) -> Iterator[Outcome]:
        """Copy each object with its type and metadata."""
        if self._bucket is None:
            return self._through_here(sends)
        kind, metadata = self._content.content_type, self._content.metadata
        items = (CopyItem(send.source, send.target, self._bucket, kind, metadata) for send in sends)
        return self._destination.store.copy_many(items, self._how)

    def copy(self, copies: Iterator[Copy]) -> Iterator[Outcome]:
        """Copy what the destination already has under another key."""
        items = (
            CopyItem(Entry(copy.origin, copy.source.size, 0.0, copy.etag), copy.target)
            for copy in copies
        )
        return self._destination.store.copy_many(items, self._how)

    def _through_here(self, sends: Iterator[Send]) -> Iterator[Outcome]:
        """Download and upload by the batch, so that both sides are checked as ever."""
        for batch in _batches(sends):
            with tempfile.TemporaryDirectory(prefix="ingest-") as directory:
                yield from self._batch(batch, Path(directory))

    def _batch(self, sends: dict[str, Send], directory: Path) -> Iterator[Outcome]:
        store = self._source.store
        gets = [GetItem(send.source, name) for name, send in sends.items()]
        with Landing(directory) as landing:
            for outcome in store.get_many(gets, landing, replace(self._how, moved=PLAIN.moved)):
                if outcome.error:
                    yield Outcome(sends.pop(outcome.key).target, 0, outcome.error)
        named = in_threads(
            lambda each: self._put_item(each[1], directory / each[0]),
            sends.items(),
            self._how.threads,
        )
        failed: list[Outcome] = []

        def puts() -> Iterator[PutItem]:
            for item in named:
                if isinstance(item, Outcome):
                    failed.append(item)
                else:
                    yield item

        yield from self._destination.store.put_many(puts(), self._how)
        yield from failed

    def _put_item(self, send: Send, path: Path) -> PutItem | Outcome:
        try:
            head = self._source.store.head(send.source.key)
        except IngestError as error:
            return Outcome(send.target, 0, error)
        kind = self._content.content_type or head.content_type or "application/octet-stream"
        return PutItem(send.target, path, kind, {**head.metadata, **self._content.metadata})


def _batches(sends: Iterator[Send]) -> Iterator[dict[str, Send]]:
    """Cut into batches of a bounded number of objects and bytes, each by the name of its file."""
    batch: dict[str, Send] = {}
    size = 0
    for send in sends:
        if batch and (len(batch) == _BATCH or size + send.source.size > _BATCH_BYTES):
            yield batch
            batch, size = {}, 0
        batch[str(len(batch))] = send
        size += send.source.size
    if batch:
        yield batch
