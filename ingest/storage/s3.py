"""A bucket of an S3-compatible store.

Objects travel over connections of our own (``api``), which move a small one with a twentieth of the
work that boto3 takes, under exactly the key it has. boto3 does what is rare, or long for the store:
copies and deletes by the thousand. ``sending`` sends what is to be written, ``receiving`` fetches;
this module is the store that is made of them.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.errors import BucketNotFound, IngestError, NotFound, StoreError
from ingest.storage.answers import Failed, code_of, error_of, translate
from ingest.storage.api import api_of
from ingest.storage.attempts import Halt, Stop, patiently
from ingest.storage.base import PLAIN, Entry, Head, Outcome, Transfer
from ingest.storage.bulk import bursts, in_threads
from ingest.storage.etags import etag_of, is_md5, parts_in, plausible_part_sizes
from ingest.storage.receiving import Receiver, told_part_size
from ingest.storage.sending import BURSTS, Sender, Writing, fits_xml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ingest.files.landing import Landing
    from ingest.storage.api import Api
    from ingest.storage.base import CopyItem, GetItem, Prefix, PutItem
    from ingest.storage.connection import Clients
    from ingest.storage.pages import Place

_T = TypeVar("_T")

_DELETE_BATCH = 1_000
_FEW = 10
"""So many deletes cost less one by one than boto3 costs to load."""
_PIECE = 1024**2
_NO_BULK_DELETE = frozenset({"MethodNotAllowed", "MissingContentMD5", "NotImplemented"})
"""Older MinIO wants an MD5 that botocore has not sent since it knows better checksums."""
_LARGEST_COPY = 5 * 1024**3
_PART_OF_COPY = 512 * 1024**2


class S3Store:
    """Objects of one bucket."""

    def __init__(self, bucket: str, clients: Clients, writing: Writing | None = None) -> None:
        """Make no request yet. Raises ``SettingsError`` where no credentials are to be found."""
        self.bucket = bucket
        self.clients = clients
        self._writing = writing or Writing()
        clients.access_key()
        self._stop = Stop(threading.Event())
        self._api = api_of(clients, bucket)
        weakref.finalize(self, self._api.close)

    @property
    def url(self) -> str:
        """``s3://bucket``."""
        return f"s3://{self.bucket}"

    def list_directory(self, prefix: str = "") -> Iterator[Entry | Prefix]:
        """Yield what is directly below ``prefix``."""
        from ingest.storage import listing  # noqa: PLC0415 - the daily run lists nothing

        return listing.list_directory(_place(self.bucket, self.clients), prefix)

    def head(self, key: str) -> Head:
        """Return what is known of an object."""
        return self._asked("look at", key, functools.partial(self._api.head, key))

    def read(self, key: str) -> bytes:
        """Return an object's content."""
        call = functools.partial(self._api.call, "GET", key, most=sys.maxsize)
        return self._asked("read", key, call).body

    def stream(
        self, key: str, offset: int = 0, length: int | None = None, version_id: str | None = None
    ) -> Iterator[bytes]:
        """Yield an object's content, or a part of it, piece by piece. Raises ``NotFound``."""
        query = {"versionId": version_id} if version_id else {}
        headers, told, end = {}, "", 0
        if offset or length is not None:
            # A range beyond the end is refused, and one of no bytes cannot be written.
            call = functools.partial(self._api.call, "HEAD", key, query)
            head = self._asked("read", key, call)
            size = self._asked("read", key, lambda: head.size)
            end = size if length is None else min(offset + length, size)
            if offset >= end:
                return
            headers["range"] = f"bytes={offset}-{end - 1}"
            told = f"bytes {offset}-{end - 1}/{size}"
        with ExitStack() as stack:
            answer = self._asked(
                *("read", key),
                lambda: stack.enter_context(self._api.get(key, headers, query)),
            )
            if headers and answer.headers.get("content-range") != told:
                other = StoreError(f"asked for bytes {offset}-{end - 1}, the store sent others")
                raise self._error("read", key, other)
            while piece := self._asked("read", key, lambda: answer.read(_PIECE)):
                yield piece

    def names(self, directory: str) -> set[str]:
        """Return the keys directly in ``directory``."""
        found = self.list_directory(directory)
        return {entry.key for entry in found if isinstance(entry, Entry)}

    def put_many(self, items: Iterable[PutItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Write items side by side; a large file goes in parts, one such file after the other."""
        sender = Sender(self.bucket, self.clients, self._api, self._writing, how)

        def put(burst: list[PutItem]) -> list[Outcome | Exception]:
            many = len(burst) > 1
            return list(sender.put_burst(burst)) if many else [sender.put(burst[0])]

        together = bursts(items, _width(how), sender.is_small)
        for burst, done in in_threads(_attempted(put), together, how.threads):
            for item, each in zip(burst, done, strict=True):
                yield self._outcome("write", item.key, item.key, each)

    def get_many(
        self, items: Iterable[GetItem], landing: Landing, how: Transfer = PLAIN
    ) -> Iterator[Outcome]:
        """Fetch items side by side; a large object in parts, one such object after the other."""
        receiver = Receiver(self.bucket, self.clients, self._api, landing, how)

        def get(burst: list[GetItem]) -> list[Outcome | Exception]:
            many = len(burst) > 1
            return list(receiver.get_burst(burst)) if many else [receiver.get(burst[0])]

        together = bursts(items, _width(how), receiver.is_small)
        try:
            for burst, done in in_threads(_attempted(get), together, how.threads):
                for item, each in zip(burst, done, strict=True):
                    yield self._outcome("read", item.path, item.entry.key, each)
        finally:
            receiver.abandon()

    def copy_many(self, items: Iterable[CopyItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Copy within the store, with type and metadata; above 5 GiB in parts.

        An origin that is another than was listed is an error.
        """
        from ingest.storage.multipart import exists  # noqa: PLC0415 - the daily run copies nothing
        from ingest.storage.uploads import Target  # noqa: PLC0415 - as above

        def copy(item: CopyItem) -> Outcome:
            target = Target(self._api, self.bucket, item.key)
            if how.cancelled.is_set():
                stopped = StoreError("the transfer was stopped")
                return Outcome(item.key, 0, self._error("copy to", item.key, stopped))
            try:
                if not how.overwrite and exists(target, how.cancelled):
                    return Outcome(item.key, 0, existed=True)
                self._copy(item)
            except Exception as error:  # noqa: BLE001 - translated
                return Outcome(item.key, 0, self._error("copy to", item.key, error))
            how.moved(item.origin.size)
            return Outcome(item.key, item.origin.size)

        return in_threads(copy, items, how.threads)

    def has_content(self, entry: Entry, path: Path) -> bool | None:
        """Compare the ETag with that of the file in the same parts, where the store tells them."""
        count = parts_in(entry.etag or "")
        told = count and self._told_part_size(self._api, self.bucket, entry, count)
        return etag_of(path, told) == entry.etag if told else None

    @property
    def copies_itself(self) -> bool:
        """True, within one endpoint and account."""
        return True

    def copies_from(self, other: object) -> str | None:
        """Return the bucket of ``other`` where this service can copy from it by itself."""
        if isinstance(other, S3Store) and other.clients.connection == self.clients.connection:
            return other.bucket
        return None

    def delete_many(self, keys: Iterable[str], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Delete by the thousand where the store knows how, else one by one."""
        remaining = iter(keys)
        first = list(islice(remaining, _FEW))
        if len(first) < _FEW:
            few = (key for key in first if not how.cancelled.is_set())
            yield from in_threads(self._delete, few, min(how.threads, len(first)))
            return
        batch = first + list(islice(remaining, _DELETE_BATCH - _FEW))
        while batch and not how.cancelled.is_set():
            yield from self._delete_batch(batch, how)
            batch = list(islice(remaining, _DELETE_BATCH))

    def delete_below(self, directory: str) -> bool | None:  # noqa: ARG002 - as every store's
        """Return None: S3 has no directories."""
        return None

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Yield the objects below ``prefix``; ``ingest.storage.listing`` says what is checked."""
        from ingest.storage import listing  # noqa: PLC0415 - as above

        return listing.list_objects(_place(self.bucket, self.clients), prefix, after)

    def _copy(self, item: CopyItem) -> None:
        client, origin = self.clients.client(), item.origin
        bucket = item.bucket or self.bucket
        arguments: dict[str, Any] = self._writing.copy_arguments()
        if origin.etag:
            arguments["CopySourceIfMatch"] = f'"{origin.etag}"'
        part_size = self._part_size(bucket, origin)
        if part_size:
            self._copy_in_parts(item, bucket, part_size, arguments)
            return
        if item.content_type or item.metadata:
            arguments |= self._written_with(item, bucket) | {"MetadataDirective": "REPLACE"}
        done = client.copy_object(
            Bucket=self.bucket,
            Key=item.key,
            CopySource={"Bucket": bucket, "Key": origin.key},
            **arguments,
        )
        etag = done.get("CopyObjectResult", {}).get("ETag", "").strip('"')
        if origin.etag and is_md5(origin.etag) and is_md5(etag) and etag != origin.etag:
            # The store took no notice of the condition, or encrypts one of the two.
            now = client.head_object(Bucket=bucket, Key=origin.key)["ETag"].strip('"')
            if now != origin.etag:
                raise StoreError(f"{origin.key} has changed since it was listed")

    def _part_size(self, bucket: str, origin: Entry) -> int | None:
        """Return in which parts to copy, in bytes; None for a copy in one piece.

        What came in parts is copied in the same ones, and so has the same ETag.
        """
        usual = _PART_OF_COPY if origin.size > _LARGEST_COPY else None
        count = parts_in(origin.etag or "")
        if count is None or not self.clients.provider.multipart_copy:
            return usual
        with closing(api_of(self.clients, bucket)) as api:
            told = self._told_part_size(api, bucket, origin, count)
        likely = plausible_part_sizes(origin.size, count)
        return told or (likely[0] if likely else usual)

    def _told_part_size(self, api: Api, bucket: str, entry: Entry, count: int) -> int | None:
        call = functools.partial(told_part_size, api, entry, count)
        try:
            return patiently(call, self._stop, self.clients.connection.patience_s)
        except Failed as failed:
            what = f"cannot look at s3://{bucket}/{entry.key}{self.clients.at}"
            raise failed.error(what) from None

    def _copy_in_parts(
        self, item: CopyItem, bucket: str, part_size: int, arguments: dict[str, Any]
    ) -> None:
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - with boto3

        # It is a new object, to which the store carries nothing over.
        self.clients.client().copy(
            {"Bucket": bucket, "Key": item.origin.key},
            self.bucket,
            item.key,
            ExtraArgs={**self._written_with(item, bucket), **arguments},
            Config=TransferConfig(multipart_threshold=1, multipart_chunksize=part_size),
        )

    def _written_with(self, item: CopyItem, bucket: str) -> dict[str, Any]:
        """Return the type and metadata of a copy: the origin's, but for what is asked for."""
        head = self.clients.client().head_object(Bucket=bucket, Key=item.origin.key)
        metadata = {name.lower(): text for name, text in head["Metadata"].items()}
        return {
            "ContentType": item.content_type or head["ContentType"],
            "Metadata": {**metadata, **item.metadata},
        }

    def _delete(self, key: str) -> Outcome:
        try:
            self._asked("delete", key, functools.partial(self._api.call, "DELETE", key))
        except BucketNotFound as error:
            return Outcome(key, 0, error)
        except NotFound:
            pass
        except IngestError as error:
            return Outcome(key, 0, error)
        return Outcome(key, 0)

    def _delete_batch(self, keys: Sequence[str], how: Transfer) -> Iterator[Outcome]:
        # XML cannot carry every character, and some stores know no delete of many.
        single = [key for key in keys if not self.clients.provider.bulk_delete or not fits_xml(key)]
        yield from in_threads(self._delete, single, how.threads)
        alone = set(single)
        together = [key for key in keys if key not in alone]
        if not together:
            return
        try:
            answer: Any = self.clients.client().delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in together]}
            )
        except Exception as error:  # noqa: BLE001 - told for each of the keys
            if code_of(error) in _NO_BULK_DELETE:
                yield from in_threads(self._delete, together, how.threads)
                return
            for key in together:
                yield Outcome(key, 0, self._error("delete", key, error))
            return
        failed = {problem["Key"]: problem for problem in answer.get("Errors", ())}
        for key in together:
            problem = failed.get(key)
            yield Outcome(key, 0, self._refusal(key, problem) if problem else None)

    def _refusal(self, key: str, problem: dict[str, str]) -> IngestError:
        what = f"cannot delete {self.url}/{key}{self.clients.at}"
        return error_of(what, problem.get("Code", ""), problem.get("Message", ""), 0)

    def _outcome(self, verb: str, name: str, key: str, done: Outcome | Exception) -> Outcome:
        if isinstance(done, Outcome):
            return done
        return Outcome(name, 0, self._error(verb, key, done))

    def _asked(self, verb: str, key: str, call: Callable[[], _T]) -> _T:
        """Return what ``call`` does, which may be called again. Raises this package's errors."""
        if not key:  # a request without one is about the bucket itself
            raise self._error(verb, key, StoreError("a key is not empty"))
        try:
            return patiently(call, self._stop, self.clients.connection.patience_s)
        except Exception as error:  # noqa: BLE001 - translated
            raise self._error(verb, key, error) from None

    def _error(self, verb: str, key: str, error: Exception) -> IngestError:
        what = f"cannot {verb} {self.url}/{key}"
        if isinstance(error, Failed):
            return error.error(f"{what}{self.clients.at}")
        if isinstance(error, Halt):
            error = StoreError("the transfer was stopped")
        if isinstance(error, OSError) and error.filename is not None:
            error = StoreError(f"cannot read {error.filename}: {error.strerror}")
        if type(error) is StoreError and not error.is_local and self.url not in error.message:
            return StoreError(f"{what}{self.clients.at}: {error.message}", hint=error.hint)
        return translate(f"{what}{self.clients.at}", error)


def _width(how: Transfer) -> int:
    """Return how many small items go together; where a limit holds each back, none waits for it."""
    return max(how.threads // BURSTS, 1) if how.pace is PLAIN.pace else 1


def _attempted(
    work: Callable[[list[_T]], list[Outcome | Exception]],
) -> Callable[[list[_T]], tuple[list[_T], list[Outcome | Exception]]]:
    """Return ``work`` with what it was done with; what it raises is what became of each."""

    def attempt(burst: list[_T]) -> tuple[list[_T], list[Outcome | Exception]]:
        try:
            return burst, work(burst)
        except Exception as error:  # noqa: BLE001 - told for each
            return burst, [error] * len(burst)

    return attempt


def _place(bucket: str, clients: Clients) -> Place:
    from ingest.storage.pages import ListingStyle, Place  # noqa: PLC0415 - as above

    provider = clients.provider
    path_style = clients.is_path_style(bucket)
    return Place(
        bucket,
        clients.access_key,
        clients.connection.endpoint_url,
        clients.region,
        ListingStyle(provider.list_version, provider.list_url_encode, path_style),
    )
