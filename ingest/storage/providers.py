"""How S3-compatible stores differ, as data: one row a provider.

To add one, add a row to ``PROVIDERS`` and run the conformance suite against it. A field that a
row leaves out is what AWS documents. Facts are from the providers' documentation, from their
issue trackers and from the quirks that rclone keeps of them; a setting of the user's always wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ingest.errors import SettingsError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Provider:
    """What to know of a provider before the first request.

    ``hosts`` are the ends of the host names it serves under. ``checksums`` is what boto3 calls
    its default integrity protections: since 1.36 it sends trailers that others than AWS refuse,
    or store as part of the object. ``multipart_etag`` says whether the ETag of an object in parts
    is the MD5 of its parts' MD5s. Parts are in bytes.
    """

    name: str
    hosts: tuple[str, ...] = ()
    path_style: bool = True
    checksums: Literal["when_supported", "when_required"] = "when_required"
    list_version: Literal[1, 2] = 2
    list_url_encode: bool = True
    bulk_delete: bool = True
    multipart_etag: bool = True
    multipart_copy: bool = True
    smallest_part: int = 5 * MIB
    most_parts: int = 10_000
    region: str = "us-east-1"

    def serves(self, endpoint_url: str) -> bool:
        """Whether ``endpoint_url`` is of one of ``hosts``. Raises ``SettingsError`` for no URL."""
        try:
            host = (urlsplit(endpoint_url).hostname or "").lower()
        except ValueError:
            raise SettingsError(f"the endpoint {endpoint_url!r} is no URL") from None
        return any(host == end or host.endswith(f".{end}") for end in self.hosts)


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "aws",
        ("amazonaws.com", "amazonaws.com.cn"),
        path_style=False,
        checksums="when_supported",
    ),
    Provider("digitalocean", ("digitaloceanspaces.com",)),
    Provider("rustfs"),
    Provider("minio"),
    Provider("qarnot", ("storage.qarnot.com",)),
    Provider("ceph", list_version=1, list_url_encode=False),
    # Its multipart ETags are random.
    Provider("r2", ("r2.cloudflarestorage.com",), multipart_etag=False, region="auto"),
    Provider("b2", ("backblazeb2.com",)),
    Provider("wasabi", ("wasabisys.com",)),
    # No bulk delete and no copy of parts in its S3 API; objects in parts have no MD5.
    Provider(
        "gcs",
        ("storage.googleapis.com",),
        bulk_delete=False,
        multipart_etag=False,
        multipart_copy=False,
        region="auto",
    ),
    Provider("rclone", multipart_copy=False),
    Provider("other"),
)

_BY_NAME = {provider.name: provider for provider in PROVIDERS}


def names() -> tuple[str, ...]:
    """Return the names a user may choose from."""
    return tuple(_BY_NAME)


def choose(name: str | None, endpoint_url: str | None) -> Provider:
    """Return the provider called ``name``; without a name, the one the endpoint belongs to.

    No endpoint is AWS, an unknown one is ``other``. Raises ``SettingsError`` for an unknown name.
    """
    if name and name not in _BY_NAME:
        known = ", ".join(_BY_NAME)
        raise SettingsError(f"the provider {name!r} is not known; it should be one of {known}")
    if name:
        return _BY_NAME[name]
    if not endpoint_url:
        return _BY_NAME["aws"]
    known_by_host = (provider for provider in PROVIDERS if provider.serves(endpoint_url))
    return next(known_by_host, _BY_NAME["other"])
