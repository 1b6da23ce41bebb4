"""What a check finds; what may be behind a store's refusal, and what to do: one row a cause.

Causes and cures come from the stores' documentation and issue trackers. Rows are looked through
in order, so that the particular stands before the general.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import SettingsError, UsageError
from ingest.storage.services import Check

if TYPE_CHECKING:
    from ingest.errors import IngestError


@dataclass(frozen=True, slots=True)
class Remedy:
    """A cause, which goes on after what the store said, and its cure, a sentence to the user."""

    cause: str
    cure: str


NOT_S3 = Remedy(
    "what answers there is no S3 API",
    "give the address of the API, not of a console or website (RustFS and MinIO: API on port "
    "9000, console on 9001)",
)
UNKNOWN_NAME = Remedy(
    "the name does not resolve",
    "check the spelling of --endpoint-url, then this machine's DNS and VPN",
)
NOBODY_THERE = Remedy(
    "nothing listens there: the service is not running, or the port is another",
    "start the service, or correct --endpoint-url (RustFS and MinIO: API on port 9000)",
)
NO_ANSWER = Remedy(
    "no answer came in time: a firewall drops it, or the service hangs",
    "check firewall, VPN and the service's state and log",
)
CHECKSUMS = Remedy(
    "the store does not understand the checksums that aws-like providers are sent by default",
    "choose --provider other, or the provider that it is: these send none",
)
CLOCKS = Remedy(
    "the clocks of this machine and of the store differ by more than a signature may be old",
    "set this machine's clock (timedatectl set-ntp true), or the server's",
)
_REGION = Remedy(
    "the request was signed for another region than the bucket's",
    "give the bucket's region with --region or REGION_NAME",
)

_ROWS: tuple[tuple[str, Remedy], ...] = (
    (
        "SignatureDoesNotMatch",
        Remedy(
            "the secret key is wrong, or a proxy changes the request on its way",
            "check the secret key, whole and without spaces; let a proxy pass Host and path on "
            "unchanged; requests are always signed with version 4, which the store has to know",
        ),
    ),
    (
        "InvalidAccessKeyId",
        Remedy(
            "the store does not know the access key",
            "check the access key, and that this endpoint is the one that issued it",
        ),
    ),
    (
        "ExpiredToken|TokenRefreshRequired",
        Remedy("the temporary keys have expired", "sign in again"),
    ),
    (
        "InvalidToken",
        Remedy(
            "the session token does not belong to the keys",
            "unset AWS_SESSION_TOKEN where the keys are permanent, else sign in again",
        ),
    ),
    ("RequestTimeTooSkewed|RequestExpired|has expired", CLOCKS),
    (
        "AuthorizationHeaderMalformed|IllegalLocationConstraint|InvalidRegion|the bucket is in",
        _REGION,
    ),
    (
        "PermanentRedirect|TemporaryRedirect|HTTP 30[1278]",
        Remedy(
            "the bucket is served at another address: it is in another region, or the store "
            "wants the other addressing style",
            "give the bucket's region with --region, or the endpoint of that region with "
            "--endpoint-url; or choose the other --addressing-style",
        ),
    ),
    (
        "AccessDenied|AllAccessDisabled|Forbidden|HTTP 403",
        Remedy(
            "the keys are wrong, or a policy does not allow them this",
            "check both keys, and that their policy and the bucket's allow s3:ListBucket, "
            "s3:GetObject, s3:PutObject and s3:DeleteObject",
        ),
    ),
    (
        "NoSuchBucket",
        Remedy(
            "there is no such bucket here",
            "check its name, the endpoint and the region, or make it: ingest mb s3://BUCKET",
        ),
    ),
    (
        "InvalidBucketName",
        Remedy(
            "the store does not take this name",
            "use 3 to 63 lower-case letters, digits and hyphens",
        ),
    ),
    (
        "MissingContentLength|MissingContentMD5|XAmzContentSHA256Mismatch|x-amz-(sdk-)?checksum",
        CHECKSUMS,
    ),
    (
        "Unauthorized|HTTP 401",
        Remedy(
            "the keys are wrong, or the store does not understand the checksums it is sent",
            "check both keys; then choose the --provider that it is, or other",
        ),
    ),
    (
        "SlowDown|ServiceUnavailable|TooManyRequests|HTTP (429|503)",
        Remedy("the store is overloaded or starting", "try again later, with less --concurrency"),
    ),
    (
        "StorageFull|QuotaExceeded|InsufficientStorage|HTTP 507",
        Remedy("the store is full", "make room, or have the quota raised"),
    ),
    (
        "NotImplemented|MethodNotAllowed|HTTP (405|501)",
        Remedy("the store does not have this operation", "choose the --provider that it is"),
    ),
    ("(?i:name or service not known|nodename nor|failed to resolve|getaddrinfo)", UNKNOWN_NAME),
    ("(?i:could not connect|connection refused)", NOBODY_THERE),
    ("(?i:timed out|(read|connect) timeout)", NO_ANSWER),
    (
        "(?i:connection aborted|remote end closed|hung up|cut short|connection reset|no HTTP/1)",
        Remedy(
            "the service ends the connection",
            "begin --endpoint-url with https:// if the port wants TLS, else see the service's log",
        ),
    ),
    (
        "bytes came back where|does not show what was just written",
        Remedy(
            "what the store has is not, or not yet, what it was given",
            "look for a proxy, a cache or a gateway in between; choose the --provider that it is",
        ),
    ),
    (
        "should be a URL",
        Remedy("it is no address", "write http:// or https://, a host and a port where it has one"),
    ),
    ("(?i:no XML|invalid XML|unable to parse|no listing, but)", NOT_S3),
    ("(?i:checksum)|BadDigest", CHECKSUMS),
)
_TOLD_REGION = re.compile(r"the bucket is in ([\w-]+)|expecting '([\w-]+)'")


def remedy_for(message: str) -> Remedy | None:
    """Return the cause and cure behind ``message``, that of an error of a store, where known."""
    # Before the first colon are bucket and key, which may have any word in them.
    reason = message.partition(": ")[2] or message
    if found := _TOLD_REGION.search(reason):
        return Remedy(_REGION.cause, f"give --region {found[1] or found[2]} (or REGION_NAME)")
    return next((remedy for pattern, remedy in _ROWS if re.search(pattern, reason)), None)


def failure(name: str, error: IngestError) -> Check:
    """Return the check that failed with ``error``, with the cause and cure that are likely."""
    if remedy := remedy_for(error.message):
        said = error.message.rstrip(". ")
        return Check(name, "failed", f"{said}: {remedy.cause}", remedy.cure)
    other = "look into the log of the store"
    if isinstance(error, SettingsError | UsageError):
        other = "correct the setting that is named"
    return Check(name, "failed", error.message, error.hint or other)


def failure_of(name: str, what: str, remedy: Remedy) -> Check:
    """Return the check that failed because of ``what``, with this cause and cure."""
    return Check(name, "failed", f"{what}: {remedy.cause}", remedy.cure)
