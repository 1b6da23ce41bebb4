"""AWS Signature Version 4, by header, for the S3 API.

botocore signs as well, but takes longer to load than most commands take to run. Source: "Signature
calculations for the Authorization header" in the API reference of Amazon S3.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ingest.settings import AccessKey

NOTHING = hashlib.sha256(b"").hexdigest()
"""The payload hash of a request without a body."""
UNSIGNED = "UNSIGNED-PAYLOAD"
"""The payload hash that leaves the body out of the signature; TLS, or the ETag, guards it then."""

_URL = re.compile(r"([^:]*)://([^/?]*)(.*)", re.DOTALL)
_MOMENT = "%Y%m%dT%H%M%SZ"


def signed(  # noqa: PLR0913 - what a signature is made of
    method: str,
    url: str,
    key: AccessKey,
    region: str,
    *,
    headers: Mapping[str, str] | None = None,
    payload_hash: str = NOTHING,
    now: datetime | None = None,
) -> dict[str, str]:
    """Return ``headers`` and those that sign the request: all that is to be sent but Host.

    ``url`` is exactly as it is sent: path and query percent-encoded, so that only unreserved
    characters (and in the path ``/``) stand for themselves. A port is part of Host unless it is
    the scheme's own.
    """
    moment = now.strftime(_MOMENT) if now else _moment(int(time.time()))
    host, target = host_and_target(url)
    sent = {**(headers or {}), "x-amz-date": moment, "x-amz-content-sha256": payload_hash}
    if key.session_token:
        sent["x-amz-security-token"] = key.session_token
    covered = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
    covered["host"] = host
    order = sorted(covered)
    lines = [f"{name}:{covered[name]}" for name in order]
    names = ";".join(order)
    path, _, query = target.partition("?")
    request = "\n".join((method, path, _canonical_query(query), *lines, "", names, payload_hash))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode("latin-1")).hexdigest()
    signature = _mac(
        _signing_key(key.secret_access_key, scope), f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    ).hex()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return sent


def host_and_target(url: str) -> tuple[str, str]:
    """Return the Host header of a request to ``url``, and path and query as they are sent.

    Raises ``ValueError`` where it is not absolute.
    """
    found = _URL.match(url)
    if not found:
        raise ValueError(f"{url!r} is no absolute URL")
    scheme, authority, target = found.groups()
    return _host(scheme, authority), target if target.startswith("/") else f"/{target}"


@lru_cache(maxsize=8)
def _moment(second: int) -> str:
    return time.strftime(_MOMENT, time.gmtime(second))


@lru_cache(maxsize=64)
def _host(scheme: str, authority: str) -> str:
    parts = urlsplit(f"{scheme}://{authority}")
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)


@lru_cache(maxsize=8)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
