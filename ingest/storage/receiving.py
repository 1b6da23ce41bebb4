"""Objects on their way from a bucket: small ones in one piece, large ones in parts."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from typing import TYPE_CHECKING, Any

import obstore

from ingest.errors import StoreError
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget
from ingest.storage.sending import is_odd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store as ObjectStore

    from ingest.files.landing import Landing, Partial
    from ingest.storage.base import Entry, GetItem, Transfer
    from ingest.storage.connection import Clients

LARGE = 16 * 1024**2
"""Bytes from which an object is fetched in parts, so that it can be resumed."""
_PART = 8 * 1024**2
_PARTS_AT_ONCE = 6
_HELD = 64 * 1024**2
"""Bytes of small objects that are held at one time, over all threads."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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

    def _is_encrypted(self, key: str) -> bool:
        """Whether the store encrypts the object with a key of its own: its ETag is no MD5 then."""
        found = self._clients.client().head_object(Bucket=self._bucket, Key=key)
        own = found.get("ServerSideEncryption", "AES256") != "AES256"
        return own or "SSECustomerAlgorithm" in found

    def _get_large(self, item: GetItem) -> Outcome:
        from ingest.storage.api import api_of  # noqa: PLC0415 - the daily run gets none
        from ingest.storage.attempts import Stop  # noqa: PLC0415 - as above
        from ingest.storage.receiving_parts import Receiving, Wanted, expected  # noqa: PLC0415

        entry, how = item.entry, self._how
        identity = f"{self._bucket}/{entry.key}/{entry.etag}" if entry.etag else None
        what = f"cannot read s3://{self._bucket}/{entry.key}{self._clients.at}"
        with contextlib.closing(api_of(self._clients, self._bucket)) as api:
            wanted = Wanted(api, what, entry, how, Stop(how.cancelled))
            told = expected(wanted, _PART, multipart_etag=self._clients.provider.multipart_etag)
            with self._landing.open(
                item.path, entry.size, part_size=told.part_size, identity=identity
            ) as partial:
                how.moved(entry.size - sum(part.size for part in partial.missing))
                self._unfinished = partial
                receiving = Receiving(wanted, partial, told)
                try:
                    receiving.run(_PARTS_AT_ONCE)
                except BaseException:
                    cancelled = how.cancelled.is_set()
                    if not (how.keep_cancelled if cancelled else how.keep_partial):
                        partial.discard()
                    raise
                landed = partial.commit(
                    mtime_ns=round(entry.modified * 1e9), check=lambda _: receiving.check()
                )
        return Outcome(item.path, entry.size, existed=not landed)
