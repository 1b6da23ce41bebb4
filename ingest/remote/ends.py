"""The two ends of a transfer: directories of two buckets, of one store or of two."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import UsageError
from ingest.remote.target import target_connection
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from ingest.storage.services import S3
from ingest.trees import StoreTree

if TYPE_CHECKING:
    from ingest.location import ObjectUrl
    from ingest.settings import Settings
    from ingest.settings.stores import StoreSettings


_clients = functools.lru_cache(maxsize=2)(Clients)
"""A function that is used again has them already: to make them takes boto3 a second."""


@dataclass(frozen=True, slots=True)
class Ends:
    """From where to where."""

    source: StoreTree
    target: StoreTree


def check_ends(source: ObjectUrl, target: ObjectUrl, *, one_store: bool) -> None:
    """Raise ``UsageError`` where a transfer would read what it writes, or is not between buckets.

    ``one_store`` says that both are in the same store.
    """
    if {source.scheme, target.scheme} != {S3}:
        raise UsageError("both ends should be buckets of S3, such as s3://bucket/prefix")
    one_bucket = one_store and source.bucket == target.bucket
    if one_bucket and target.directory.startswith(source.directory):
        raise UsageError(f"{source} cannot be copied into or over itself")


def open_ends(source: ObjectUrl, target: ObjectUrl, settings: Settings | StoreSettings) -> Ends:
    """Return both ends; ``source`` is in the store of ``settings``.

    So is ``target``, unless the environment names another store for it. Raises ``UsageError`` as
    ``check_ends`` does, and ``SettingsError``.
    """
    elsewhere = target_connection()
    check_ends(source, target, one_store=elsewhere is None)
    clients = _clients(Connection(settings.endpoint_url, settings.region, settings.access_key))
    others = _clients(elsewhere) if elsewhere else clients
    return Ends(
        StoreTree(S3Store(source.bucket, clients), source.directory),
        StoreTree(S3Store(target.bucket, others), target.directory),
    )
