"""Versions of objects: what a bucket still has of its keys, and deleting it for good.

A plain delete in a bucket that keeps versions only hides an object behind a delete marker.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ingest.errors import CredentialsRefused
from ingest.storage.answers import client_errors, code_of, error_of, status_of, translate
from ingest.storage.base import PLAIN
from ingest.storage.bulk import in_threads
from ingest.storage.sending import fits_xml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.errors import IngestError
    from ingest.storage.connection import Clients

_BATCH = 1_000
"""The most versions that one request may delete."""
_ABSENT = frozenset({"NotImplemented", "MethodNotAllowed", "XNotImplemented"})
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
_HINT = "the key may lack s3:ListBucketVersions: without it nobody knows what older versions exist"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, of ``size`` bytes or, with ``marker``, a delete marker.

    ``id`` is None where the store tells of no versions, and ``null`` where an object was written
    while its bucket kept none. The ``latest`` one of a key is what a plain read finds.
    ``modified`` is in seconds of Unix time, where it is told.
    """

    key: str
    id: str | None = None
    size: int = 0
    latest: bool = True
    marker: bool = False
    modified: float | None = None


Deleted = tuple[Version, "IngestError | None"]
"""A version, and the error where it could not be deleted."""


def list_versions(clients: Clients, bucket: str, prefix: str) -> Iterator[Version] | None:
    """Return every version and delete marker of the keys that begin with ``prefix``.

    Returns None where the store does not have the operation. A bucket that never kept versions
    has one of each object. Raises, at once or as it is read, ``BucketNotFound``,
    ``CredentialsRefused`` and ``StoreError``.
    """
    pages = clients.client().get_paginator("list_object_versions")
    answers = iter(pages.paginate(Bucket=bucket, Prefix=prefix))
    try:
        first: Any = next(answers)
    except client_errors() as error:
        if is_absent(error):
            return None
        failure = _listing_error(clients, bucket, error)
    else:
        return _versions(clients, bucket, chain([first], answers))
    raise failure


def _versions(clients: Clients, bucket: str, pages: Iterator[Any]) -> Iterator[Version]:
    try:
        for page in pages:
            for name in ("Versions", "DeleteMarkers"):
                for each in page.get(name, ()):
                    yield _version(each, marker=name == "DeleteMarkers")
    except client_errors() as error:
        failure = _listing_error(clients, bucket, error)
    else:
        return
    raise failure


def _version(listed: Any, *, marker: bool) -> Version:  # noqa: ANN401 - boto3's, of two types
    return Version(
        listed["Key"],
        listed.get("VersionId", "null"),
        listed.get("Size", 0),
        listed.get("IsLatest", True),
        marker,
        listed["LastModified"].timestamp() if "LastModified" in listed else None,
    )


def _listing_error(clients: Clients, bucket: str, error: Exception) -> IngestError:
    failure = translate(f"cannot list the versions of s3://{bucket}{clients.at}", error)
    if code_of(error) == "AccessDenied":
        return CredentialsRefused(failure.message, hint=_HINT)
    return failure


def is_absent(error: Exception) -> bool:
    """Whether botocore's ``error`` says that the store does not have the operation at all."""
    gone = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.METHOD_NOT_ALLOWED}
    return code_of(error) in _ABSENT or status_of(error) in gone


def delete_versions(
    clients: Clients, bucket: str, versions: Iterable[Version]
) -> Iterator[Deleted]:
    """Delete ``versions``, which have ids, for good; yield what became of each.

    One that does not exist counts as deleted, and one that an answer does not name is asked for
    by itself. In which order they are deleted is left to the store.
    """
    remaining = iter(versions)
    while batch := list(islice(remaining, _BATCH)):
        yield from _delete_batch(clients, bucket, batch)


def _delete_batch(clients: Clients, bucket: str, versions: Sequence[Version]) -> Iterator[Deleted]:
    client = clients.client()

    def delete(version: Version) -> Deleted:
        try:
            client.delete_object(Bucket=bucket, Key=version.key, VersionId=version.id or "null")
        except client_errors() as error:
            if code_of(error) not in _GONE:
                return version, translate(_what(clients, bucket, version), error)
        return version, None

    answer: Any = {}
    # XML cannot carry every character, and some stores know no delete of many.
    if clients.provider.bulk_delete and all(fits_xml(each.key) for each in versions):
        listed: Any = [{"Key": each.key, "VersionId": each.id} for each in versions]
        with suppress(*client_errors()):  # what is the matter is told by each of them
            answer = client.delete_objects(Bucket=bucket, Delete={"Objects": listed})
    done = {(each["Key"], each.get("VersionId")) for each in answer.get("Deleted", ())}
    refused = {(each["Key"], each.get("VersionId")): each for each in answer.get("Errors", ())}
    silent = []
    for version in versions:
        if problem := refused.get((version.key, version.id)):
            yield version, _refusal(clients, bucket, version, problem)
        elif not done.isdisjoint({(version.key, version.id), (version.key, None)}):
            yield version, None
        else:
            silent.append(version)
    yield from in_threads(delete, silent, min(PLAIN.threads, len(silent)))


def _refusal(
    clients: Clients, bucket: str, version: Version, problem: dict[str, str]
) -> IngestError | None:
    if problem.get("Code") in _GONE:
        return None
    what = _what(clients, bucket, version)
    return error_of(what, problem.get("Code", ""), problem.get("Message", ""), 0)


def _what(clients: Clients, bucket: str, version: Version) -> str:
    return f"cannot delete s3://{bucket}/{version.key} version {version.id}{clients.at}"
