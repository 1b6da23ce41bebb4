"""Whether two files or objects have the same content, by their hashes.

An object's content is told by what the store has of it: an ETag that is the MD5 of the content, or
of its parts' MD5s in any part size that a tool would have chosen; a ``sha256`` in its metadata,
which this package writes with every small object; or checksums of the pieces that the store has cut
it into. Where none of these is there, nobody can tell without reading the object.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.storage.etags import etag_of, is_md5, parts_in, plausible_part_sizes
from ingest.trees import LocalTree, StoreTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ingest.planning.compare import Pair, SameContent
    from ingest.storage.base import Entry, Head

Tree = LocalTree | StoreTree

_SHA256 = re.compile(r"[0-9a-f]{64}")


def same_content(one: Tree, other: Tree, threads: int) -> SameContent:
    """Return the comparison of entries of ``one`` with entries of ``other``, in order.

    It says False where it cannot tell, also where either cannot be read: sending it then tells
    why. It reads local files whole, and asks a store for the metadata of an object only where its
    ETag does not answer.
    """

    def same(pair: Pair) -> bool:
        try:
            return bool(is_same(one, pair[0], other, pair[1]))
        except (OSError, IngestError):
            return False

    def compare(pairs: Sequence[Pair]) -> Iterable[bool]:
        with ThreadPoolExecutor(threads) as workers:
            yield from workers.map(same, pairs)

    return compare


def is_same(one: Tree, entry: Entry, other: Tree, another: Entry) -> bool | None:
    """Return whether two entries have the same content; None where it cannot be told.

    Raises ``OSError`` for a file that cannot be read, and what the store raises.
    """
    if entry.size != another.size:
        return False
    if isinstance(one, StoreTree) and isinstance(other, StoreTree):
        return _same_objects(one, entry, other, another)
    if isinstance(one, LocalTree) and isinstance(other, LocalTree):
        return etag_of(one.path(entry.key), None) == etag_of(other.path(another.key), None)
    if isinstance(one, StoreTree):
        one, entry, other, another = other, another, one, entry
    assert isinstance(one, LocalTree)  # noqa: S101 - what is left of the four cases
    assert isinstance(other, StoreTree)  # noqa: S101 - as above
    return _same_as_object(one.path(entry.key), other, another)


def _same_objects(one: StoreTree, entry: Entry, other: StoreTree, another: Entry) -> bool | None:
    if entry.etag and entry.etag == another.etag:
        return True
    if entry.etag and another.etag and is_md5(entry.etag) and is_md5(another.etag):
        # Either may be no MD5 at all, where a store encrypts with a key of its own.
        certain = False
    else:
        certain = None
    heads = one.store.head(entry.key), other.store.head(another.key)
    hashes = [_stored_sha256(head) for head in heads]
    if all(hashes):
        return hashes[0] == hashes[1]
    if (same := _same_pieces(*heads)) is not None:
        return same
    return certain


def _same_pieces(one: Head, other: Head) -> bool | None:
    """Compare the checksums of pieces that are of the same kind, and cut at the same places."""
    comparable = 0 in one.checksums and one.checksums.keys() == other.checksums.keys()
    if not comparable or one.checksum_type != other.checksum_type or one.checksum_type == "NONE":
        return None
    return one.checksums == other.checksums


def _same_as_object(path: Path, tree: StoreTree, entry: Entry) -> bool | None:
    etag = entry.etag or ""
    parts = parts_in(etag)
    if is_md5(etag) and etag_of(path, None) == etag:
        return True
    if parts and any(etag_of(path, s) == etag for s in plausible_part_sizes(entry.size, parts)):
        return True
    stored = _stored_sha256(tree.store.head(entry.key))
    if stored:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == stored
    if (same := tree.store.has_content(entry, path)) is not None:
        return same
    # One part is the whole object, whatever the part size was.
    return False if is_md5(etag) or parts == 1 else None


def _stored_sha256(head: Head) -> str | None:
    stored = head.metadata.get("sha256", "")
    return stored if _SHA256.fullmatch(stored) else None
