"""What S3-compatible stores answer when they refuse, and the errors of this package for it."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    IngestError,
    NotFound,
    StoreError,
    StoreUnreachable,
)
from ingest.pacing import retry_after_s

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFUSALS = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_REGION_HINT = "set REGION_NAME, or --region, to the region of the bucket"
_POLICY_HINT = "the key may lack s3:GetObject, s3:PutObject, s3:DeleteObject or s3:ListBucket"
_HINTS = {
    # Of answers that have no text, as those to HEAD.
    "301": _REGION_HINT,
    "307": _REGION_HINT,
    "403": f"the keys may be wrong, or {_POLICY_HINT}",
    "AccessDenied": _POLICY_HINT,
    "AuthorizationHeaderMalformed": _REGION_HINT,
    "ExpiredToken": "renew the temporary credentials",
    "IllegalLocationConstraintException": _REGION_HINT,
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID",
    "NoSuchBucket": "check BUCKET_NAME and ENDPOINT_URL, or the URL and --endpoint-url",
    "PermanentRedirect": _REGION_HINT,
    "RequestTimeTooSkewed": "set this machine's clock",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "TemporaryRedirect": _REGION_HINT,
}

_MOST_PATIENCE_S = 60.0
"""How long to wait at most where the store says with ``Retry-After`` how long."""
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504, *range(520, 528)})
"""Those from 520 on are of what stands before the store."""
_PASSING_CODES = frozenset(
    "BadDigest ConditionalRequestConflict IncompleteBody InternalError OperationAborted "
    "RequestTimeout ServiceUnavailable SlowDown XAmzContentSHA256Mismatch".split()
)


class Failed(Exception):
    """A request that was refused, or that was not answered.

    ``code`` and ``message`` are the store's own, ``status`` is 0 where there was no answer.
    ``passes`` says whether the same request may succeed later, ``wait_s`` how long the store asks
    to be left alone until then, ``unreached`` that it has never answered so far; ``at`` is when it
    failed, as ``time.monotonic()`` tells.
    """

    def __init__(  # noqa: PLR0913 - what is known of a failure
        self,
        code: str,
        message: str,
        status: int = 0,
        *,
        passes: bool = False,
        wait_s: float = 0.0,
        unreached: bool = False,
    ) -> None:
        """Take what is known of the failure."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.passes = passes
        self.wait_s = wait_s
        self.unreached = unreached
        self.at = time.monotonic()

    def error(self, what: str) -> IngestError:
        """Return the error that says ``what`` failed."""
        return error_of(what, self.code, self.message, self.status)


TRUST = "name the certificate of its authority, as a file, in SSL_CERT_FILE"
_RENEW = "have the certificate renewed, or set this machine's clock"
_CERTIFICATES = (
    # What OpenSSL says, what it is to a person, and what to do.
    ("local issuer|self-signed|UnknownIssuer", "its authority is not known here", TRUST),
    ("certificate has expired|Expired", "it has expired", _RENEW),
    ("not yet valid|NotValidYet", "it is not yet valid", _RENEW),
    (
        "mismatch|not valid for|doesn't match|NotValidForName",
        "it is for another name",
        "use a host name that the certificate is for",
    ),
    (
        "CaUsedAsEndEntity",
        "it is marked as an authority's, which a server may not use",
        "have the server's own certificate marked CA:FALSE",
    ),
)
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|InvalidCertificate\(|SSL validation failed")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|InvalidMessage\(\s*InvalidContentType")


def of_tls(text: str) -> tuple[str, str] | None:
    """Return what a failure to speak TLS, as OpenSSL tells it, is, and the cure."""
    if _NO_TLS.search(text):
        return "no TLS is spoken there", "begin the endpoint with http://, or check the port"
    if not (found := _UNTRUSTED.search(text)):
        return None
    reason = text[found.start() :]
    for pattern, cause, cure in _CERTIFICATES:
        if re.search(pattern, reason):
            return f"the certificate is not trusted: {cause}", cure
    return "the certificate is not trusted", TRUST


_UNREACHED = (
    # Of the system, as Python and botocore have it; their own words are kept.
    (
        "connection refused|could not connect to the endpoint",
        "is the service running, and is this its address? ingest doctor tells more",
    ),
    (
        "name or service not known|failed to lookup|nodename nor servname|name resolution",
        "check the address, ENDPOINT_URL or --endpoint-url, and the network",
    ),
    ("no route to host|network is unreachable", "check the network, and a VPN if there is one"),
)


def error_of(what: str, code: str, message: str, status: int) -> IngestError:
    """Return the error that says ``what`` failed and what the store answered.

    ``code`` and ``message`` are the store's own, empty where it gave none; ``status`` is that of
    HTTP, 0 where there was no answer at all.
    """
    kind: type[IngestError] = StoreError
    if code in _REFUSALS or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        kind = CredentialsRefused
    elif code == "NoSuchBucket":
        kind = BucketNotFound
    elif code == "NoSuchKey" or status == HTTPStatus.NOT_FOUND:
        kind = NotFound
    if not code and not status:
        if found := of_tls(message):
            return StoreError(f"{what}: {found[0]}", hint=found[1])
        for pattern, hint in _UNREACHED:
            if re.search(pattern, message, re.IGNORECASE):
                return StoreUnreachable(f"{what}: {message}", hint=hint)
    said = ": ".join(filter(None, (code, message))) or _unsaid(status)
    return kind(f"{what}: {said}", hint=_HINTS.get(code or str(status)))


def _unsaid(status: int) -> str:
    """Return what an answer without a text says, as to HEAD."""
    missing = status == HTTPStatus.NOT_FOUND
    return f"HTTP {status}: there is no such object, or bucket" if missing else f"HTTP {status}"


def translate(what: str, error: Exception) -> IngestError:
    """Return the error of this package that says ``what`` failed, for boto3's or the system's."""
    if isinstance(error, IngestError):
        return error
    return error_of(what, *_answer(error))


def _answer(error: Exception) -> tuple[str, str, int]:
    """Return the code, message and HTTP status of an answer; a failure on the way has no code."""
    if response := _response(error):  # botocore.exceptions.ClientError
        answer = response.get("Error", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return str(answer.get("Code", "")), str(answer.get("Message", "")), status
    if isinstance(error, OSError) and error.strerror:
        return "", error.strerror, 0
    return "", str(error), 0


def refusal_of(headers: Mapping[str, str], body: bytes, status: int, region: str) -> Failed:
    """Return what an answer to a request that was signed for ``region`` refuses it with."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - expat itself bounds what entities expand to
    except ET.ParseError:  # to HEAD there is none
        root = ET.Element("Error")
    return refusal_in(root, headers, status, region)


def refusal_in(root: ET.Element, headers: Mapping[str, str], status: int, region: str) -> Failed:
    """Return the failure that the document ``root`` tells of."""
    code, message = root.findtext("{*}Code", ""), root.findtext("{*}Message", "")
    there = headers.get("x-amz-bucket-region") or root.findtext("{*}Region", "")
    if there and region and there != region:
        message = "; ".join(filter(None, (message, f"the bucket is in {there}")))
    wait_s = min(retry_after_s(headers) or 0.0, _MOST_PATIENCE_S)
    passes = status in _PASSING_STATUS or code in _PASSING_CODES
    return Failed(code, message, status, passes=passes, wait_s=wait_s)


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether an object is encrypted with a key of its own, so that its ETag is no MD5."""
    own = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    return own or "x-amz-server-side-encryption-customer-algorithm" in headers


def client_errors() -> tuple[type[Exception], ...]:
    """Return the errors that a client of boto3's raises."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - loads late

    return BotoCoreError, ClientError


def code_of(error: Exception) -> str:
    """Return the store's code, empty where it gave none."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """Return the HTTP status, 0 where there was no answer."""
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _response(error: Exception) -> dict[str, Any]:
    # An error of the connection has the field, too: it is None.
    return getattr(error, "response", None) or {}
