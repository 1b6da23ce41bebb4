"""Buckets as a whole, links to objects, and uploads that were left unfinished."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ingest.errors import CredentialsRefused, StoreError, UsageError
from ingest.storage.answers import Failed, client_errors, code_of, translate
from ingest.storage.api import api_of
from ingest.storage.base import Outcome
from ingest.storage.s3 import S3Store
from ingest.storage.uploads import abort_uploads, stale_uploads, unfinished_uploads
from ingest.storage.versions import delete_versions, list_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from mypy_boto3_s3.type_defs import PaginatorConfigTypeDef

    from ingest.errors import IngestError
    from ingest.storage.connection import Clients
    from ingest.storage.uploads import Unfinished

LONGEST_EXPIRY_S = 604_800
"""Seven days: S3 takes no signature of version 4 for longer."""

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60}
_BUCKETS_A_PAGE = 1_000
_NO_UPLOADS = frozenset({"MethodNotAllowed", "NotImplemented", "XNotImplemented"})
_NO_SUCH_CALL = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.METHOD_NOT_ALLOWED})


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that the credentials own; ``created`` is in UTC, as ISO 8601 has it."""

    name: str
    created: str | None


def list_buckets(clients: Clients) -> Iterator[Bucket]:
    """Yield the buckets that the credentials own, in the store's order.

    Raises ``CredentialsRefused``, also for keys that may use a bucket but not list all of them,
    and ``StoreError``.
    """
    # AWS has no end of an account with more than 10,000 unless it is asked for pages; others
    # need not know the parameter.
    aws = clients.provider.name == "aws"
    paging: PaginatorConfigTypeDef = {"PageSize": _BUCKETS_A_PAGE} if aws else {}
    try:
        pages = clients.client().get_paginator("list_buckets")
        for page in pages.paginate(PaginationConfig=paging):
            if not page.keys() & {"Buckets", "Owner"}:  # a web site's page, say
                raise StoreError(
                    f"cannot list the buckets{clients.at}: the answer is no list of buckets",
                    hint="is ENDPOINT_URL the address of an S3 API?",
                )
            for each in page.get("Buckets", ()):
                yield Bucket(each["Name"], _iso(each.get("CreationDate")))
    except client_errors() as error:
        failure = translate(f"cannot list the buckets{clients.at}", error)
        if code_of(error) == "AccessDenied":
            hint = "keys that are limited to some buckets may not list them: name one"
            failure = CredentialsRefused(failure.message, hint=hint)
    except TypeError:  # botocore's own, where it looks for the bucket to follow a redirect
        reason = "PermanentRedirect: it is to be asked elsewhere"
        failure = StoreError(f"cannot list the buckets{clients.at}: {reason}")
    else:
        return
    raise failure


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def make_bucket(clients: Clients, bucket: str) -> bool:
    """Make ``bucket`` in the region of ``clients``; return False where it is yours already.

    Raises ``StoreError`` where another account has a bucket of this name, or the name is not
    allowed, and ``CredentialsRefused``.
    """
    # Asked first: to make one's own bucket once more resets its ACL on AWS in us-east-1, and some
    # stores answer as if it were somebody else's.
    if _is_own(clients, bucket):
        return False
    options: dict[str, Any] = {}
    if clients.provider.name == "aws" and clients.region != "us-east-1":
        options["CreateBucketConfiguration"] = {"LocationConstraint": clients.region}
    try:
        clients.client().create_bucket(Bucket=bucket, **options)
    except client_errors() as error:
        if code_of(error) == "BucketAlreadyOwnedByYou":
            return False
        failure = _error(clients, "make", bucket, error)
        if code_of(error) == "BucketAlreadyExists":
            hint = "another account has a bucket of this name; choose another"
            failure = StoreError(failure.message, hint=hint)
    else:
        return True
    raise failure


def _is_own(clients: Clients, bucket: str) -> bool:
    """Whether the bucket is among those the credentials own; False where they may not ask."""
    with suppress(CredentialsRefused):
        return any(each.name == bucket for each in list_buckets(clients))
    return False


def _ignore(_: Outcome) -> None:
    pass


def remove_bucket(
    clients: Clients,
    bucket: str,
    *,
    force: bool = False,
    told: Callable[[Outcome], None] = _ignore,
) -> None:
    """Remove ``bucket``; with ``force``, empty it first of objects, versions and uploads.

    ``told`` is called with what became of each single one. Where one could not be deleted the
    bucket stays, and ``StoreError`` says how many, with the first reason. Raises ``StoreError``
    too for a bucket that is not empty, ``BucketNotFound`` and ``CredentialsRefused``.
    """
    if force:
        _empty(clients, bucket, told)
    try:
        clients.client().delete_bucket(Bucket=bucket)
    except client_errors() as error:
        failure = _error(clients, "remove", bucket, error)
        if code_of(error) == "BucketNotEmpty" and not force:
            hint = "rb --force empties it first, of versions and unfinished uploads as well"
            failure = StoreError(failure.message, hint=hint)
    else:
        return
    raise failure


def _empty(clients: Clients, bucket: str, told: Callable[[Outcome], None]) -> None:
    failed, first = 0, None
    for outcome in _emptied(clients, bucket):
        told(outcome)
        failed += outcome.error is not None
        first = first or outcome.error
    if first:
        what = f"cannot remove s3://{bucket}{clients.at}: {failed:,} of what it holds"
        raise StoreError(f"{what} could not be deleted, first: {first.message}", hint=first.hint)


def _emptied(clients: Clients, bucket: str) -> Iterator[Outcome]:
    versions = list_versions(clients, bucket, "")
    if versions is None:
        store = S3Store(bucket, clients)
        yield from store.delete_many(entry.key for entry in store.list())
    else:
        for version, error in delete_versions(clients, bucket, versions):
            yield Outcome(version.key, 0, error)
    api = api_of(clients, bucket)
    try:
        for upload, error in abort_uploads(api, bucket, unfinished_uploads(api, "")):
            yield Outcome(upload.key, 0, error)
    except Failed as failed:
        # A store that knows no such uploads has none.
        if failed.code not in _NO_UPLOADS and failed.status not in _NO_SUCH_CALL:
            what = f"cannot list the unfinished uploads of s3://{bucket}{clients.at}"
            raise failed.error(what) from None
    finally:
        api.close()


def presign_get(clients: Clients, bucket: str, key: str, expires_s: int = 3600) -> str:
    """Return a URL that reads the object for ``expires_s`` seconds, 1 to 604,800, from now.

    Makes no request. The URL ends earlier with the credentials, where these are temporary. The
    key is in it exactly; but most clients fold ``.`` and ``..`` between slashes of any URL.
    Raises ``UsageError``, and ``SettingsError`` where there are no credentials.
    """
    return _signed(clients, "get_object", {"Bucket": bucket, "Key": key}, expires_s)


def presign_put(
    clients: Clients,
    bucket: str,
    key: str,
    expires_s: int = 3600,
    *,
    content_type: str | None = None,
) -> str:
    """Return a URL that writes the object, as ``presign_get``.

    Where ``content_type`` is given, the request has to have it as its ``Content-Type``.
    """
    where = {"Bucket": bucket, "Key": key}
    if content_type:
        where["ContentType"] = content_type
    return _signed(clients, "put_object", where, expires_s)


def _signed(clients: Clients, method: str, where: dict[str, str], expires_s: int) -> str:
    if not 1 <= expires_s <= LONGEST_EXPIRY_S:
        raise UsageError(
            f"the link is to expire in {expires_s} seconds; it should be 1 to {LONGEST_EXPIRY_S:,}"
        )
    clients.access_key()  # says where to put credentials, if there are none
    client: Any = clients.client()
    try:
        return str(client.generate_presigned_url(method, Params=where, ExpiresIn=expires_s))
    except Exception as error:  # noqa: BLE001 - botocore's, or a key that is no UTF-8
        what = f"cannot sign a link to s3://{where['Bucket']}/{where['Key']}{clients.at}"
        failure = UsageError(f"{what}: {' '.join(str(error).split())}")
    raise failure


def clean_up(
    clients: Clients, bucket: str, prefix: str, older_than_s: float, *, dry_run: bool = False
) -> Iterator[tuple[Unfinished, IngestError | None]]:
    """Abort unfinished uploads of keys that begin with ``prefix``, begun so many seconds ago.

    Yields each with None, or with the error where it failed; with ``dry_run`` nothing is aborted.
    Raises ``BucketNotFound``, ``CredentialsRefused`` and ``StoreError``.
    """
    with closing(api_of(clients, bucket)) as api:
        stale = stale_uploads(api, bucket, prefix, older_than_s)
        if dry_run:
            yield from ((upload, None) for upload in stale)
        else:
            yield from abort_uploads(api, bucket, stale)


def parse_age(text: str) -> int:
    """Return the seconds of an age such as ``7d``, ``12h`` or ``90m``. Raises ``UsageError``."""
    if found := re.fullmatch(r"([0-9]{1,6})([dhm])", text):
        return int(found[1]) * _UNITS_S[found[2]]
    raise UsageError(f"the age {text!r} should be days, hours or minutes such as 7d, 12h or 90m")


def _error(clients: Clients, verb: str, bucket: str, error: Exception) -> IngestError:
    return translate(f"cannot {verb} s3://{bucket}{clients.at}", error)
