"""The state of the BlackPearl of tests: what both halves of its protocol work on."""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from blackpearl_buckets import Bucket, Policy, Version, check_key
from blackpearl_documents import Documents
from blackpearl_jobs import Job, Jobs
from blackpearl_messages import Refused, bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blackpearl_messages import Request
    from blackpearl_options import Options

# The description tells that there are bad names. These are S3's, and upper case and underscores,
# which the vendor's own tests use.
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


@dataclass
class Appliance:
    """Buckets, policies and jobs; whoever looks at them holds ``lock``."""

    options: Options
    scheme: str = "http"
    port: int = 0
    buckets: dict[str, Bucket] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.options)
        self.documents = Documents(self.options.omit, bom=self.options.bom)
        self._reads: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self.default_policy = self.add_policy()

    @property
    def node(self) -> dict[str, object]:
        """Where its only node is."""
        port = "HttpsPort" if self.scheme == "https" else "HttpPort"
        return {"EndPoint": self.options.node, port: self.port}

    def add_policy(
        self,
        checksum_type: str | None = None,
        versioning: str | None = None,
        *,
        checksum_required: bool | None = None,
    ) -> Policy:
        """Add a data policy; what is not given is as in the options."""
        options = self.options
        required = options.checksum_required if checksum_required is None else checksum_required
        policy = Policy(
            f"policy{next(self._numbers)}",
            checksum_type or options.checksum_type,
            required,
            versioning or options.versioning,
            options.blob_size,
        )
        self.policies[policy.id] = policy
        return policy

    def policy(self, name_or_id: str) -> Policy:
        for each in self.policies.values():
            if name_or_id in (each.id, each.name):
                return each
        raise Refused(404, "NotFound", f"Data policy does not exist: {name_or_id}")

    def add_bucket(self, name: str, policy: Policy | None = None) -> Bucket:
        if not _BUCKET_NAME.fullmatch(name):
            raise bad_request(f"Not a name of a bucket: {name}")
        if name in self.buckets:
            raise Refused(409, "BucketAlreadyExists", f"Bucket already exists: {name}")
        self.buckets[name] = bucket = Bucket(name, policy or self.default_policy)
        return bucket

    def bucket(self, name_or_id: str) -> Bucket:
        if name_or_id in self.buckets:
            return self.buckets[name_or_id]
        for each in self.buckets.values():
            if each.id == name_or_id:
                return each
        message = f"Bucket does not exist where SQL: name = '{name_or_id}'"
        raise Refused(404, "NoSuchBucket", message)

    def remove_bucket(self, bucket: Bucket, *, force: bool) -> None:
        """Remove a bucket; with what is in it and the jobs that are on it, where forced."""
        if bucket.versions and not force:
            raise Refused(409, "BucketNotEmpty", f"Bucket is not empty: {bucket.name}")
        for job in self.jobs.active():
            if job.bucket is bucket:
                self.jobs.cancel(job)
        del self.buckets[bucket.name]

    def check_key(self, key: str) -> None:
        check_key(key, ltfs=self.options.ltfs_names)

    def put(self, bucket: Bucket, key: str, content: bytes, metadata: Mapping[str, str]) -> Version:
        """Put an object without a job, in blobs as large as may be."""
        self.check_key(key)
        policy = bucket.policy
        version = bucket.begin(key, len(content), policy.blob_size, metadata)
        for blob in version.blobs:
            blob.take(content[blob.offset : blob.offset + blob.length], policy.checksum_type)
        self.stored(bucket, version)
        return version

    def stored(self, bucket: Bucket, version: Version) -> None:
        """Make an object that has come the latest; where reading tapes takes polls, it is there."""
        bucket.finish(version)
        for blob in version.blobs:
            blob.cached = not self.options.tape_polls

    def in_cache(self, version: Version) -> bool:
        """Tell whether an object can be read now; if not, this counts as a poll."""
        if all(blob.cached for blob in version.blobs):
            return True
        left = self._reads.get(version.id, self.options.tape_polls)
        self._reads[version.id] = left - 1
        if not left:
            for blob in version.blobs:
                blob.cached = True
        return not left

    def asked(self, job: Job) -> None:
        """Count a request for a blob of a job, which may be one too many."""
        job.requests += 1
        after = self.options.lose_job_after
        if after is not None and job.requests > after:
            self.jobs.lose(job, 404)
            self.jobs.find(job.id)

    def wait_headers(self, request: Request | None = None) -> dict[str, str]:
        """Return what tells a client to wait, and to come back to where it was."""
        headers = {"Retry-After": str(self.options.retry_after)}
        if request:
            query = f"?{request.raw_query}" if request.raw_query else ""
            headers["Location"] = (
                f"{self.scheme}://{request.headers.get('host')}{request.path}{query}"
            )
        return headers

    def redirect(self, request: Request, message: str) -> Refused:
        return Refused(307, "TemporaryRedirect", message, self.wait_headers(request))


def parsed(body: bytes) -> ET.Element:
    """Return the root of a request's XML."""
    try:
        return ET.fromstring(body)  # noqa: S314 - of tests on loopback
    except ET.ParseError as error:
        raise bad_request(f"The body is no XML: {error}") from error
