"""Bytes, files and directories -> a store, with content types and the SHA-256 of the content."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.files.scan import LocalEntry
from ingest.storage.base import CopyItem, Entry, PutItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ingest.operation import Verb
    from ingest.planning.plan import Copy
    from ingest.planning.plan import Transfer as Send
    from ingest.storage.base import Lake, Outcome, Transfer
    from ingest.trees import LocalTree, StoreTree

_DEFAULT_TYPE = "application/octet-stream"
_DIRECTORY_TYPE = "application/x-directory"


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes, or the path of a file, and their key. The type is guessed where it is not given."""

    key: str
    source: bytes | Path
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What each object of a directory is written with. The type is guessed where it is None."""

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def type_of(self, key: str) -> str:
        """Return the content type of the object ``key``."""
        if self.content_type:
            return self.content_type
        name = key.rpartition("/")[2]
        dot = name.find(".", 1)
        return _type_of_ending(name[dot:]) if dot > 0 else _DEFAULT_TYPE


@functools.lru_cache(maxsize=1_000)
def _type_of_ending(ending: str) -> str:
    return mimetypes.guess_type(f"name{ending}")[0] or _DEFAULT_TYPE


def upload(store: Lake, uploads: Iterable[Upload]) -> int:
    """Write all of ``uploads`` and return their bytes; metadata ``sha256`` is of the content.

    Raises the first error there was, once those already under way have ended: what is written by
    then stays.
    """
    items = (
        PutItem(
            item.key, item.source, item.content_type or Content().type_of(item.key), _hash(item)
        )
        for item in uploads
    )
    outcomes = list(store.put_many(items))
    for failure in [outcome.error for outcome in outcomes if outcome.error]:
        raise failure
    return sum(outcome.size for outcome in outcomes)


def delete(store: Lake, keys: Iterable[str]) -> None:
    """Delete all of ``keys``; raises the first error there was."""
    for failure in [outcome.error for outcome in store.delete_many(keys) if outcome.error]:
        raise failure


def _hash(item: Upload) -> dict[str, str]:
    if isinstance(item.source, Path):
        with item.source.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return {"sha256": hashlib.sha256(item.source).hexdigest()}


class Uploading:
    """Moves what a plan says from a directory to a store."""

    verb: Verb = "upload"

    def __init__(
        self, source: LocalTree, destination: StoreTree, content: Content, how: Transfer
    ) -> None:
        """Write each object as ``content`` says."""
        self._source = source
        self._destination = destination
        self._content = content
        self._how = how

    def send(self, sends: Iterator[Send]) -> Iterator[Outcome]:
        """Upload each file; a directory becomes an empty object whose key ends in ``/``."""
        return self._destination.store.put_many(map(self._item, sends), self._how)

    def copy(self, copies: Iterator[Copy]) -> Iterator[Outcome]:
        """Copy what the store already has under another key."""
        items = (
            CopyItem(Entry(copy.origin, copy.source.size, 0.0, copy.etag), copy.target)
            for copy in copies
        )
        return self._destination.store.copy_many(items, self._how)

    def _item(self, send: Send) -> PutItem:
        entry = send.source
        if entry.key.endswith("/"):
            return PutItem(send.target, b"", _DIRECTORY_TYPE, self._content.metadata)
        return PutItem(
            send.target,
            self._source.path(entry.key),
            self._content.type_of(send.target),
            self._content.metadata,
            entry.stat if isinstance(entry, LocalEntry) else None,
        )
