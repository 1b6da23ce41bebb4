"""What a store is: the operations that every kind of store has, written once against by the rest.

The bulk operation is the primitive: a single put is a bulk of one. Keys are exact: what goes in
comes out, whatever characters it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ingest.errors import IngestError


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
class PutItem:
    """One object to be written: ``source`` is its content, or the file that holds it."""

    key: str
    source: bytes | Path
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: ``error`` is None where it was done. ``size`` is in bytes."""

    key: str
    size: int
    error: IngestError | None = None


class Store(Protocol):
    """A bucket, a directory, an appliance."""

    @property
    def url(self) -> str:
        """What the store is called in messages, such as ``s3://bucket`` or ``lake``."""

    def put_many(self, items: Iterable[PutItem]) -> Iterator[Outcome]:
        """Write each item whole or not at all; yield one outcome an item, as they finish.

        An existing object is replaced at once: a reader sees the old one or the new one. Content
        type and metadata are kept where the store has them. At most a few items are held in
        memory, however many there are.
        """

    def read(self, key: str) -> bytes:
        """Return an object's content.

        Raises ``NotFound``, ``CredentialsRefused`` or ``StoreError``.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that does not exist counts as deleted. Raises as ``read`` does."""

    def names(self, directory: str) -> set[str]:
        """Return the keys directly in ``directory`` (which ends in ``/``); it may not exist.

        For a directory of our own making, which holds a handful of objects. Raises as ``read``.
        """
