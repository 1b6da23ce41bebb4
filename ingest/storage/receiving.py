"""Objects on their way from a bucket: small ones in one piece, large ones in parts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore

from ingest.errors import StoreError
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget, in_threads
from ingest.storage.etags import (
    etag_of_chunks,
    etag_of_parts,
    parts_in,
    plausible_part_sizes,
)
from ingest.storage.sending import is_odd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store as ObjectStore

    from ingest.files.landing import Landing, Part, Partial
    from ingest.storage.base import Entry, GetItem, Transfer
    from ingest.storage.connection import Clients

LARGE = 16 * 1024**2
"""Bytes from which an object is fetched in parts, so that it can be resumed."""
_PART = 8 * 1024**2
_PARTS_AT_ONCE = 6
_CHUNK = 1024**2
_LARGEST_PART = 64 * 1024**2
"""An object in larger parts is fetched in smaller ones, and its hash not compared."""
_HELD = 64 * 1024**2
"""Bytes of small objects that are held at one time, over all threads."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Parts:
    """The size of an object's parts, in bytes, and whether the store has told it."""

    size: int
    is_known: bool


def told_part_size(client: S3Client, bucket: str, entry: Entry, count: int) -> int | None:
    """Return the size, in bytes, of the ``count`` parts of an object, where the store tells."""
    with contextlib.suppress(client.exceptions.ClientError):  # many stores do not
        first = client.head_object(Bucket=bucket, Key=entry.key, PartNumber=1)
        size = first["ContentLength"]
        if size and -(-entry.size // size) == count:
            return size
    return None


class Receiver:
    """Fetches the items of one bulk, from any number of threads."""

    def __init__(
        self,
        bucket: str,
        clients: Clients,
        objects: ObjectStore,
        landing: Landing,
        how: Transfer,
    ) -> None:
        """Fetch from ``bucket`` into ``landing`` as ``how`` says."""
        self._bucket = bucket
        self._clients = clients
        self._objects = objects
        self._landing = landing
        self._how = how
        self._held = ByteBudget(_HELD)
        self._large = threading.Lock()
        self._unfinished: Partial | None = None

    def abandon(self) -> None:
        """After a transfer was cancelled, remove what is there of a file still under way.

        Its own thread may wait for the store for longer than this process lives.
        """
        if self._unfinished and self._how.cancelled.is_set() and not self._how.keep_cancelled:
            self._unfinished.discard()

    def get(self, item: GetItem) -> Outcome:
        """Fetch one item. Raises what obstore, boto3 and the file system raise."""
        if self._how.cancelled.is_set():
            raise StoreError("the transfer was stopped")
        if item.entry.size >= LARGE:
            with self._large:
                return self._get_large(item)
        taken = self._held.take(item.entry.size)
        try:
            return self._get_small(item)
        finally:
            self._held.give(taken)

    def _get_small(self, item: GetItem) -> Outcome:
        key, size = item.entry.key, item.entry.size
        self._how.pace(size)
        content, etag, metadata, modified = self._fetch(key)
        if len(content) != size:
            raise StoreError(f"it has {len(content):,} bytes, but {size:,} when it was listed")
        self._check(key, content, etag, metadata)
        # A listing often has the time to the millisecond, where this answer has whole seconds.
        modified = max(modified, item.entry.modified)
        landed = self._landing.write(item.path, content, mtime_ns=round(modified * 1e9))
        self._how.moved(size)
        return Outcome(item.path, size, existed=not landed)

    def _fetch(self, key: str) -> tuple[Any, str, Mapping[str, str], float]:
        """Return an object's content, ETag, metadata and time."""
        if is_odd(key):
            answer = self._clients.client().get_object(Bucket=self._bucket, Key=key)
            etag, metadata = answer["ETag"].strip('"'), answer["Metadata"]
            return answer["Body"].read(), etag, metadata, answer["LastModified"].timestamp()
        found = obstore.get(self._objects, key)
        etag = (found.meta["e_tag"] or "").strip('"')
        modified = found.meta["last_modified"].timestamp()
        attributes: Any = found.attributes
        return memoryview(found.bytes()), etag, attributes, modified

    def _check(self, key: str, content: Any, etag: str, metadata: Mapping[str, str]) -> None:  # noqa: ANN401 - a buffer
        """Compare what came with the hash the store has of it, if it has one."""
        stored = metadata.get("sha256", "")
        if _SHA256.fullmatch(stored):
            came = hashlib.sha256(content).hexdigest()
            if came == stored:
                return
        elif not _MD5.fullmatch(etag):
            return
        else:
            stored, came = etag, hashlib.md5(content, usedforsecurity=False).hexdigest()
            if came == etag:
                return
            if self._is_encrypted(key):
                return
        raise StoreError(f"what came has the hash {came}, the store's is {stored}")

    def _get_large(self, item: GetItem) -> Outcome:
        entry = item.entry
        parts = self._parts(entry)
        with self._landing.open(
            item.path, entry.size, part_size=parts.size, identity=self._identity(entry)
        ) as partial:
            self._how.moved(entry.size - sum(part.size for part in partial.missing))
            self._unfinished = partial
            try:
                digests = dict(
                    in_threads(
                        functools.partial(self._get_part, item, partial),
                        partial.missing,
                        _PARTS_AT_ONCE,
                    )
                )
            except BaseException:
                cancelled = self._how.cancelled.is_set()
                if not (self._how.keep_cancelled if cancelled else self._how.keep_partial):
                    partial.discard()
                raise
            landed = partial.commit(
                mtime_ns=round(entry.modified * 1e9),
                check=functools.partial(self._check_large, entry, parts, digests),
            )
        return Outcome(item.path, entry.size, existed=not landed)

    def _identity(self, entry: Entry) -> str | None:
        return f"{self._bucket}/{entry.key}/{entry.etag}" if entry.etag else None

    def _parts(self, entry: Entry) -> _Parts:
        """Find out in which parts the object was uploaded, to fetch it in the same ones.

        The MD5 of each is then at hand when it arrives, and together they are the ETag.
        """
        count = parts_in(entry.etag or "")
        if count is None:
            return _Parts(_PART, is_known=False)
        told = told_part_size(self._clients.client(), self._bucket, entry, count)
        if told and told <= _LARGEST_PART:
            # Where there is one part, this may be the whole of a store that took no notice.
            return _Parts(told, is_known=count > 1)
        guesses = plausible_part_sizes(entry.size, count)
        size = next((each for each in guesses if each <= _LARGEST_PART), _PART)
        return _Parts(size, is_known=False)

    def _check_large(
        self, entry: Entry, parts: _Parts, digests: dict[int, bytes], content: Iterator[bytes]
    ) -> None:
        """Compare what came with the object's ETag, if that tells; see ``Partial.commit``."""
        etag, count = entry.etag or "", -(-entry.size // parts.size)
        if _MD5.fullmatch(etag):
            came = etag_of_chunks(content, None)
            wrong = came != etag and not self._is_encrypted(entry.key)
        elif parts_in(etag) != count:
            return
        elif len(digests) == count:
            came = etag_of_parts(digests[number] for number in range(count))
            wrong = came != etag and parts.is_known
        else:
            came = etag_of_chunks(content, parts.size)
            wrong = came != etag and parts.is_known
        if wrong:
            raise StoreError(f"what came has the ETag {came}, the object's is {etag}")

    def _is_encrypted(self, key: str) -> bool:
        """Whether the store encrypts the object with a key of its own: its ETag is no MD5 then."""
        found = self._clients.client().head_object(Bucket=self._bucket, Key=key)
        own = found.get("ServerSideEncryption", "AES256") != "AES256"
        return own or "SSECustomerAlgorithm" in found

    def _get_part(self, item: GetItem, partial: Partial, part: Part) -> tuple[int, bytes]:
        """Fetch one part, by boto3: obstore refuses the ranges of servers that answer them 200.

        Returns the part's number and its MD5.
        """
        if self._how.cancelled.is_set():
            raise StoreError("the transfer was stopped")
        self._how.pace(part.size)
        entry, end = item.entry, part.offset + part.size - 1
        guard: Any = {"IfMatch": entry.etag} if entry.etag else {}
        answer = self._clients.client().get_object(
            Bucket=self._bucket, Key=entry.key, Range=f"bytes={part.offset}-{end}", **guard
        )
        # Some servers know no If-Match, and others no ranges.
        if entry.etag and answer.get("ETag", "").strip('"') != entry.etag:
            raise StoreError("it has changed since it was listed")
        if answer.get("ContentRange") != f"bytes {part.offset}-{end}/{entry.size}":
            raise StoreError(f"asked for bytes {part.offset}-{end}, the store sent others")
        md5 = hashlib.md5(usedforsecurity=False)
        partial.write_part(part, self._hashed(answer["Body"].iter_chunks(_CHUNK), md5))
        self._how.moved(part.size)
        return part.number, md5.digest()

    def _hashed(self, chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
        for chunk in chunks:
            if self._how.cancelled.is_set():
                raise StoreError("the transfer was stopped")
            digest.update(chunk)
            yield chunk
