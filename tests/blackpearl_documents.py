"""The XML of the BlackPearl of tests, shaped as the vendor's own."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blackpearl_buckets import Blob, Bucket, Policy, Version
    from blackpearl_jobs import Chunk, Entry, Job
    from blackpearl_messages import Refused

USER = "spectra"
USER_ID = "00000002-0000-4000-8000-00000000c0de"
NODE_ID = "00000001-0000-4000-8000-00000000c0de"
_PLAIN = re.compile(r"[\w./ -]*").fullmatch
_BREAKS = {"\r": "&#13;"}


def when(time: float) -> str:
    """Return Unix time as the vendor writes it: UTC, in milliseconds."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def said(value: object) -> str:
    """Return a value as text: booleans in lower case, nothing for None."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _quoted(value: object) -> str:
    """Return a value as an attribute; most need no escaping, and jobs have thousands."""
    text = value if isinstance(value, str) else said(value)
    return f'"{text}"' if _PLAIN(text) else quoteattr(text)


class Documents:
    """Writes the documents; what ``omit`` names, elements or attributes, is left out of them."""

    def __init__(self, omit: frozenset[str], *, bom: bool) -> None:
        self._omit = omit
        self._start = "\ufeff" if bom else ""

    def document(self, root: str) -> bytes:
        return f"{self._start}{root}".encode()

    def element(
        self, name: str, *children: str, attributes: Mapping[str, object] | None = None
    ) -> str:
        """Return an element of elements, or nothing where it is to be left out."""
        if name in self._omit:
            return ""
        told = "".join(
            f" {key}={_quoted(value)}"
            for key, value in (attributes or {}).items()
            if value is not None and key not in self._omit
        )
        inside = "".join(children)
        return f"<{name}{told}>{inside}</{name}>" if inside else f"<{name}{told}/>"

    def fields(self, values: Mapping[str, object]) -> str:
        """Return an element for each value, empty for None."""
        return "".join(
            self.element(name, escape(said(value), _BREAKS)) for name, value in values.items()
        )

    def data(self, *children: str) -> bytes:
        return self.document(self.element("Data", *children))

    def error(self, refused: Refused, resource: str) -> bytes:
        values = {
            "Code": refused.code,
            "HttpErrorCode": refused.status,
            "Message": f"{refused.code}[{refused.status}]: {refused.message}",
            "Resource": resource,
            "ResourceId": 2097,
        }
        return self.document(self.element("Error", self.fields(values)))

    def master_list(self, job: Job, chunks: Iterable[Chunk], node: Mapping[str, object]) -> bytes:
        """Return a job with these of its chunks; without any node where it is over."""
        nodes = ""
        if job.status == "IN_PROGRESS":
            nodes = self.element("Nodes", self.element("Node", attributes={**node, "Id": NODE_ID}))
        objects = [self.chunk(job, chunk) for chunk in chunks]
        return self.document(
            self.element("MasterObjectList", nodes, *objects, attributes=job_fields(job))
        )

    def chunk(self, job: Job, chunk: Chunk) -> str:
        node = NODE_ID if chunk.ready else None
        about = {"ChunkId": chunk.id, "ChunkNumber": chunk.number, "NodeId": node}
        blobs = (self._blob(job, entry) for entry in chunk.entries)
        return self.element("Objects", *blobs, attributes=about)

    def _blob(self, job: Job, entry: Entry) -> str:
        blob = entry.blob
        about = {
            "Bucket": job.bucket.name,
            "Id": blob.id,
            "InCache": entry.done if job.kind == "PUT" else blob.cached,
            "Latest": entry.version.latest or job.kind == "PUT",
            "Length": blob.length,
            "Name": entry.version.key,
            "Offset": blob.offset,
            "VersionId": entry.version.id,
        }
        return self.element("Object", attributes=about)

    def jobs(self, jobs: Iterable[Job]) -> bytes:
        rows = (self.element("Job", attributes=job_fields(job)) for job in jobs)
        return self.document(self.element("Jobs", *rows))

    def buckets(self, buckets: Iterable[Bucket]) -> bytes:
        rows = (
            self.element("Bucket", self.fields({"CreationDate": when(b.created), "Name": b.name}))
            for b in buckets
        )
        return self.document(
            self.element("ListAllMyBucketsResult", self.element("Buckets", *rows), self._owner())
        )

    def _owner(self) -> str:
        return self.element("Owner", self.fields({"DisplayName": USER, "ID": USER_ID}))

    def listing(
        self, about: Mapping[str, object], rows: Iterable[Version | str], *, versions: bool
    ) -> bytes:
        """Return a page of a bucket, of objects and common prefixes."""
        name = "Version" if versions else "Contents"
        written = (
            self.element("CommonPrefixes", self.fields({"Prefix": row}))
            if isinstance(row, str)
            else self._row(name, row)
            for row in rows
        )
        return self.document(self.element("ListBucketResult", *written, self.fields(about)))

    def _row(self, name: str, version: Version) -> str:
        start = {
            "ETag": etag(version),
            "IsLatest": version.latest,
            "Key": version.key,
            # Empty while it is still coming, as the vendor's API reference has it.
            "LastModified": when(version.created) if version.complete else None,
        }
        end = {"Size": version.size, "StorageClass": None, "VersionId": version.id}
        return self.element(name, self.fields(start), self._owner(), self.fields(end))

    def deleted(self, deleted: Iterable[str], errors: Iterable[tuple[str, Refused]]) -> bytes:
        rows = [self.element("Deleted", self.fields({"Key": key})) for key in deleted]
        rows += [
            self.element("Error", self.fields({"Code": e.code, "Key": key, "Message": e.message}))
            for key, e in errors
        ]
        return self.document(self.element("DeleteResult", *rows))


def etag(version: Version) -> str:
    """Return the checksum of an object of one blob, in hexadecimal, or nothing.

    The description has the element and does not tell what is in it.
    """
    checksum = version.blobs[0].checksum
    if len(version.blobs) > 1 or checksum is None:
        return ""
    return base64.b64decode(checksum).hex()


def job_fields(job: Job) -> dict[str, object]:
    entries = list(job.entries)
    done = sum(entry.blob.length for entry in entries if entry.done)
    cached = sum(entry.blob.length for entry in entries if entry.blob.cached)
    return {
        "Aggregating": job.aggregating,
        "BucketName": job.bucket.name,
        "CachedSizeInBytes": done if job.kind == "PUT" else cached,
        "ChunkClientProcessingOrderGuarantee": "IN_ORDER" if job.in_order else "NONE",
        "CompletedSizeInBytes": 0 if job.kind == "PUT" else done,
        "EntirelyInCache": all(entry.blob.cached for entry in entries),
        "JobId": job.id,
        "Naked": False,
        "Name": job.name,
        "OriginalSizeInBytes": job.size,
        "Priority": job.priority,
        "RequestType": job.kind,
        "StartDate": when(job.created),
        "Status": job.status,
        "UserId": USER_ID,
        "UserName": USER,
        "WriteOptimization": "CAPACITY",
    }


def job_row(job: Job) -> dict[str, object]:
    """Return a job as lists of jobs in one status have it."""
    return {
        "BucketId": job.bucket.id,
        "CreatedAt": when(job.created),
        "Id": job.id,
        "Name": job.name,
        "OriginalSizeInBytes": job.size,
        "Priority": job.priority,
        "RequestType": job.kind,
    }


def policy_fields(policy: Policy) -> dict[str, object]:
    return {
        "AlwaysForcePutJobCreation": False,
        "AlwaysMinimizeSpanningAcrossMedia": False,
        "BlobbingEnabled": True,
        "ChecksumType": policy.checksum_type,
        "CreationDate": when(0),
        "DefaultBlobSize": policy.blob_size,
        "DefaultGetJobPriority": "HIGH",
        "DefaultPutJobPriority": "NORMAL",
        "DefaultVerifyAfterWrite": False,
        "DefaultVerifyJobPriority": "LOW",
        "EndToEndCrcRequired": policy.checksum_required,
        "Id": policy.id,
        "Name": policy.name,
        "RebuildPriority": "LOW",
        "Versioning": policy.versioning,
    }


def bucket_fields(bucket: Bucket) -> dict[str, object]:
    return {
        "CreationDate": when(bucket.created),
        "DataPolicyId": bucket.policy.id,
        "Id": bucket.id,
        "LastPreferredChunkSizeInBytes": None,
        "LogicalUsedCapacity": None,
        "Name": bucket.name,
        "UserId": USER_ID,
    }


def object_fields(bucket: Bucket, version: Version) -> dict[str, object]:
    return {
        "BucketId": bucket.id,
        "CreationDate": when(version.created) if version.complete else None,
        "Id": version.id,
        "Latest": version.latest,
        "Name": version.key,
        "Type": "FOLDER" if version.key.endswith("/") else "DATA",
    }


def tape_fields(bucket: Bucket) -> dict[str, object]:
    return {
        "AssignedToStorageDomain": True,
        "AvailableRawCapacity": 10_000,
        "BarCode": "TEST00L6",
        "BucketId": bucket.id,
        "DescriptionForIdentification": None,
        "EjectDate": None,
        "EjectLabel": None,
        "EjectLocation": None,
        "EjectPending": None,
        "FullOfData": False,
        "Id": "00000003-0000-4000-8000-00000000c0de",
        "LastAccessed": None,
        "LastCheckpoint": None,
        "LastModified": None,
        "LastVerified": None,
        "PartitionId": None,
        "PreviousState": None,
        "SerialNumber": "TEST00",
        "State": "NORMAL",
        "TakeOwnershipPending": False,
        "TotalRawCapacity": 20_000,
        "Type": "LTO6",
        "WriteProtected": False,
    }


def placed_blob(documents: Documents, version: Version, blob: Blob, tapes: str) -> str:
    """Return a blob with the tapes that it is on."""
    about = {
        "Length": blob.length,
        "Name": version.key,
        "Offset": blob.offset,
        "Latest": version.latest,
        "VersionId": version.id,
    }
    placement = documents.element("PhysicalPlacement", tapes)
    return documents.element(
        "Object", documents.fields({"Id": blob.id}), placement, attributes=about
    )
