"""What an appliance tells of an object without its content."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound, NotFound, StoreError
from ingest.storage.base import Entry, Head
from ingest.storage.spectra import metadata
from ingest.storage.spectra.documents import seconds
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.wire import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.storage.spectra.place import Place

_OFFSET = "ds3-blob-checksum-offset-"


@dataclass(frozen=True, slots=True)
class Listed(Entry):
    """An object of a listing, with the id of its version where the appliance tells it.

    One that is not ``is_latest`` was replaced, or deleted, and is kept.
    """

    version_id: str | None = None
    is_latest: bool = True


@dataclass(frozen=True, slots=True)
class ObjectHead(Head):
    """An object with all that is told of it; ``checksums`` are of its blobs, in base64.

    ``checksum_type`` is what a data policy calls their kind.
    """

    version_id: str | None = None


def head_of(place: Place, key: str, version_id: str | None = None) -> ObjectHead:
    """Return what is known of an object, or a version of it. Raises what the wire raises."""
    query: dict[str, str | None] = {"version_id": version_id} if version_id else {}
    what = place.what("look at", key)
    found = place.wire.call(Request(what, "HEAD", place.path(key), query), Stop()).headers
    told = metadata.read(found)
    content_type = told.pop(metadata.TYPE, None) or found.get("content-type")
    size = found.get("content-length", "")
    if not size.isdecimal():
        raise StoreError(f"{what}{place.wire.at}: it does not say how many bytes it has")
    return ObjectHead(
        key=key,
        size=int(size),
        modified=_modified(found),
        etag=found.get("etag", "").strip('"') or None,
        content_type=content_type,
        metadata=told,
        version_id=found.get("version-id"),
        checksum_type=found.get("ds3-blob-checksum-type", "NONE"),
        checksums={
            int(offset): text
            for name, text in found.items()
            if (offset := name.removeprefix(_OFFSET)).isdecimal()
        },
    )


def head_as_listed(place: Place, entry: Entry) -> ObjectHead:
    """Return what is known of exactly ``entry``.

    Raises ``NotFound`` where it is gone, ``StoreError`` where it is another by now.
    """
    changed = StoreError(f"{place.url}/{entry.key} has changed since it was listed")
    version_id = version_of(entry)
    try:
        head = head_of(place, entry.key, version_id)
    except BucketNotFound:
        raise
    except NotFound:
        if version_id is None:
            raise
        head_of(place, entry.key)  # raises where there is no version of it
        raise changed from None
    etags = {entry.etag, head.etag} - {None}
    if head.size != entry.size or len(etags) > 1:
        raise changed
    return head


def version_of(entry: Entry) -> str | None:
    """Return which version of an object was listed, where that is known."""
    return entry.version_id if isinstance(entry, Listed | ObjectHead) else None


def _modified(found: Mapping[str, str]) -> float:
    """Return when the object was made, as versions 5 tell it, or S3 does; 0 where neither does."""
    if moment := found.get("creation-date"):
        return seconds(moment)
    try:
        return parsedate_to_datetime(found.get("last-modified", "")).timestamp()
    except ValueError:
        return 0.0
