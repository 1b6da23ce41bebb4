"""Objects first, their manifest last: how what was fetched lands whole or not at all.

A place is a directory of a lake, with objects of one run and the manifest that commits them.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ingest import rawzone
from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    IngestError,
    NotFound,
    StoreError,
)
from ingest.uploader import Upload, delete, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.rawzone import Manifest
    from ingest.storage.base import Lake


class Place(Protocol):
    """Where something lands: a partition of a day, or a window of a backfill."""

    @property
    def directory(self) -> str:
        """The prefix of all keys of the place; ends in ``/``."""

    @property
    def manifest_key(self) -> str:
        """The key of the manifest, beside the objects."""

    def owns(self, key: str) -> bool:
        """Whether ``key`` is one that a run makes here, in any format and of any part."""

    def parse_manifest(self, body: bytes | None) -> Manifest | None:
        """Return the manifest in ``body``, or None: then nothing is committed here."""


def commit(
    stores: Sequence[Lake],
    place: Place,
    uploads: Sequence[Upload],
    document: Callable[[], Manifest],
) -> Manifest:
    """Land ``uploads`` in every store: objects first, then their manifest, the last store's last.

    ``document`` is called once the objects have landed. What else a run has made in ``place`` goes.
    Raises ``StoreError`` where it could not be done, or where another run did the same meanwhile.
    """
    keys = {item.key for item in uploads}
    for store in stores:
        with _withdrawn(store, place) as there:
            upload(store, uploads)
        # Before the manifest: afterwards, nobody would come back for what a failure left.
        delete(store, there - keys)
    manifest = document()
    body = rawzone.encode_manifest(manifest)
    for store in stores:
        upload(store, [Upload(place.manifest_key, body, "application/json")])
        _confirm(store, place, manifest)
    return manifest


def read_manifest(store: Lake, place: Place) -> bytes | None:
    """Return the manifest of ``place`` as it is, None where there is none; see ``read_or_none``."""
    return read_or_none(store, place.manifest_key)


def read_or_none(store: Lake, key: str) -> bytes | None:
    """Return an object of a directory of our own, None where it is not there.

    Raises ``StoreError`` where the store cannot tell: a bucket that does not exist among them.
    """
    try:
        return store.read(key)
    except BucketNotFound:
        raise
    except NotFound:
        return None
    except CredentialsRefused:
        # Whoever may list nothing but this prefix is perhaps not told that it is not there.
        with suppress(IngestError):
            if key not in store.names(key.rpartition("/")[0] + "/"):
                return None
        raise


@contextmanager
def _withdrawn(store: Lake, place: Place) -> Iterator[set[str]]:
    """Take the manifest of ``place`` away, if there is one; yield the objects that are there.

    Those are told by their names alone, not by the manifest: objects of a run that never came to
    its manifest are among them, and no file of anybody else's. Where nothing could be written,
    on a full disk say, and what the manifest commits is still as it was, it is put back.
    """
    keys = store.names(place.directory)
    body = read_manifest(store, place) if place.manifest_key in keys else None
    if place.manifest_key in keys:
        delete(store, [place.manifest_key])
    try:
        yield {key for key in keys if place.owns(key)}
    except IngestError:
        if body and is_intact(store, place.parse_manifest(body)):
            upload(store, [Upload(place.manifest_key, body, "application/json")])
        raise


def _confirm(store: Lake, place: Place, document: Manifest) -> None:
    """Raise unless ``document`` and what it commits are in ``store``, and nothing else of a run.

    Another run may have written the same place at the same time; then the manifest of one would
    speak of the objects of the other, or those would lie beside its own. It is taken away.
    """
    found = place.parse_manifest(read_manifest(store, place))
    if found and found["run_id"] == document["run_id"] and is_intact(store, found):
        there = {key for key in store.names(place.directory) if place.owns(key)}
        if there == {entry["key"] for entry in found["objects"]}:
            return
    if found and found["run_id"] == document["run_id"]:
        delete(store, [place.manifest_key])
    raise StoreError(
        f"{store.url}/{place.directory} was written by another run at the same time",
        hint="run it again",
    )


def is_intact(store: Lake, committed: Manifest | None) -> bool:
    """Whether the objects that a manifest commits have the content it says."""
    try:
        return committed is not None and all(
            hashlib.sha256(store.read(entry["key"])).hexdigest() == entry["sha256"]
            for entry in committed["objects"]
        )
    except (IngestError, KeyError):
        return False
