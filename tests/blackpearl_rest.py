"""The half of the protocol below ``/_rest_/``: buckets, folders, policies, the system."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote

import blackpearl_bulk as bulk
from blackpearl_documents import (
    bucket_fields,
    object_fields,
    placed_blob,
    policy_fields,
    tape_fields,
)
from blackpearl_messages import REST, Refused, Reply, Request, bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from blackpearl_appliance import Appliance
    from blackpearl_buckets import Bucket

_PAGE = 1000


def answer(appliance: Appliance, request: Request) -> Reply:
    """Answer a request below ``/_rest_/``."""
    kind, _, name = request.path.removeprefix(REST).partition("/")
    name = unquote(name.rstrip("/"))
    handler = _HANDLERS.get((request.method, kind, bool(name)))
    if handler is None:
        raise Refused(404, "NotFound", f"No such resource: {request.method} {request.path}")
    with appliance.lock:
        return handler(appliance, request, name)


def _data(appliance: Appliance, values: Mapping[str, object], status: int = 200) -> Reply:
    documents = appliance.documents
    return Reply(status, documents.data(documents.fields(values)))


# Buckets and folders


def _bucket_operation(appliance: Appliance, request: Request, name: str) -> Reply:
    operation = request.query.get("operation", "").lower()
    if operation not in _OPERATIONS:
        raise bad_request(f"Not an operation on buckets: {operation}")
    return _OPERATIONS[operation](appliance, request, appliance.bucket(name))


def _get_bucket(appliance: Appliance, request: Request, name: str) -> Reply:
    if "operation" in request.query:
        return _bucket_operation(appliance, request, name)
    request.only()
    return _data(appliance, bucket_fields(appliance.bucket(name)))


def _get_buckets(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("data_policy_id", "name")
    documents, query = appliance.documents, request.query
    rows = [
        documents.element("Bucket", documents.fields(bucket_fields(bucket)))
        for bucket in appliance.buckets.values()
        if query.get("name", bucket.name) == bucket.name
        and query.get("data_policy_id", bucket.policy.id) == bucket.policy.id
    ]
    return Reply(body=documents.data(*rows))


def _post_bucket(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("data_policy_id", "name")
    wanted = request.query.get("data_policy_id")
    policy = appliance.policy(wanted) if wanted else None
    bucket = appliance.add_bucket(request.query.get("name", ""), policy)
    return _data(appliance, bucket_fields(bucket), 201)


def _delete_bucket(appliance: Appliance, request: Request, name: str) -> Reply:
    request.only("force")
    appliance.remove_bucket(appliance.bucket(name), force="force" in request.query)
    return Reply(204)


def _delete_folder(appliance: Appliance, request: Request, name: str) -> Reply:
    request.only("bucket_id", "recursive")
    if not {"bucket_id", "recursive"} <= request.query.keys():
        raise bad_request("A folder is deleted from a bucket_id, recursive")
    bucket = appliance.bucket(request.query["bucket_id"])
    keys = [key for key in bucket.versions if key.startswith(f"{name}/")]
    if not keys:
        raise Refused(404, "NotFound", f"Folder does not exist: {name}")
    for version in [each for key in keys for each in bucket.versions[key]]:
        if version.complete:
            bucket.drop(version)
    return Reply(204)


# Objects


def _get_object(appliance: Appliance, request: Request, name: str) -> Reply:
    request.only("bucket_id")
    bucket = appliance.bucket(request.query.get("bucket_id", ""))
    return _data(appliance, object_fields(bucket, bucket.find(name, None)))


def _get_objects(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("bucket_id", "latest", "name", "page_length", "page_offset", "type")
    query, documents = request.query, appliance.documents
    bucket = appliance.bucket(query.get("bucket_id", ""))
    like = ".*".join(re.escape(part) for part in query.get("name", "%").split("%"))
    matches = re.compile(like, re.DOTALL).fullmatch
    found = [
        row
        for version in bucket.listed("", "", versions=not request.flag("latest"))
        for row in [object_fields(bucket, version)]
        if query.get("type", row["Type"]) == row["Type"] and matches(version.key)
    ]
    length = request.number("page_length")
    length = _PAGE if length is None else length
    first = length * (request.number("page_offset") or 0)
    page = found[first : first + length]
    headers = {
        "page-truncated": str(max(len(found) - first - length, 0)),
        "total-result-count": str(len(found)),
    }
    rows = [documents.element("S3Object", documents.fields(each)) for each in page]
    return Reply(200, documents.data(*rows), headers)


def _placement(appliance: Appliance, request: Request, bucket: Bucket) -> Reply:
    """Everything is on one tape."""
    request.only("full_details", "operation")
    documents = appliance.documents
    versions = [
        bucket.find(each.get("Name", ""), each.get("VersionId")) for each in bulk.listed(request)
    ]
    tape = documents.element("Tape", documents.fields(tape_fields(bucket)))
    tapes = documents.element("Tapes", tape)
    if "full_details" not in request.query:
        return Reply(body=documents.data(tapes))
    rows = [
        placed_blob(documents, version, blob, tapes)
        for version in versions
        for blob in version.blobs
    ]
    return Reply(body=documents.data(*rows))


# Data policies and the system


def _get_policy(appliance: Appliance, request: Request, name: str) -> Reply:
    request.only()
    return _data(appliance, policy_fields(appliance.policy(name)))


def _get_policies(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("name")
    documents = appliance.documents
    rows = [
        documents.element("DataPolicy", documents.fields(policy_fields(each)))
        for each in appliance.policies.values()
        if request.query.get("name", each.name) == each.name
    ]
    return Reply(body=documents.data(*rows))


def _health(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only()
    values = {"DatabaseFilesystemFreeSpace": "NORMAL", "MsRequiredToVerifyDataPlannerHealth": 1}
    return _data(appliance, values)


def _information(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only()
    documents = appliance.documents
    build = {"Branch": "tests", "Revision": 1, "Version": "5.4.0"}
    start = {"ApiVersion": "5.4.0", "BackendActivated": True}
    now = int(1000 * (time.time() + appliance.options.clock_offset_s))
    end = {"InstanceId": appliance.default_policy.id, "Now": now, "SerialNumber": "TESTS"}
    return Reply(
        body=documents.data(
            documents.fields(start),
            documents.element("BuildInformation", documents.fields(build)),
            documents.fields(end),
        )
    )


_OPERATIONS: dict[str, Callable[[Appliance, Request, Bucket], Reply]] = {
    "start_bulk_put": bulk.start_put,
    "start_bulk_get": bulk.start_get,
    "get_physical_placement": _placement,
    "verify_physical_placement": _placement,
}
_HANDLERS: dict[tuple[str, str, bool], Callable[[Appliance, Request, str], Reply]] = {
    ("PUT", "bucket", True): _bucket_operation,
    ("GET", "bucket", True): _get_bucket,
    ("GET", "bucket", False): _get_buckets,
    ("POST", "bucket", False): _post_bucket,
    ("DELETE", "bucket", True): _delete_bucket,
    ("DELETE", "folder", True): _delete_folder,
    ("GET", "job", True): bulk.get_job,
    ("GET", "job", False): bulk.get_jobs,
    ("PUT", "job", True): bulk.modify_job,
    ("DELETE", "job", True): bulk.end_job,
    ("DELETE", "job", False): bulk.end_jobs,
    ("GET", "active_job", False): bulk.active_job,
    ("GET", "active_job", True): bulk.active_job,
    ("GET", "completed_job", False): bulk.completed_job,
    ("GET", "completed_job", True): bulk.completed_job,
    ("GET", "canceled_job", False): bulk.canceled_job,
    ("GET", "canceled_job", True): bulk.canceled_job,
    ("GET", "job_chunk", False): bulk.ready_chunks,
    ("GET", "job_chunk", True): bulk.get_chunk,
    ("PUT", "job_chunk", True): bulk.allocate_chunk,
    ("GET", "object", True): _get_object,
    ("GET", "object", False): _get_objects,
    ("GET", "data_policy", True): _get_policy,
    ("GET", "data_policy", False): _get_policies,
    ("GET", "system_health", False): _health,
    ("GET", "system_information", False): _information,
}
