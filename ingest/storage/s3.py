"""A bucket of an S3-compatible store.

Object bodies travel through ``obstore``, which moves small objects ten times as fast as boto3. Its
keys are not exact, so that an odd key goes through boto3, and so does everything obstore has not:
parts of a large upload, canned ACLs, deletes by the thousand. ``sending`` sends what is to be
written, ``receiving`` fetches; this module is the store that is made of them.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import InvalidPathError

from ingest.errors import BucketNotFound, IngestError, NotFound
from ingest.storage.answers import error_of, translate
from ingest.storage.base import PLAIN, Head, Outcome, Transfer
from ingest.storage.bulk import in_threads
from ingest.storage.receiving import Receiver
from ingest.storage.sending import Sender, Writing, has_controls, is_odd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.landing import Landing
    from ingest.storage.base import CopyItem, Entry, GetItem, Prefix, PutItem
    from ingest.storage.connection import Clients
    from ingest.storage.listing import Place

_DELETE_BATCH = 1_000
_FEW = 10
"""So many deletes cost less one by one than boto3 costs to load."""
_PIECE = 1024**2
_LARGEST_COPY = 5 * 1024**3


class S3Store:
    """Objects of one bucket."""

    def __init__(self, bucket: str, clients: Clients, writing: Writing | None = None) -> None:
        """Make no request yet. Raises ``SettingsError`` where no credentials are to be found."""
        self.bucket = bucket
        self.clients = clients
        self._writing = writing or Writing()
        self._objects = clients.objects(bucket, **self._writing.store_options())

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
        try:
            found = self.clients.client().head_object(Bucket=self.bucket, Key=key)
        except Exception as error:  # noqa: BLE001 - translated
            raise self._error("look at", key, error) from None
        return Head(
            key=key,
            size=found["ContentLength"],
            modified=found["LastModified"].timestamp(),
            etag=found.get("ETag", "").strip('"') or None,
            content_type=found.get("ContentType"),
            # Header names have no case, and some servers write them as titles.
            metadata={name.lower(): text for name, text in found.get("Metadata", {}).items()},
        )

    def read(self, key: str) -> bytes:
        """Return an object's content."""
        try:
            if is_odd(key):
                answer = self.clients.client().get_object(Bucket=self.bucket, Key=key)
                return answer["Body"].read()
            return bytes(obstore.get(self._objects, key).bytes())
        except Exception as error:  # noqa: BLE001 - translated
            raise self._error("read", key, error) from None

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield an object's content piece by piece. Raises ``NotFound``."""
        try:
            answer = self.clients.client().get_object(Bucket=self.bucket, Key=key)
            yield from answer["Body"].iter_chunks(_PIECE)
        except Exception as error:  # noqa: BLE001 - translated
            raise self._error("read", key, error) from None

    def names(self, directory: str) -> set[str]:
        """Return the keys directly in ``directory``, without loading boto3 where all are plain."""
        try:
            found = obstore.list_with_delimiter(self._objects, directory)["objects"]
            return {entry["path"] for entry in found}
        except InvalidPathError:
            # One odd key, put there by somebody else, makes obstore refuse the whole list.
            return {entry.key for entry in self.list_directory(directory)}
        except Exception as error:  # noqa: BLE001 - translated
            raise self._error("list", directory, error) from None

    def put_many(self, items: Iterable[PutItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Write items side by side; a large file goes in parts, one such file after the other."""
        sender = Sender(self.bucket, self.clients, self._objects, self._writing, how)

        def put(item: PutItem) -> Outcome:
            try:
                return sender.put(item)
            except Exception as error:  # noqa: BLE001 - translated
                return Outcome(item.key, 0, self._error("write", item.key, error))

        return in_threads(put, items, how.threads)

    def get_many(
        self, items: Iterable[GetItem], landing: Landing, how: Transfer = PLAIN
    ) -> Iterator[Outcome]:
        """Fetch items side by side; a large object in parts, one such object after the other."""
        receiver = Receiver(self.bucket, self.clients, self._objects, landing, how)

        def get(item: GetItem) -> Outcome:
            try:
                return receiver.get(item)
            except Exception as error:  # noqa: BLE001 - translated
                return Outcome(item.path, 0, self._error("read", item.entry.key, error))

        return in_threads(get, items, how.threads)

    def copy_many(self, items: Iterable[CopyItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Copy within the store, with metadata; above 5 GiB in parts."""

        def copy(item: CopyItem) -> Outcome:
            how.pace(0)
            try:
                self._copy(item)
            except Exception as error:  # noqa: BLE001 - translated
                return Outcome(item.key, 0, self._error("copy to", item.key, error))
            how.moved(item.origin.size)
            return Outcome(item.key, item.origin.size)

        return in_threads(copy, items, how.threads)

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
            yield from map(self._delete, first)
            return
        batch = first + list(islice(remaining, _DELETE_BATCH - _FEW))
        while batch and not how.cancelled.is_set():
            yield from self._delete_batch(batch, how)
            batch = list(islice(remaining, _DELETE_BATCH))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects below ``prefix``; ``ingest.storage.listing`` says what is checked."""
        from ingest.storage import listing  # noqa: PLC0415 - as above

        return listing.list_objects(_place(self.bucket, self.clients), prefix)

    def _copy(self, item: CopyItem) -> None:
        origin: Any = {"Bucket": item.bucket or self.bucket, "Key": item.origin.key}
        plain = not is_odd(item.origin.key) and not is_odd(item.key) and not self._writing.acl
        if plain and origin["Bucket"] == self.bucket and item.origin.size < _LARGEST_COPY:
            obstore.copy(self._objects, item.origin.key, item.key)
            return
        self.clients.client().copy(
            origin, self.bucket, item.key, ExtraArgs=self._writing.copy_arguments()
        )

    def _delete(self, key: str) -> Outcome:
        try:
            if is_odd(key):
                self.clients.client().delete_object(Bucket=self.bucket, Key=key)
            else:
                obstore.delete(self._objects, key)
        except Exception as error:  # noqa: BLE001 - translated
            failure = self._error("delete", key, error)
            if isinstance(failure, BucketNotFound) or not isinstance(failure, NotFound):
                return Outcome(key, 0, failure)
        return Outcome(key, 0)

    def _delete_batch(self, keys: Sequence[str], how: Transfer) -> Iterator[Outcome]:
        # XML cannot carry control characters, and some stores know no delete of many.
        single = [key for key in keys if not self.clients.provider.bulk_delete or has_controls(key)]
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
            failure = self._error("delete", together[0], error)
            yield from (Outcome(key, 0, failure) for key in together)
            return
        failed = {problem["Key"]: problem for problem in answer.get("Errors", ())}
        for key in together:
            problem = failed.get(key)
            yield Outcome(key, 0, self._refusal(key, problem) if problem else None)

    def _refusal(self, key: str, problem: dict[str, str]) -> IngestError:
        what = f"cannot delete {self.url}/{key}{self.clients.at}"
        return error_of(what, problem.get("Code", ""), problem.get("Message", ""), 0)

    def _error(self, verb: str, key: str, error: Exception) -> IngestError:
        return translate(f"cannot {verb} {self.url}/{key}{self.clients.at}", error)


def _place(bucket: str, clients: Clients) -> Place:
    from ingest.storage.listing import ListingStyle, Place  # noqa: PLC0415 - as above

    provider = clients.provider
    path_style = clients.is_path_style(bucket)
    return Place(
        bucket,
        clients.access_key,
        clients.connection.endpoint_url,
        clients.region,
        ListingStyle(provider.list_version, provider.list_url_encode, path_style),
    )
