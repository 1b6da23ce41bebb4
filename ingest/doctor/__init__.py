"""What is wrong between here and a store: one step at a time, each with its cause and its cure.

The steps go from the outside in. Those that reach the bucket use the code that transfers use, so
that what passes here passes there.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ingest import admin
from ingest.doctor.reach import proxy_for, reach
from ingest.doctor.remedies import CHECKSUMS, failure
from ingest.errors import BucketNotFound, CredentialsRefused, IngestError, NotFound, StoreError
from ingest.pacing import Backoff
from ingest.storage import providers
from ingest.storage.answers import client_errors, translate
from ingest.storage.base import PLAIN, PutItem
from ingest.storage.connection import Clients
from ingest.storage.listing import list_objects
from ingest.storage.pages import ListingStyle, Place
from ingest.storage.s3 import S3Store
from ingest.storage.services import S3, Check
from ingest.storage.versions import delete_versions, list_versions

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ingest.storage.providers import Provider

__all__ = ["STEPS", "Check", "diagnose", "misconfigured"]

STEPS = (
    *("endpoint", "name", "port", "TLS", "S3", "clock", "credentials"),
    *("addressing", "checksums", "list", "write", "read", "delete"),
)
"""The names of all checks, in their order."""

_STYLES = {True: "path style", False: "virtual-hosted style"}
_FRAMING = re.compile(rb"[0-9a-fA-F]+(;chunk-signature=[0-9a-f]+)?\r\n")
_LIMITED = re.compile(": (AccessDenied|MethodNotAllowed|NoSuchBucket|NotImplemented)")
_IMPATIENT = Backoff(retries=2, base_s=0.25)
_SHORTEST_SECRET = 8
"""Shorter ones are of servers for tests, and their letters stand in any text."""


def diagnose(clients: Clients, bucket: str | None = None, prefix: str = "") -> Iterator[Check]:
    """Check the connection of ``clients`` step by step; yield one check for each of ``STEPS``.

    A step that makes the later ones pointless marks them as skipped. Without ``bucket`` nothing
    is checked beyond the credentials. With it, an object of some bytes is written under a random
    name, which ``prefix`` (empty, or ending in ``/``) goes before, and removed again whatever
    happens, also where the iterator is closed early. No secret is in any text. Raises nothing for
    what a store does.
    """
    last, done = Check("", "ok", ""), 0
    with closing(_checks(clients, bucket, prefix)) as checks:
        for last in checks:
            done += 1
            yield _veiled(last, clients)
    yield from _skipped(last, done)


def misconfigured(error: IngestError, scheme: str = S3) -> Iterator[Check]:
    """Yield the check that ``error`` fails, which says that there is no connection.

    Then, for what has S3's API, one for each of the other ``STEPS``.
    """
    check = failure("endpoint", error)
    yield check
    if scheme == S3:
        yield from _skipped(check, 1)


def _skipped(last: Check, done: int) -> Iterator[Check]:
    why, cure = f"pointless until {last.name!r} is cured", None
    if last.status != "failed":
        why, cure = "no bucket was named", "name one, as in: ingest doctor s3://BUCKET"
    for name in STEPS[done:]:
        yield Check(name, "skipped", why, cure)


def _checks(clients: Clients, bucket: str | None, prefix: str) -> Generator[Check]:
    """Yield checks up to the first failure that makes all further ones pointless."""
    check = None
    for check in reach(clients, bucket):
        yield check
    if check is None or check.name != "clock":
        return
    check = _credentials(clients, bucket)
    yield check
    if check.status == "failed" or bucket is None:
        return
    check = _addressing(clients, bucket, prefix)
    yield check
    if check.status != "failed":
        yield from _Probe(clients, bucket, prefix).checks()


def _veiled(check: Check, clients: Clients) -> Check:
    """Return ``check`` without the secrets that a store may have sent back to us."""
    key = None
    with suppress(Exception):  # where there is none, a step says so
        key = clients.connection.access_key
        if key is None and STEPS.index(check.name) > STEPS.index("credentials"):
            key = clients.access_key()
    for secret in (key.secret_access_key, key.session_token or "") if key else ():
        if len(secret) >= _SHORTEST_SECRET:
            check = replace(check, finding=check.finding.replace(secret, "***"))
    return check


def _credentials(clients: Clients, bucket: str | None) -> Check:
    try:
        clients.access_key()
        owned = sum(1 for _ in admin.list_buckets(clients))
    except Exception as error:  # noqa: BLE001 - what AWS's chain of credentials raises, too
        told = translate("cannot get credentials", error)
        if not _LIMITED.search(told.message):
            return failure("credentials", told)
        finding = f"{told.message.rstrip('.')}: they are wrong, or limited to some buckets"
        cure = None if bucket else "name the bucket, as in: ingest doctor s3://BUCKET"
        return Check("credentials", "warning", finding, cure)
    return Check("credentials", "ok", f"they are accepted; buckets of theirs: {owned:,}")


def _addressing(clients: Clients, bucket: str, prefix: str) -> Check:
    """Try both styles; the one that is in use has to work."""
    used = clients.is_path_style(bucket)
    mine = _refusal(clients, bucket, prefix, path_style=used)
    other: IngestError | str | None = None
    if used:
        other = _no_host_of(bucket, clients)
    if other is None:
        other = _refusal(clients, bucket, prefix, path_style=not used)
    if mine is None:
        rest = "works too" if other is None else "does not"
        rest = f"cannot: {other}" if isinstance(other, str) else rest
        finding = f"{_STYLES[used]} works, and is used; {_STYLES[not used]} {rest}"
        return Check("addressing", "ok", finding)
    if other is None:
        finding = f"{mine.message}: {_STYLES[used]} is used, but {_STYLES[not used]} works"
        cure = f"choose --addressing-style {'virtual' if used else 'path'}"
        return Check("addressing", "failed", finding, cure)
    if isinstance(mine, CredentialsRefused) and "AccessDenied" in mine.message:
        finding = f"{_STYLES[used]} is used, which is all there is to see where listing is denied"
        return Check("addressing", "warning", finding)
    return failure("addressing", mine)


def _refusal(clients: Clients, bucket: str, prefix: str, *, path_style: bool) -> IngestError | None:
    """Return why the bucket cannot be listed in this style, whichever version of lists it has."""
    first = None
    newer = ListingStyle(path_style=path_style)
    for style in (newer, replace(newer, version=1, url_encode=False)):
        place = replace(_place(clients, bucket, style), backoff=_IMPATIENT)
        try:
            next(list_objects(place, prefix), None)
        except IngestError as error:
            first = first or error
            if isinstance(error, (BucketNotFound, CredentialsRefused)):
                break
        else:
            return None
    return first


def _place(clients: Clients, bucket: str, style: ListingStyle) -> Place:
    endpoint_url = clients.connection.endpoint_url
    return Place(bucket, clients.access_key, endpoint_url, clients.region, style)


def _no_host_of(bucket: str, clients: Clients) -> str | None:
    """Return why the bucket cannot be the first label of the host's name, None where it can."""
    where = urlsplit(clients.client().meta.endpoint_url)
    host = where.hostname or ""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return f"{host} is an address"
    if where.scheme == "https" and "." in bucket:
        return "no certificate is for a bucket with a dot"
    if proxy_for(where):
        return None
    try:
        socket.getaddrinfo(f"{bucket}.{host}", None)
    except (OSError, UnicodeError):
        return f"{bucket}.{host} does not resolve"
    return None


class _Probe:
    """An object that nobody else has, to be written, listed, read and deleted."""

    def __init__(self, clients: Clients, bucket: str, prefix: str) -> None:
        self._clients = clients
        self._bucket = bucket
        self._prefix = prefix
        self._key = f"{prefix}ingest-doctor-{secrets.token_hex(16)}"
        self._store = S3Store(bucket, clients)
        self._plain = clients  # which sends no checksums that are not required
        if clients.provider.checksums == "when_supported":
            other = replace(clients.connection, provider="other", region=clients.region)
            self._plain = Clients(other)
        self._content = f"{self._key}, which may be deleted\n".encode()

    def checks(self) -> Iterator[Check]:
        """Yield what is found; the object is gone when this ends, however it ends.

        After Ctrl-C a store has half a second to delete it.
        """
        gone = False
        try:
            checksums = self._checksums()
            yield checksums
            yield self._list(there=checksums.status == "ok")
            write = self._write()
            yield write
            yield self._read() if write.status == "ok" else _nothing_to_read()
            delete = self._delete()
            gone = delete.status == "ok"
            yield delete
        except KeyboardInterrupt:
            gone = True
            remover = threading.Thread(target=self._delete, daemon=True)
            remover.start()
            remover.join(0.5)
            raise
        finally:
            if not gone:
                self._delete()

    def _where(self, verb: str) -> str:
        return f"cannot {verb} {self._store.url}/{self._key}{self._clients.at}"

    def _checksums(self) -> Check:
        """Write through boto3, as parts of large files go, and compare what the store has."""
        mode = self._clients.provider.checksums
        mine = self._stored_otherwise(self._clients)
        if mine is None:
            return Check("checksums", "ok", f"{mode}: what is stored is what was sent")
        if self._plain is not self._clients and self._stored_otherwise(self._plain) is None:
            finding = f"{mine.message}; without default checksums it is right"
            return Check("checksums", "failed", finding, CHECKSUMS.cure)
        return failure("checksums", mine)

    def _stored_otherwise(self, clients: Clients) -> IngestError | None:
        """Write through ``clients``; return what is wrong with it, if anything."""
        verb = "write"
        try:
            clients.client().put_object(Bucket=self._bucket, Key=self._key, Body=self._content)
            verb = "read"
            found = self._plain.client().get_object(Bucket=self._bucket, Key=self._key)
            stored = found["Body"].read()
        except client_errors() as error:
            return translate(self._where(verb), error)
        return self._difference(stored)

    def _difference(self, stored: bytes) -> StoreError | None:
        if stored == self._content:
            return None
        said = f"{len(stored)} bytes came back where {len(self._content)} were sent"
        if _FRAMING.match(stored):
            said += ", with the framing of the upload in them"
        return StoreError(f"{self._where('keep')}: {said}")

    def _list(self, *, there: bool) -> Check:
        provider = self._clients.provider
        mine = self._unlisted(provider, there=there)
        if mine is None:
            found = "it shows what was just written" if there else "it is answered"
            return Check("list", "ok", f"{found}, with version {provider.list_version} of lists")
        better = "other" if provider.list_version == 1 else "ceph"
        if self._unlisted(providers.choose(better, None), there=there) is None:
            finding = f"{mine.message}; with the lists of {better} it is right"
            return Check("list", "failed", finding, f"choose --provider {better}")
        return failure("list", mine)

    def _unlisted(self, provider: Provider, *, there: bool) -> IngestError | None:
        """Return what is wrong with the list of ``provider``'s kind, if anything."""
        path_style = self._clients.is_path_style(self._bucket)
        style = ListingStyle(provider.list_version, provider.list_url_encode, path_style)
        place = _place(self._clients, self._bucket, style)
        try:
            found = list_objects(place, self._key if there else self._prefix)
            keys = [entry.key for entry in islice(found, 2)]
        except IngestError as error:
            return error
        if there and keys != [self._key]:
            return StoreError(f"{self._where('list')}: it does not show what was just written")
        return None

    def _write(self) -> Check:
        self._content = b"again " + self._content
        item = PutItem(self._key, self._content, "text/plain")
        for outcome in self._store.put_many([item], replace(PLAIN, threads=1)):
            if outcome.error:
                return failure("write", outcome.error)
        return Check("write", "ok", f"{self._store.url}/{self._key}")

    def _read(self) -> Check:
        try:
            stored = self._store.read(self._key)
        except IngestError as error:
            return failure("read", error)
        if difference := self._difference(stored):
            return failure("read", difference)
        return Check("read", "ok", "what came back is what was sent")

    def _delete(self) -> Check:
        """Delete the object, its versions where the store keeps them, and see that it is gone."""
        try:
            errors = [outcome.error for outcome in self._store.delete_many([self._key])]
            with suppress(IngestError):  # few may list versions, and few stores have any
                found = list_versions(self._clients, self._bucket, self._key) or ()
                deleted = delete_versions(self._clients, self._bucket, found)
                errors += [error for _, error in deleted]
            for failed in filter(None, errors):
                return failure("delete", failed)
            self._store.head(self._key)
        except NotFound:
            return Check("delete", "ok", "it is gone")
        except CredentialsRefused:  # a HEAD says so where one may not list either
            return Check("delete", "ok", "it is accepted")
        except IngestError as error:
            return failure("delete", error)
        return Check("delete", "warning", f"{self._where('delete')}: it is still there")


def _nothing_to_read() -> Check:
    return Check("read", "skipped", "nothing was written")
