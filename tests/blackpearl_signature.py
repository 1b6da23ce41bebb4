"""AWS signature version 2 as BlackPearl checks it, written from its description."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from blackpearl_checksums import HEADERS
from blackpearl_messages import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from blackpearl_messages import Request

SUBRESOURCES = frozenset(
    "acl delete lifecycle location logging notification partNumber policy requestPayment torrent "
    "uploadId uploads versionId versioning versions website".split()
)
LARGEST_SKEW_S = 15 * 60


def check(request: Request, keys: Mapping[str, str], now: float) -> None:
    """Refuse a request that is not signed by one of ``keys``, secrets by access ID, about ``now``.

    The description knows AccessDenied alone; the other codes are those of S3, of which this is the
    authentication.
    """
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    access_id, _, given = credential.rpartition(":")
    if scheme != "AWS" or not access_id:
        raise Refused(403, "AccessDenied", "AWS authentication of version 2 is required")
    date = request.headers.get("x-amz-date") or request.headers.get("date", "")
    sent = _time(date)
    if sent is None:
        message = "AWS authentication requires a valid Date or x-amz-date header"
        raise Refused(403, "AccessDenied", message)
    if abs(sent - now) > LARGEST_SKEW_S:
        message = f"The request's time and the server's differ too much: {date}"
        raise Refused(403, "RequestTimeTooSkewed", message)
    if access_id not in keys:
        raise Refused(403, "InvalidAccessKeyId", f"No user has the access ID {access_id}")
    texts = list(strings_to_sign(request))
    if given not in [signature(keys[access_id], text) for text in texts]:
        message = f"The signature is not that of this string: {texts[0]!r}"
        raise Refused(403, "SignatureDoesNotMatch", message)


def strings_to_sign(request: Request) -> Iterator[str]:
    """Yield what may have been signed; several only where clients differ in subresources.

    The path counts as it was sent: clients escape different characters of it, each consistently.
    """
    headers = request.headers
    amz = sorted((name, value) for name, value in headers.items() if name.startswith("x-amz-"))
    # With a date of its own, S3 leaves Date empty. The description does not tell.
    date = "" if "x-amz-date" in headers else headers.get("date", "")
    checksum = next((headers[name] for name in HEADERS if name in headers), "")
    start = "\n".join([request.method, checksum, headers.get("content-type", ""), date, ""])
    start += "".join(f"{name}:{value}\n" for name, value in amz)
    for tail in _subresources(request.raw_query):
        yield f"{start}{request.path}{tail}"


def _subresources(raw_query: str) -> set[str]:
    if not raw_query:
        return {""}
    found = [each for each in raw_query.split("&") if each.partition("=")[0] in SUBRESOURCES]
    in_order = [
        each for name in ("delete", "versioning", "versions", "uploads")
        for each in found if each.partition("=")[0] == name
    ]  # fmt: skip
    joined = "&".join(sorted(found))
    return {f"?{joined}" if found else "", "".join(f"?{each}" for each in in_order)}


def signature(secret: str, text: str) -> str:
    digest = hmac.digest(secret.encode(), text.encode("latin-1"), "sha1")
    return base64.b64encode(digest).decode()


@lru_cache(64)
def _time(date: str) -> float | None:
    try:
        read = parsedate_to_datetime(date)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()  # -0000 has no zone
