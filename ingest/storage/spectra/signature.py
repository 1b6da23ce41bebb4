"""AWS signature version 2, as a BlackPearl checks it: it knows no other.

The rules are those of the vendor's own clients, where these agree: header names in lower case,
what comes twice joined by a comma, sorted by name (not by line: ``-`` sorts before ``:``), and of
the query only what S3 calls subresources.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHECKSUM_HEADERS = (
    *("Content-MD5", "Content-CRC32", "Content-CRC32C", "Content-SHA256", "Content-SHA512"),
)
"""The headers whose value is signed where S3 signs that of ``Content-MD5``."""

_SUBRESOURCES = frozenset(
    "acl delete lifecycle location logging notification partNumber policy requestPayment torrent "
    "uploadId uploads versionId versioning versions website".split()
)
_DOTS = re.compile(r"(?<=/)(\.\.?)(?=/|\Z)")


def escaped_path(*names: str) -> str:
    """Return the path of ``names``, the last of which may be a key with slashes of its own.

    A segment that is ``.`` or ``..`` is escaped as well: what is between here and the appliance
    would fold it.
    """
    path = "/" + "/".join(quote(name, errors="surrogateescape") for name in names)
    return _DOTS.sub(lambda found: found[0].replace(".", "%2E"), path)


def escaped_query(query: Mapping[str, str | None]) -> str:
    """Return ``query`` as it is sent; what is None has no ``=``, as what need only be there."""
    return "&".join(
        name if value is None else f"{name}={quote(value, safe='', errors='surrogateescape')}"
        for name, value in query.items()
    )


def amz_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the ``x-amz-`` ones as they are signed: lower-cased, merged, sorted by name."""
    merged: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower.startswith("x-amz-"):
            text = value.strip()
            merged[lower] = f"{merged[lower]},{text}" if lower in merged else text
    return dict(sorted(merged.items()))


def string_to_sign(
    method: str, path: str, query: Mapping[str, str | None], headers: Mapping[str, str]
) -> str:
    """Return what is signed of a request whose ``path`` is escaped and as it is sent.

    ``headers`` are by their usual names; ``Date`` is among them.
    """
    checksum = next((headers[name] for name in CHECKSUM_HEADERS if name in headers), "")
    amz = "".join(f"{name}:{value}\n" for name, value in amz_headers(headers.items()).items())
    signed = {name: query[name] for name in sorted(query) if name in _SUBRESOURCES}
    # Their values are signed as they are, and not as they are sent.
    subresources = "&".join(
        name if value is None else f"{name}={value}" for name, value in signed.items()
    )
    resource = f"{path}?{subresources}" if subresources else path
    start = (method, checksum, headers.get("Content-Type", ""), headers.get("Date", ""))
    return "\n".join((*start, amz + resource))


def authorization(access_id: str, secret_key: str, text: str) -> str:
    """Return the ``Authorization`` header for the string ``text``."""
    digest = hmac.digest(secret_key.encode(), text.encode(), "sha1")
    return f"AWS {access_id}:{base64.b64encode(digest).decode()}"
