"""A store with S3's API, as commands see a service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest import admin
from ingest.connecting import bucket_name
from ingest.errors import StoreError
from ingest.storage.s3 import S3Store
from ingest.storage.sending import Writing
from ingest.storage.versions import list_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.storage.connection import Clients
    from ingest.storage.services import Check
    from ingest.storage.versions import Version


@dataclass(frozen=True, slots=True)
class S3Service:
    """What ``clients`` reach; objects are written as ``writing`` says."""

    clients: Clients
    writing: Writing = field(default_factory=Writing)

    @property
    def at(self) -> str:
        """The endpoint, as it ends a message."""
        return self.clients.at

    def store(self, bucket: str) -> S3Store:
        """Return the store of ``bucket``. Raises ``UsageError`` where none can be called so."""
        return S3Store(bucket_name(bucket), self.clients, self.writing)

    def buckets(self) -> Iterator[tuple[str, str | None]]:
        """Yield the names of the buckets that the credentials own, and when they were made."""
        for each in admin.list_buckets(self.clients):
            yield each.name, each.created

    def make_bucket(self, bucket: str) -> bool:
        """Make a bucket; return False where it is there already."""
        return admin.make_bucket(self.clients, bucket_name(bucket))

    def remove_bucket(self, bucket: str, *, force: bool) -> None:
        """Remove a bucket; with ``force``, and all that is in it."""
        admin.remove_bucket(self.clients, bucket_name(bucket), force=force)

    def versions(self, bucket: str, prefix: str) -> Iterator[Version]:
        """Return all versions and delete markers of the keys that begin with ``prefix``."""
        found = list_versions(self.clients, bucket_name(bucket), prefix)
        if found is None:
            raise StoreError(f"s3://{bucket}{self.clients.at}: the store lists no versions")
        return found

    def checks(self, bucket: str | None, prefix: str) -> Iterator[Check]:
        """Look at the connection, one step at a time; with ``bucket``, write and read as well."""
        from ingest.doctor import diagnose  # noqa: PLC0415 - few look

        return diagnose(self.clients, bucket_name(bucket) if bucket else None, prefix)
