"""What the tests of ``Bucket`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ingest.bucket import Bucket
from ingest.storage.connection import Connection

if TYPE_CHECKING:
    from faultproxy import FaultProxy
    from support import S3Server


def connect(server: S3Server, proxy: FaultProxy | None = None) -> Connection:
    endpoint_url = proxy.endpoint_url if proxy else server.endpoint_url
    return Connection(endpoint_url, "us-east-1", server.access_key)


def new_bucket(server: S3Server, proxy: FaultProxy | None = None) -> Bucket:
    return Bucket(connect(server, proxy), server.new_bucket(), create=False)


def missing_bucket(server: S3Server) -> Bucket:
    return Bucket(connect(server), "nobody-made-this", create=False)


def tree(root: str, **files: str) -> Path:
    """Make a directory; in names ``__`` is a slash, and each file ends in ``.txt``."""
    for name, text in files.items():
        path = Path(root, name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Path(root)


def keys(bucket: Bucket) -> list[str]:
    return [entry.key for entry in bucket]
