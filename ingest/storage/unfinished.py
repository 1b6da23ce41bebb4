"""Uploads in parts that were begun and neither completed nor aborted, by a boto3 client.

boto3 itself is not loaded with this module. ``ingest.storage.uploads`` does without it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from ingest.errors import StoreError
from ingest.storage.answers import error_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client

    from ingest.errors import IngestError


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An unfinished upload; ``initiated`` is the store's, in seconds of Unix time."""

    key: str
    upload_id: str
    initiated: float
    storage_class: str


@dataclass(frozen=True, slots=True)
class Target:
    """An object, or a prefix, and what is to be done with it; ``verb`` is for errors."""

    client: S3Client
    bucket: str
    key: str
    verb: str = "write"

    @property
    def where(self) -> dict[str, Any]:
        """Bucket and key as arguments of the client's methods."""
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def what(self) -> str:
        """What failed, for the beginning of an error."""
        endpoint = self.client.meta.endpoint_url
        return f"cannot {self.verb} s3://{self.bucket}/{self.key} at {endpoint}"

    def error(self, reason: str) -> StoreError:
        """Return an error of our own finding."""
        return StoreError(f"{self.what}: {reason}")

    def translated(self, error: Exception) -> IngestError:
        """Return the error of this package for one of botocore's."""
        answer = _answer(error)
        if not answer:
            return self.error(str(error).partition("\n")[0])
        message = str(answer.get("Error", {}).get("Message", ""))
        return error_of(self.what, code_of(error), message, status_of(error))


def stale_uploads(
    client: S3Client, bucket: str, prefix: str, older_than_s: float
) -> Iterator[Unfinished]:
    """Yield the unfinished uploads, begun so many seconds ago, of keys that begin with ``prefix``.

    Ages are by this machine's clock. Raises ``StoreError``, ``NotFound`` or
    ``CredentialsRefused``.
    """
    latest = time.time() - older_than_s
    try:
        for upload in unfinished_uploads(client, bucket, prefix):
            if upload.initiated <= latest:
                yield upload
    except client_errors() as error:
        target = Target(client, bucket, prefix, "list the unfinished uploads of")
        failure = target.translated(error)
    else:
        return
    raise failure


def abort_uploads(
    client: S3Client, bucket: str, uploads: Iterable[Unfinished]
) -> Iterator[tuple[Unfinished, IngestError | None]]:
    """Abort uploads one by one; yield each with None, or with the error where it failed.

    One that exists no more counts as aborted.
    """
    for upload in uploads:
        target = Target(client, bucket, upload.key, "abort the unfinished upload of")
        yield upload, abort(target, upload.upload_id)


def abort(target: Target, upload_id: str) -> IngestError | None:
    """Abort one upload; return the error where it failed."""
    try:
        target.client.abort_multipart_upload(**target.where, UploadId=upload_id)
    except client_errors() as error:
        return None if code_of(error) == "NoSuchUpload" else target.translated(error)
    return None


def unfinished_uploads(client: S3Client, bucket: str, prefix: str) -> Iterator[Unfinished]:
    """Yield the unfinished uploads of keys that begin with ``prefix``; errors are botocore's."""
    # Asked for only where it has to be: some stores lose their way in an encoded list.
    encoded = any(char < " " for char in prefix)
    options: dict[str, Any] = {"EncodingType": "url"} if encoded else {}
    seen = set()
    while True:
        try:
            page = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, **options)
        except client_errors() as error:
            if code_of(error) == "NoSuchUpload":  # what rclone answers where there are none
                return
            raise
        plain = page.get("EncodingType") != "url"
        for upload in page.get("Uploads", ()):
            yield Unfinished(
                upload["Key"] if plain else unquote_plus(upload["Key"]),
                upload["UploadId"],
                upload["Initiated"].timestamp(),
                upload.get("StorageClass") or "STANDARD",
            )
        key = page.get("NextKeyMarker", "")
        following = key if plain else unquote_plus(key), page.get("NextUploadIdMarker", "")
        if not page.get("IsTruncated") or following in seen:
            return
        seen.add(following)
        options |= {"KeyMarker": following[0], "UploadIdMarker": following[1]}


def client_errors() -> tuple[type[Exception], ...]:
    """Return the errors that a client of boto3's raises."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - loads late

    return BotoCoreError, ClientError


def code_of(error: Exception) -> str:
    """Return the store's code, empty where it gave none."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """Return the HTTP status, 0 where there was no answer."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: Exception) -> dict[str, Any]:
    # An error of the connection has the field, too: it is None.
    return getattr(error, "response", None) or {}
