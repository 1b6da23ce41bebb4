"""What a store is: the operations that every kind of store has, written once against by the rest.

The bulk operation is the primitive: a single put is a bulk of one. Keys are exact: what goes in
comes out, whatever characters it has.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from ingest.errors import IngestError
    from ingest.files.landing import Landing


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing: ``size`` in bytes, ``modified`` in seconds of Unix time.

    ``etag`` has no quotes; it is None where the store has none.
    """

    key: str
    size: int
    modified: float
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Head(Entry):
    """One object with what a listing does not tell.

    ``checksums`` are those that the store keeps of the pieces that it has cut the content into, by
    their offsets in bytes; ``checksum_type`` is what it calls their kind.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str = "NONE"
    checksums: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prefix:
    """All objects below ``key``, which ends in ``/``, as one item of a listing."""

    key: str


@dataclass(frozen=True, slots=True)
class PutItem:
    """One object to be written: ``source`` is its content, or the file that holds it.

    ``stat`` is how the file was when it was chosen: one that is another by now is an error.
    """

    key: str
    source: bytes | Path
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    stat: os.stat_result | None = None


@dataclass(frozen=True, slots=True)
class GetItem:
    """One object to be fetched, as it was listed, and the path it gets below the target."""

    entry: Entry
    path: str


@dataclass(frozen=True, slots=True)
class CopyItem:
    """An object ``origin``, of the bucket ``bucket`` (by default this one), to be copied.

    It keeps its content type and metadata, but for what is given here.
    """

    origin: Entry
    key: str
    bucket: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: ``error`` is None where it was done. ``size`` is in bytes.

    ``key`` is what was to be made: an object's key or, of an item that was fetched, its path.
    ``existed`` says that the destination was there, and was not to be overwritten.
    """

    key: str
    size: int
    error: IngestError | None = None
    existed: bool = False


def _ignore(_: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Transfer:
    """How a bulk is carried out.

    ``moved`` is called, from any thread, with the bytes of each step. ``pace`` is called before
    bytes are sent or asked for, with their number, and waits as long as a limit demands. Where
    ``cancelled`` is set, nothing new is begun. What is there of a large file is kept after a
    failure, to go on from, where ``keep_partial``; on this machine's disk, after a transfer was
    cancelled, only where ``keep_cancelled``. One that is ``given_up`` as well ended with a failure.
    Where ``preserve``, the times, permissions and owner of a file are kept in the metadata of its
    object, and given back to the file it is fetched to.
    """

    threads: int = 16
    overwrite: bool = True
    keep_partial: bool = True
    keep_cancelled: bool = False
    preserve: bool = False
    moved: Callable[[int], None] = _ignore
    pace: Callable[[int], None] = _ignore
    cancelled: threading.Event = field(default_factory=threading.Event)
    given_up: threading.Event = field(default_factory=threading.Event)

    @property
    def keeps_cancelled(self) -> bool:
        """Whether what is there of a large file on this machine's disk stays, once cancelled."""
        return self.keep_partial if self.given_up.is_set() else self.keep_cancelled


PLAIN = Transfer()


class Lake(Protocol):
    """What the raw zone needs of where it lands.

    Errors are ``NotFound``, ``CredentialsRefused`` and ``StoreError``: in the outcome of the
    item they concern, or raised where they concern the whole.
    """

    @property
    def url(self) -> str:
        """What it is called in messages, such as ``s3://bucket`` or ``lake``."""

    def read(self, key: str) -> bytes:
        """Return an object's content. Raises ``NotFound``."""

    def names(self, directory: str) -> set[str]:
        """Return the keys directly in ``directory`` (which ends in ``/``); it may not exist.

        For a directory of our own making, which holds a handful of objects.
        """

    def put_many(self, items: Iterable[PutItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Write each item whole or not at all; yield one outcome an item, as they finish.

        An existing object is replaced at once: a reader sees the old one or the new one. Content
        type and metadata are kept where the store has them. Memory is bounded, however many
        items there are and however large they are.
        """

    def delete_many(self, keys: Iterable[str], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Delete objects; one that does not exist counts as deleted."""


class Store(Lake, Protocol):
    """A bucket, or what behaves like one: all that a transfer of any tree needs."""

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys begin with ``prefix``, in UTF-8 byte order of the keys.

        Of these, those that come after the key ``after``. None is held in memory; none is left
        out without an error.
        """

    def list_directory(self, prefix: str = "") -> Iterator[Entry | Prefix]:
        """Yield what is directly below ``prefix``, which is empty or ends in ``/``."""

    def head(self, key: str) -> Head:
        """Return what is known of an object. Raises ``NotFound``."""

    def has_content(self, entry: Entry, path: Path) -> bool | None:
        """Whether an object has the content of the file, by what this kind of store alone tells.

        None where it tells nothing. Raises ``OSError`` where the file cannot be read.
        """

    def stream(
        self, key: str, offset: int = 0, length: int | None = None, version_id: str | None = None
    ) -> Iterator[bytes]:
        """Yield an object's content from ``offset`` on, at most ``length`` bytes, in pieces.

        Of a version, where it is named. Raises ``NotFound``.
        """

    def get_many(
        self, items: Iterable[GetItem], landing: Landing, how: Transfer = PLAIN
    ) -> Iterator[Outcome]:
        """Fetch each item into ``landing``, whole or not at all, with the object's time."""

    @property
    def copies_itself(self) -> bool:
        """Whether ``copy_many`` moves no content through this machine."""

    def copies_from(self, other: object) -> str | None:
        """Return what ``CopyItem.bucket`` is for objects of the store ``other``.

        None where it is of another service, from which nothing can be copied directly.
        """

    def copy_many(self, items: Iterable[CopyItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Copy objects within the service."""

    def delete_below(self, directory: str) -> bool | None:
        """Delete all there is below ``directory``, which ends in ``/``, by one request.

        Returns whether there was anything. None where the store has no such request, or it would
        do more than that; then nothing is deleted.
        """
