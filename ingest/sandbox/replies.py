"""What goes back to the client: status, headers and body, with TMDB's error table.

The codes, HTTP statuses and messages are those of developer.themoviedb.org/docs/errors; the
header names are those of recorded answers (openresty behind CloudFront).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import md5
from http import HTTPStatus
from typing import Final

JSON_TYPE: Final = "application/json;charset=utf-8"
PAGE_MAX_AGE_S: Final = 8467  # the median measured on /discover
NOT_FOUND_MAX_AGE_S: Final = 25222  # a 404 is cacheable upstream

Headers = tuple[tuple[str, str], ...]

# status_code: (HTTP status, status_message)
ERRORS: Final[dict[int, tuple[int, str]]] = {
    1: (200, "Success."),
    2: (501, "Invalid service: this service does not exist."),
    3: (401, "Authentication failed: You do not have permissions to access the service."),
    4: (405, "Invalid format: This service doesn't exist in that format."),
    5: (422, "Invalid parameters: Your request parameters are incorrect."),
    6: (404, "Invalid id: The pre-requisite id is invalid or not found."),
    7: (401, "Invalid API key: You must be granted a valid key."),
    8: (403, "Duplicate entry: The data you tried to submit already exists."),
    9: (503, "Service offline: This service is temporarily offline, try again later."),
    10: (401, "Suspended API key: Access to your account has been suspended, contact TMDB."),
    11: (500, "Internal error: Something went wrong, contact TMDB."),
    12: (201, "The item/record was updated successfully."),
    13: (200, "The item/record was deleted successfully."),
    14: (401, "Authentication failed."),
    15: (500, "Failed."),
    16: (401, "Device denied."),
    17: (401, "Session denied."),
    18: (400, "Validation failed."),
    19: (406, "Invalid accept header."),
    20: (422, "Invalid date range: Should be a range no longer than 14 days."),
    21: (200, "Entry not found: The item you are trying to edit cannot be found."),
    22: (
        400,
        "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer.",
    ),
    23: (400, "Invalid date: Format needs to be YYYY-MM-DD."),
    24: (504, "Your request to the backend server timed out. Try again."),
    25: (429, "Your request count (#) is over the allowed limit of (40)."),
    26: (400, "You must provide a username and password."),
    27: (400, "Too many append to response objects: The maximum number of remote calls is 20."),
    28: (400, "Invalid timezone: Please consult the documentation for a valid timezone."),
    29: (400, "You must confirm this action: Please provide a confirm=true parameter."),
    30: (401, "Invalid username and/or password: You did not provide a valid login."),
    31: (
        401,
        "Account disabled: Your account is no longer active. Contact TMDB if this is an error.",
    ),
    32: (401, "Email not verified: Your email address has not been verified."),
    33: (401, "Invalid request token: The request token is either expired or invalid."),
    34: (404, "The resource you requested could not be found."),
    35: (401, "Invalid token."),
    36: (401, "This token hasn't been granted write permission by the user."),
    37: (404, "The requested session could not be found."),
    38: (401, "You don't have permission to edit this resource."),
    39: (401, "This resource is private."),
    40: (200, "Nothing to update."),
    41: (422, "This request token hasn't been approved by the user."),
    42: (405, "This request method is not supported for this resource."),
    43: (502, "Couldn't connect to the backend server."),
    44: (500, "The ID is invalid."),
    45: (403, "This user has been suspended."),
    46: (503, "The API is undergoing maintenance. Try again later."),
    47: (400, "The input is not valid."),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, before the connection's own headers (length, encoding) are added."""

    status: int
    headers: Headers
    body: bytes


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON, not escaped, as TMDB writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def page(body: bytes, age_s: int = 0) -> Reply:
    """Make a good answer that is ``age_s`` seconds old.

    A cache keeps the origin's Date and adds Age, so the moment of making is Date, and a client
    that read it now sees Date + Age = now. A fresh page has no Age.
    """
    digest = md5(body, usedforsecurity=False).hexdigest()
    headers = (
        *_served("Hit from cloudfront" if age_s else "Miss from cloudfront", digest, age_s),
        ("Cache-Control", f"public, max-age={PAGE_MAX_AGE_S}"),
        ("X-Memc", "MISS"),
        ("X-Memc-Key", digest),
        ("X-Memc-Age", "0"),
        ("X-Memc-Expires", str(PAGE_MAX_AGE_S)),
        ("ETag", f'W/"{digest}"'),
    )
    return Reply(200, (*headers, ("Age", str(age_s))) if age_s else headers, body)


def error(code: int, *, status: int | None = None, retry_after: str | None = None) -> Reply:
    """One of TMDB's own errors; ``status`` replaces the table's HTTP status."""
    listed, message = ERRORS[code]
    sent = status or listed
    success = listed < HTTPStatus.MULTIPLE_CHOICES
    body = to_json({"success": success, "status_code": code, "status_message": message})
    headers = _served("Error from cloudfront", "")
    if sent == HTTPStatus.NOT_FOUND:
        headers += (("Cache-Control", f"public, max-age={NOT_FOUND_MAX_AGE_S}"),)
    return Reply(sent, headers + _retry_after(retry_after), body)


def html(status: int, *, retry_after: str | None = None) -> Reply:
    """Make a page that is not JSON, as a content delivery network makes its own errors."""
    text = (
        f"<!DOCTYPE html>\n<html><head><title>{status}</title></head><body>{status}</body></html>\n"
    )
    headers = (
        ("Content-Type", "text/html"),
        ("Date", formatdate(usegmt=True)),
        ("Server", "CloudFront"),
        ("X-Cache", "Error from cloudfront"),
    )
    return Reply(status, headers + _retry_after(retry_after), text.encode())


def not_modified(reply: Reply) -> Reply:
    """Make the 304 that stands for ``reply`` when the client already holds it."""
    kept = {"date", "server", "cache-control", "etag", "vary", "age", "x-cache"}
    return Reply(304, tuple(pair for pair in reply.headers if pair[0].lower() in kept), b"")


def _served(cache: str, digest: str, age_s: int = 0) -> Headers:
    return (
        ("Content-Type", JSON_TYPE),
        ("Date", formatdate(time.time() - age_s, usegmt=True)),
        ("Server", "openresty"),
        ("Vary", "accept-encoding"),
        ("Vary", "Origin"),
        ("X-Cache", cache),
        ("Via", "1.1 sandbox (CloudFront)"),
        ("X-Amz-Cf-Pop", "LOOPBACK"),
        ("X-Amz-Cf-Id", digest),
    )


def _retry_after(value: str | None) -> Headers:
    return () if value is None else (("Retry-After", value),)
