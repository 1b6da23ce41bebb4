"""Uploads in parts that were begun and neither completed nor aborted, as a store tells of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_plus

from ingest.errors import StoreError
from ingest.storage.answers import Failed
from ingest.storage.attempts import Stop, retried

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ingest.errors import IngestError
    from ingest.storage.api import Answer, Api

_T = TypeVar("_T")

_CHECKSUMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An unfinished upload; ``initiated`` is the store's, in seconds of Unix time."""

    key: str
    upload_id: str
    initiated: float
    storage_class: str


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has: bytes, its ETag without quotes, and its checksums.

    The checksums have the names of their elements, such as ``ChecksumCRC32``: S3 wants those of
    each part again on completion.
    """

    size: int
    etag: str
    checksums: Mapping[str, str]

    @classmethod
    def sent(cls, answer: Answer, size: int) -> StoredPart:
        """Take what there is of a part from the answer to its upload."""
        told = ((name, answer.headers.get(f"x-amz-checksum-{name}")) for name in _CHECKSUMS)
        checksums = {f"Checksum{name}": value for name, value in told if value}
        return cls(size, answer.etag, checksums)

    @classmethod
    def listed(cls, part: ET.Element) -> StoredPart:
        """Take what there is of a part from a list of them."""
        told = ((f"Checksum{name}", part.findtext(f"{{*}}Checksum{name}")) for name in _CHECKSUMS)
        checksums = {name: value for name, value in told if value}
        return cls(_read(int, part, "Size"), part.findtext("{*}ETag", "").strip('"'), checksums)


@dataclass(frozen=True, slots=True)
class Target:
    """An object, or a prefix, and what is to be done with it; ``verb`` is for errors."""

    api: Api
    bucket: str
    key: str
    verb: str = "write"

    @property
    def what(self) -> str:
        """What failed, for the beginning of an error."""
        return f"cannot {self.verb} s3://{self.bucket}/{self.key}{self.api.at}"

    def error(self, reason: str) -> StoreError:
        """Return an error of our own finding."""
        return StoreError(f"{self.what}: {reason}")


def stale_uploads(api: Api, bucket: str, prefix: str, older_than_s: float) -> Iterator[Unfinished]:
    """Yield the unfinished uploads, begun so many seconds ago, of keys that begin with ``prefix``.

    Ages are by this machine's clock. Raises ``StoreError``, ``NotFound`` or
    ``CredentialsRefused``.
    """
    latest = time.time() - older_than_s
    try:
        for upload in unfinished_uploads(api, prefix):
            if upload.initiated <= latest:
                yield upload
    except Failed as failed:
        failure = failed.error(Target(api, bucket, prefix, "list the unfinished uploads of").what)
    else:
        return
    raise failure


def abort_uploads(
    api: Api, bucket: str, uploads: Iterable[Unfinished]
) -> Iterator[tuple[Unfinished, IngestError | None]]:
    """Abort uploads one by one; yield each with None, or with the error where it failed.

    One that exists no more counts as aborted.
    """
    for upload in uploads:
        target = Target(api, bucket, upload.key, "abort the unfinished upload of")
        yield upload, abort(target, upload.upload_id)


def abort(target: Target, upload_id: str) -> IngestError | None:
    """Abort one upload; return the error where it failed."""
    try:
        target.api.call("DELETE", target.key, {"uploadId": upload_id})
    except Failed as failed:
        return None if failed.code == "NoSuchUpload" else failed.error(target.what)
    return None


def unfinished_uploads(api: Api, prefix: str, stop: Stop | None = None) -> Iterator[Unfinished]:
    """Yield the unfinished uploads of keys that begin with ``prefix``.

    Raises ``Failed``, and ``Halt`` once the work is to ``stop``.
    """
    # Asked for only where it has to be: some stores lose their way in an encoded list.
    encoded = any(char < " " for char in prefix)
    query = {"uploads": "", "prefix": prefix} | ({"encoding-type": "url"} if encoded else {})
    seen = set()
    while True:
        try:
            page = _page(api, "", query, stop)
        except Failed as failed:
            if failed.code == "NoSuchUpload":  # what rclone answers where there are none
                return
            raise
        plain = page.findtext("{*}EncodingType") != "url"
        for upload in page.iterfind("{*}Upload"):
            yield Unfinished(
                _name(upload, "Key", plain=plain),
                upload.findtext("{*}UploadId", ""),
                _read(_seconds, upload, "Initiated"),
                upload.findtext("{*}StorageClass") or "STANDARD",
            )
        following = (
            _name(page, "NextKeyMarker", plain=plain),
            page.findtext("{*}NextUploadIdMarker", ""),
        )
        if not _is_truncated(page) or following in seen:
            return
        seen.add(following)
        query |= {"key-marker": following[0], "upload-id-marker": following[1]}


def stored_parts(target: Target, upload_id: str, stop: Stop | None = None) -> dict[int, StoredPart]:
    """Return the parts that the store has, by number; none where the upload is gone by now.

    Raises as ``unfinished_uploads`` does.
    """
    stored: dict[int, StoredPart] = {}
    marker = 0
    while True:
        query = {"uploadId": upload_id, "part-number-marker": str(marker)}
        try:
            page = _page(target.api, target.key, query, stop)
        except Failed as failed:
            if failed.code == "NoSuchUpload":
                return {}
            raise
        for part in page.iterfind("{*}Part"):
            stored[_read(int, part, "PartNumber")] = StoredPart.listed(part)
        if not _is_truncated(page):
            return stored
        following = _read(int, page, "NextPartNumberMarker")
        if following <= marker:
            return stored
        marker = following


def _page(api: Api, key: str, query: Mapping[str, str], stop: Stop | None) -> ET.Element:
    stop = stop or Stop(threading.Event())
    return retried(lambda: api.call("GET", key, query).document, stop)


def _is_truncated(page: ET.Element) -> bool:
    return page.findtext("{*}IsTruncated", "").strip() == "true"


def _name(element: ET.Element, tag: str, *, plain: bool) -> str:
    text = element.findtext(f"{{*}}{tag}", "")
    return text if plain else unquote_plus(text, errors="surrogateescape")


def _read(kind: Callable[[str], _T], element: ET.Element, tag: str) -> _T:
    text = element.findtext(f"{{*}}{tag}", "")
    try:
        return kind(text)
    except ValueError:
        raise Failed("", f"the list cannot be read: {tag} is {text!r}") from None


def _seconds(moment: str) -> float:
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
