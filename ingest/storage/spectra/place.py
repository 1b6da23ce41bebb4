"""One bucket of an appliance: what it is called, requests to it, and what its policy asks for."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import CredentialsRefused, UsageError
from ingest.storage.spectra import documents
from ingest.storage.spectra.checksums import kind_of
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.signature import escaped_path
from ingest.storage.spectra.wire import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.errors import IngestError
    from ingest.storage.spectra.checksums import Kind
    from ingest.storage.spectra.wire import Wire

_REST = "_rest_"
_BUCKET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a bucket's data policy asks for: the checksum of each blob, and which versions are kept.

    ``versioning`` is NONE, KEEP_LATEST or KEEP_MULTIPLE_VERSIONS; it is empty where it is unknown.
    """

    checksum: Kind = "NONE"
    versioning: str = ""

    @property
    def keeps_one(self) -> bool:
        """Whether an object cannot be replaced, but has to be deleted first."""
        return self.versioning == "NONE"

    @property
    def keeps_old(self) -> bool:
        """Whether, for all that is known, an object that is deleted may stay as an old version."""
        return self.versioning not in {"NONE", "KEEP_LATEST"}


class Place:
    """A bucket, and the wire to its appliance."""

    def __init__(self, wire: Wire, bucket: str) -> None:
        """Make no request yet."""
        self.wire = wire
        self.bucket = bucket
        self._policy: Policy | None = None
        self._asking = threading.Lock()

    @property
    def url(self) -> str:
        """``ds3://bucket``."""
        return f"ds3://{self.bucket}"

    def what(self, verb: str, key: str) -> str:
        """Return how an error about an object begins."""
        return f"cannot {verb} {self.url}/{key}"

    def error(self, verb: str, key: str, error: IngestError) -> IngestError:
        """Return ``error`` as one that names the object."""
        if f"{self.url}/{key}" in error.message:
            return error
        # Of a request that was for all of a job, what was answered.
        _, _, answered = error.message.partition(f"{self.wire.at}: ")
        what = f"{self.what(verb, key)}{self.wire.at}"
        return type(error)(f"{what}: {answered or error.message}", hint=error.hint)

    def path(self, key: str = "") -> str:
        """Return the path of an object, or of the bucket, as it is sent."""
        return escaped_path(self.bucket, key) if key else escaped_path(self.bucket)

    def policy(self) -> Policy:
        """Return what the bucket's data policy asks for; it is asked once.

        Who may not read the policy sends no checksums. Raises ``BucketNotFound``, and what the
        wire raises.
        """
        with self._asking:
            if self._policy is None:
                self._policy = self._ask_policy()
            return self._policy

    def _ask_policy(self) -> Policy:
        what = f"cannot look up the data policy of {self.url}"
        try:
            bucket = rest(what, "GET", "bucket", self.bucket)
            told = self.wire.read(bucket, documents.data, Stop())
            name = told.get("DataPolicyId", "")
            if not name:
                return Policy()
            policy = rest(what, "GET", "data_policy", name)
            found = self.wire.read(policy, documents.data, Stop())
        except CredentialsRefused as error:
            if "AccessDenied" not in error.message:
                raise
            return Policy()
        kind = kind_of(found.get("ChecksumType") or "NONE")
        return Policy(kind, found.get("Versioning", ""))


def rest(
    what: str,
    method: str,
    *path: str,
    query: Mapping[str, str | None] | None = None,
    body: bytes | None = None,
) -> Request:
    """Return a request for what is below ``/_rest_/``, which S3 has not."""
    return Request(what, method, escaped_path(_REST, *path), query or {}, {}, body)


def bucket_name(text: str) -> str:
    """Return ``text``. Raises ``UsageError`` where no bucket can be called so."""
    if not _BUCKET.fullmatch(text):
        raise UsageError(
            f"{text!r} should be a bucket's name: letters, digits, dots, hyphens or underscores"
        )
    return text
