"""Objects on their way to a bucket: small ones in one piece, large files in parts."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from ingest.errors import StoreError
from ingest.storage.answers import Failed, is_encrypted
from ingest.storage.api import METADATA, Request
from ingest.storage.attempts import Stop, after, patiently
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ingest.storage.api import Answer, Api
    from ingest.storage.base import PutItem, Transfer
    from ingest.storage.connection import Clients

_T = TypeVar("_T")

LARGE = 16 * 1024**2
"""Bytes from which a file goes in parts, so that it can be resumed."""
SMALL = 64 * 1024
"""Bytes up to which an object is sent, or fetched, together with others."""
BURSTS = 2
"""Threads that do so at a time: while one waits for the last of its answers, the other sends."""
_HELD = 64 * 1024**2
"""Bytes of small files that are held at one time, over all threads."""
_NO_XML = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Writing:
    """What is asked of the store for each object that is written. None is sent unless it is set."""

    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    acl: str | None = None

    def copy_arguments(self) -> dict[str, str]:
        """Return the arguments of boto3's calls that make an object."""
        asked = {
            "StorageClass": self.storage_class,
            "ServerSideEncryption": self.sse,
            "SSEKMSKeyId": self.sse_kms_key_id,
            "ACL": self.acl,
        }
        return {name: value for name, value in asked.items() if value}

    def headers(self, item: PutItem) -> dict[str, str]:
        """Return the headers of a request that makes the object ``item``, by lower-case names."""
        asked = {
            "x-amz-storage-class": self.storage_class,
            "x-amz-server-side-encryption": self.sse,
            "x-amz-server-side-encryption-aws-kms-key-id": self.sse_kms_key_id,
            "x-amz-acl": self.acl,
            "content-type": item.content_type,
        }
        metadata = {f"{METADATA}{name.lower()}": text for name, text in item.metadata.items()}
        return {name: value for name, value in asked.items() if value} | metadata


def fits_xml(key: str) -> bool:
    """Whether XML 1.0 can carry ``key``: no control character and no non-character."""
    return not _NO_XML.search(key)


@dataclass(frozen=True, slots=True)
class _Small:
    """What goes in one piece, and the request that sends it."""

    key: str
    content: bytes
    request: Request


class Sender:
    """Writes the items of one bulk, from any number of threads."""

    def __init__(
        self,
        bucket: str,
        clients: Clients,
        api: Api,
        writing: Writing,
        how: Transfer,
    ) -> None:
        """Send to ``bucket`` as ``how`` says."""
        self._bucket = bucket
        self._clients = clients
        self._api = api
        self._stop = Stop(how.cancelled)
        self._writing = writing
        self._how = how
        self._held = ByteBudget(_HELD)
        self._bursts = threading.Semaphore(BURSTS)
        # A large file is sent from several threads of its own; two at once would only share them.
        self._large = threading.Lock()

    def is_small(self, item: PutItem) -> bool:
        """Whether an item is one for ``put_burst``."""
        if isinstance(item.source, bytes):
            return len(item.source) <= SMALL
        return item.stat is not None and item.stat.st_size <= SMALL

    def put_burst(self, items: Sequence[PutItem]) -> Iterator[Outcome | Exception]:
        """Write small items at once; yield what became of each, in order, or why it failed.

        The first attempts at all of them are made together, and those after it one by one.
        """
        prepared: list[_Small | Exception] = []

        def requests() -> Iterator[Request]:
            for item in items:
                try:
                    small = self._prepared(item)
                except Exception as error:  # noqa: BLE001 - told for this item
                    prepared.append(error)
                else:
                    prepared.append(small)
                    yield small.request

        with self._bursts:
            answers = iter(self._api.burst(requests()))
        for each in prepared:
            if isinstance(each, Exception):
                yield each
                continue
            try:
                yield self._put_prepared(each, next(answers))
            except Exception as error:  # noqa: BLE001 - as above
                yield error

    def put(self, item: PutItem) -> Outcome:
        """Write one item. Raises ``Failed``, ``Halt``, and what the file system raises."""
        if isinstance(item.source, bytes):
            return self._put_prepared(self._prepared(item))
        size = (item.stat or item.source.stat()).st_size
        if size >= LARGE:
            with self._large:
                return self._put_large(item, item.source)
        taken = self._held.take(size)
        try:
            return self._put_prepared(self._prepared(item))
        finally:
            self._held.give(taken)

    def _prepared(self, item: PutItem) -> _Small:
        """Read an item that goes in one piece."""
        if not item.key:  # a request without one is about the bucket itself
            raise StoreError("a key is not empty")
        self._stop.check()
        content = item.source
        if not isinstance(content, bytes):
            content = _read_unchanged(content, item.stat)
        self._how.pace(len(content))
        digest = hashlib.sha256(content)
        headers = self._headers(item)
        headers.setdefault(f"{METADATA}sha256", digest.hexdigest())
        if self._clients.provider.name == "aws":
            headers["x-amz-checksum-sha256"] = base64.b64encode(digest.digest()).decode()
        if not self._how.overwrite:
            headers["if-none-match"] = "*"
        request = Request("PUT", item.key, {}, headers, content, digest.hexdigest())
        return _Small(item.key, content, request)

    def _headers(self, item: PutItem) -> dict[str, str]:
        if self._how.preserve:
            from ingest.storage import attributes  # noqa: PLC0415 - the daily run keeps none

            item = attributes.with_attributes(item, attributes.as_s3)
        return self._writing.headers(item)

    def _put_prepared(self, small: _Small, first: Answer | Failed | None = None) -> Outcome:
        """Write what was read; ``first`` is what came of a first attempt, where there was one."""
        key, content, doubtful = small.key, small.content, False
        attempt = after(first, lambda: self._api.answer_to(small.request))

        def put() -> Answer:
            nonlocal doubtful
            try:
                return attempt()
            except Failed as failed:  # and may have written it all the same
                doubtful = doubtful or failed.passes
                raise

        try:
            answer = self._patiently(put)
        except Failed as failed:
            if failed.status != HTTPStatus.PRECONDITION_FAILED or self._how.overwrite:
                raise
            if not doubtful or not self._is_ours(small):
                return Outcome(key, 0, existed=True)
        else:
            self._check(key, content, answer)
        self._how.moved(len(content))
        return Outcome(key, len(content))

    def _is_ours(self, small: _Small) -> bool:
        """Whether the object that is there is what an attempt has written that had no answer."""
        found = self._patiently(lambda: self._api.head(small.key))
        sent = small.request.headers[f"{METADATA}sha256"]
        return (found.size, found.metadata.get("sha256")) == (len(small.content), sent)

    def _check(self, key: str, content: bytes, answer: Answer) -> None:
        """Compare what the store says it got with what was sent.

        An ETag that looks like an MD5 is none where the store encrypts with a key of its own, so
        a difference is not believed before it has said that it does not.
        """
        if not answer.etag:
            raise StoreError("the answer has no ETag", hint="is that the address of an S3 API?")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if answer.etag == md5 or not _MD5.fullmatch(answer.etag) or is_encrypted(answer.headers):
            return
        if not is_encrypted(self._patiently(lambda: self._api.call("HEAD", key)).headers):
            raise StoreError(f"the store has other bytes: MD5 {answer.etag}, where {md5} was sent")

    def _patiently(self, call: Callable[[], _T]) -> _T:
        return patiently(call, self._stop, self._clients.connection.patience_s)

    def _put_large(self, item: PutItem, path: Path) -> Outcome:
        from ingest.storage.multipart import exists, upload_file  # noqa: PLC0415 - not daily
        from ingest.storage.parts import PartLimits  # noqa: PLC0415 - as above
        from ingest.storage.uploads import Target  # noqa: PLC0415 - as above

        if item.stat and _version(path.stat()) != _version(item.stat):
            raise StoreError(f"{path} changed since it was scanned")
        provider = self._clients.provider
        target = Target(self._api, self._bucket, item.key)
        if not self._how.overwrite and exists(target, self._how.cancelled):
            return Outcome(item.key, 0, existed=True)
        done = upload_file(
            *(target, path),
            headers=self._headers(item),
            limits=PartLimits(smallest=provider.smallest_part, most_parts=provider.most_parts),
            compare_etag=provider.multipart_etag,
            keep_partial=self._how.keep_partial,
            cancelled=self._how.cancelled,
            progress=self._how.moved,
            pace=self._how.pace,
        )
        return Outcome(item.key, done.size)


def _read_unchanged(path: Path, seen: os.stat_result | None) -> bytes:
    """Return a file's content, or raise ``StoreError`` where it changed since it was ``seen``."""
    # A pipe that has taken its place would be waited for.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        seen = seen or os.fstat(fd)
        content = os.read(fd, seen.st_size + 1)
        now = os.fstat(fd)
    finally:
        os.close(fd)
    if _version(now) != _version(seen) or len(content) != now.st_size:
        raise StoreError(f"{path} changed while it was read")
    return content


def _version(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
