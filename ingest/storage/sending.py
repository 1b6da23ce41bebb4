"""Objects on their way to a bucket: small ones in one piece, large files in parts."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from ingest.errors import StoreError
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store as ObjectStore

    from ingest.storage.base import PutItem, Transfer
    from ingest.storage.connection import Clients

LARGE = 16 * 1024**2
"""Bytes from which a file goes in parts, so that it can be resumed."""
_HELD = 64 * 1024**2
"""Bytes of small files that are held at one time, over all threads."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ODD = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|[\x00-\x1f\x7f]")
"""An empty segment, ``.`` or ``..``; or a control character."""
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Writing:
    """What is asked of the store for each object that is written. None is sent unless it is set."""

    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    acl: str | None = None

    def store_options(self) -> dict[str, str]:
        """Return what obstore takes for a whole store."""
        asked = {"server_side_encryption": self.sse, "sse_kms_key_id": self.sse_kms_key_id}
        return {name: value for name, value in asked.items() if value}

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
            **{f"x-amz-meta-{name.lower()}": text for name, text in item.metadata.items()},
        }
        return {name: value for name, value in asked.items() if value}


def is_odd(key: str) -> bool:
    """Whether object_store would refuse or change ``key``: it normalises paths."""
    return bool(_ODD.search(key))


def has_controls(key: str) -> bool:
    """Whether ``key`` has a control character, which object_store does not carry."""
    return bool(_CONTROL.search(key))


def fits_xml(key: str) -> bool:
    """Whether XML 1.0 can carry ``key``: no control character and no non-character."""
    return not has_controls(key) and all(char not in "\ufffe\uffff" for char in key)


def is_there(client: S3Client, bucket: str, key: str) -> bool:
    """Whether there is an object ``key``, for what a store cannot do under a condition.

    Raises what boto3 raises.
    """
    try:
        client.head_object(Bucket=bucket, Key=key)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True


class Sender:
    """Writes the items of one bulk, from any number of threads."""

    def __init__(
        self,
        bucket: str,
        clients: Clients,
        objects: ObjectStore,
        writing: Writing,
        how: Transfer,
    ) -> None:
        """Send to ``bucket`` as ``how`` says."""
        self._bucket = bucket
        self._clients = clients
        self._objects = objects
        self._writing = writing
        self._how = how
        self._held = ByteBudget(_HELD)
        # A large file is sent from several threads of its own; two at once would only share them.
        self._large = threading.Lock()

    def put(self, item: PutItem) -> Outcome:
        """Write one item. Raises what obstore, boto3 and the file system raise."""
        if isinstance(item.source, bytes):
            return self._put_small(item, item.source)
        size = (item.stat or item.source.stat()).st_size
        if size >= LARGE:
            with self._large:
                return self._put_large(item, item.source)
        taken = self._held.take(size)
        try:
            return self._put_small(item, _read_unchanged(item.source, item.stat))
        finally:
            self._held.give(taken)

    def _put_small(self, item: PutItem, content: bytes) -> Outcome:
        if self._how.cancelled.is_set():
            raise StoreError("the transfer was stopped")
        self._how.pace(len(content))
        metadata = dict(item.metadata)
        if "sha256" not in metadata:
            metadata["sha256"] = hashlib.sha256(content).hexdigest()
        if is_odd(item.key) or self._writing.acl:
            etag = self._put_by_boto3(item, content, metadata)
        else:
            etag = self._put_by_obstore(item, content, metadata)
        if etag is None:
            return Outcome(item.key, 0, existed=True)
        self._check(item.key, content, etag)
        self._how.moved(len(content))
        return Outcome(item.key, len(content))

    def _put_by_obstore(
        self, item: PutItem, content: bytes, metadata: dict[str, str]
    ) -> str | None:
        attributes: Any = {"Content-Type": item.content_type, **metadata}
        if self._writing.storage_class:
            attributes["Storage-Class"] = self._writing.storage_class
        mode: Any = "overwrite" if self._how.overwrite else "create"
        try:
            done = obstore.put(
                self._objects,
                item.key,
                content,
                attributes=attributes,
                mode=mode,
                use_multipart=False,
            )
        except (AlreadyExistsError, PreconditionError):
            return None
        return (done["e_tag"] or "").strip('"')

    def _put_by_boto3(self, item: PutItem, content: bytes, metadata: dict[str, str]) -> str | None:
        client = self._clients.client()
        arguments: dict[str, Any] = self._writing.copy_arguments()
        if not self._how.overwrite:
            arguments["IfNoneMatch"] = "*"
        try:
            done = client.put_object(
                Bucket=self._bucket,
                Key=item.key,
                Body=content,
                ContentType=item.content_type,
                Metadata=metadata,
                **arguments,
            )
        except client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") == "PreconditionFailed":
                return None
            raise
        return done.get("ETag", "").strip('"')

    def _check(self, key: str, content: bytes, etag: str) -> None:
        """Compare what the store says it got with what was sent.

        An ETag that looks like an MD5 is none where the store encrypts with a key of its own, so
        the object is asked for its encryption before a difference is believed.
        """
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if etag == md5 or not _MD5.fullmatch(etag):
            return
        found = self._clients.client().head_object(Bucket=self._bucket, Key=key)
        encrypted = found.get("ServerSideEncryption", "AES256") != "AES256"
        if not encrypted and "SSECustomerAlgorithm" not in found:
            raise StoreError(f"the store has other bytes: MD5 {etag}, where {md5} was sent")

    def _put_large(self, item: PutItem, path: Path) -> Outcome:
        from ingest.storage.api import api_of  # noqa: PLC0415 - the daily run sends no such file
        from ingest.storage.multipart import exists, upload_file  # noqa: PLC0415 - as above
        from ingest.storage.parts import PartLimits  # noqa: PLC0415 - as above
        from ingest.storage.uploads import Target  # noqa: PLC0415 - as above

        if item.stat and _version(path.stat()) != _version(item.stat):
            raise StoreError(f"{path} changed since it was scanned")
        provider = self._clients.provider
        with closing(api_of(self._clients, self._bucket)) as api:
            target = Target(api, self._bucket, item.key)
            if not self._how.overwrite and exists(target, self._how.cancelled):
                return Outcome(item.key, 0, existed=True)
            done = upload_file(
                *(target, path),
                headers=self._writing.headers(item),
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
