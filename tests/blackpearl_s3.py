"""The half of the protocol that looks like S3: buckets, objects and blobs by path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from blackpearl_appliance import parsed
from blackpearl_buckets import Version
from blackpearl_checksums import HEADER_NAMES, check, verify
from blackpearl_documents import etag, when
from blackpearl_messages import Refused, Reply, Request, bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from blackpearl_appliance import Appliance
    from blackpearl_buckets import Blob, Bucket
    from blackpearl_jobs import Chunk, Entry, Job

_MOST_KEYS = 1000
_META = "x-amz-meta-"
# What the contract has for a blob of a job that is over.
_OVER = {"PUT": 410, "GET": 404}


def answer(appliance: Appliance, request: Request) -> Reply:
    """Answer a request whose path does not begin with ``/_rest_/``."""
    name, key = request.bucket_and_key
    if not name:
        if request.method != "GET":
            raise _not_allowed(request)
        request.only()
        with appliance.lock:
            return Reply(body=appliance.documents.buckets(appliance.buckets.values()))
    handlers = _OBJECT if key else _BUCKET
    if request.method not in handlers:
        raise _not_allowed(request)
    return handlers[request.method](appliance, request, name, key)


def _not_allowed(request: Request) -> Refused:
    return Refused(405, "MethodNotAllowed", f"{request.method} {request.path}")


# Buckets


def _put_bucket(appliance: Appliance, request: Request, name: str, _: str) -> Reply:
    request.only()
    if request.path.endswith("/"):
        raise bad_request(f"Not a name of a bucket: {request.path}")
    with appliance.lock:
        appliance.add_bucket(name)
    return Reply()


def _head_bucket(appliance: Appliance, request: Request, name: str, _: str) -> Reply:
    request.only()
    with appliance.lock:
        appliance.bucket(name)
    return Reply()


def _delete_bucket(appliance: Appliance, request: Request, name: str, _: str) -> Reply:
    request.only()
    with appliance.lock:
        appliance.remove_bucket(appliance.bucket(name), force=False)
    return Reply(204)


def _list_bucket(appliance: Appliance, request: Request, name: str, _: str) -> Reply:
    request.only("delimiter", "marker", "max_keys", "prefix", "versions")
    query = request.query
    prefix, delimiter, marker = (query.get(key, "") for key in ("prefix", "delimiter", "marker"))
    most = request.number("max_keys")
    most = _MOST_KEYS if most is None else min(most, _MOST_KEYS)
    versions = "versions" in query  # a void parameter: its presence counts, not its value
    with appliance.lock:
        bucket = appliance.bucket(name)
        listed = bucket.listed(prefix, marker, versions=versions)
        rows, more = _page(listed, prefix, delimiter, marker, most)
        last = rows[-1] if rows else None
        about = {
            "CreationDate": when(bucket.created),
            "Delimiter": delimiter or None,
            "IsTruncated": more,
            "Marker": marker or None,
            "MaxKeys": most,
            "Name": bucket.name,
            "NextMarker": (last.key if isinstance(last, Version) else last) if more else None,
            "Prefix": prefix or None,
        }
        return Reply(body=appliance.documents.listing(about, rows, versions=versions))


def _page(
    listed: Iterable[Version], prefix: str, delimiter: str, marker: str, most: int
) -> tuple[list[Version | str], bool]:
    """Return a page of objects and common prefixes, and whether there are more.

    All versions of a key are on one page, as a marker could not tell which of them were before.
    """
    rows: list[Version | str] = []
    for version in listed:
        row: Version | str = version
        if delimiter:
            end = version.key.find(delimiter, len(prefix))
            row = version if end < 0 else version.key[: end + len(delimiter)]
        if isinstance(row, str) and (row == marker or (rows and row == rows[-1])):
            continue
        last = rows[-1] if rows else None
        if len(rows) >= most and not (isinstance(last, Version) and last.key == version.key):
            return rows, bool(most)
        rows.append(row)
    return rows, False


def _delete_objects(appliance: Appliance, request: Request, name: str, _: str) -> Reply:
    request.only("delete")
    if "delete" not in request.query:
        raise bad_request("POST of a bucket needs ?delete")
    if "content-md5" in request.headers:
        verify("MD5", request.headers["content-md5"], request.body)
    root = parsed(request.body)
    wanted = [(each.findtext("Key"), each.findtext("VersionId")) for each in root.iter("Object")]
    # Their most is S3's; the description tells only that there has to be one.
    if root.tag != "Delete" or not 1 <= len(wanted) <= _MOST_KEYS:
        raise bad_request(f"The body lists {len(wanted)} objects to delete, not 1 to {_MOST_KEYS}")
    quiet = (root.findtext("Quiet") or "").lower() == "true"
    deleted, errors = [], []
    with appliance.lock:
        bucket = appliance.bucket(name)
        for key, version_id in wanted:
            try:
                bucket.delete(key or "", version_id)
                deleted.append(key or "")
            except Refused as refused:
                errors.append((key or "", refused))
    return Reply(body=appliance.documents.deleted([] if quiet else deleted, errors))


# Objects and blobs


def _put_object(appliance: Appliance, request: Request, name: str, key: str) -> Reply:
    request.only("job", "offset")
    if "x-amz-copy-source" in request.headers:
        raise Refused(501, "NotImplemented", "BlackPearl does not copy objects")
    with appliance.lock:
        bucket = appliance.bucket(name)
    policy = bucket.policy
    check(request.headers, request.body, policy.checksum_type, required=policy.checksum_required)
    with appliance.lock:
        found = _put_job(appliance, request, bucket, key)
        if found:
            blob = _put_blob(appliance, request, *found)
        else:
            blob = appliance.put(bucket, key, request.body, _metadata(request)).blobs[0]
        return Reply(headers=_checksum_header(policy.checksum_type, blob))


def _put_job(
    appliance: Appliance, request: Request, bucket: Bucket, key: str
) -> tuple[Job, Chunk, Entry] | None:
    """Return the blob that a PUT is for; None for an object that comes without a job."""
    if "job" in request.query:
        return _placed(appliance, request, bucket, key)
    if "offset" in request.query:
        raise bad_request("An offset needs a job")
    for job in appliance.jobs.active():
        if job.implicit and (job.bucket, job.kind) == (bucket, "PUT"):
            place = job.place(key, 0)
            if place:
                return job, *place
    return None


def _placed(
    appliance: Appliance, request: Request, bucket: Bucket, key: str
) -> tuple[Job, Chunk, Entry]:
    """Return the blob of a job that a request is for, by job and offset."""
    offset = request.number("offset")
    if offset is None or "job" not in request.query:
        raise bad_request("A job needs an offset, and an offset a job")
    job = appliance.jobs.running(request.query["job"], _OVER[request.method])
    appliance.asked(job)
    if job.bucket is not bucket or job.kind != request.method:
        raise bad_request(f"Job {job.id} is a {job.kind} of {job.bucket.name}")
    place = job.place(key, offset, request.query.get("version_id"))
    if not place:
        raise Refused(404, "ObjectNotFound", f"Job {job.id} has no blob {key} at {offset}")
    return job, *place


def _put_blob(appliance: Appliance, request: Request, job: Job, chunk: Chunk, entry: Entry) -> Blob:
    blob = entry.blob
    if entry.done:
        raise Refused(409, "OBJECT_ALREADY_EXISTS", "This blob is in cache already")
    if len(request.body) != blob.length:
        raise bad_request(f"The blob has {blob.length} bytes, not {len(request.body)}")
    if not chunk.ready and not appliance.jobs.allocate(chunk):
        raise appliance.redirect(request, "The cache is full")
    version = entry.version
    blob.take(request.body, job.bucket.policy.checksum_type)
    version.metadata.update(_metadata(request))
    if version.complete:
        appliance.stored(job.bucket, version)
    job.finish(entry)
    return blob


def _metadata(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith(_META)}


def _checksum_header(kind: str, blob: Blob) -> dict[str, str]:
    return {HEADER_NAMES[kind]: blob.checksum} if blob.checksum else {}


def _get_object(appliance: Appliance, request: Request, name: str, key: str) -> Reply:
    request.only("cached_only", "job", "offset", "version_id")
    with appliance.lock:
        bucket = appliance.bucket(name)
        if request.query.keys().isdisjoint(("job", "offset")):
            return _get_naked(appliance, request, bucket, key)
        job, chunk, entry = _placed(appliance, request, bucket, key)
        if not chunk.ready:
            raise appliance.redirect(request, "Not in cache")

        def delivered() -> None:
            # "For each Object node, the client must perform exactly one GET": the vendor's
            # partial_object_get.md. One that was cut short does not count.
            with appliance.lock:
                job.finish(entry)

        return _content(request, bucket, entry.version, entry.blob, delivered)


def _get_naked(appliance: Appliance, request: Request, bucket: Bucket, key: str) -> Reply:
    version = bucket.find(key, request.query.get("version_id"))
    if len(version.blobs) > 1:
        raise bad_request("An object of several blobs can be read in a job only")
    if "cached_only" in request.query and not version.blobs[0].cached:
        raise Refused(404, "ObjectNotFound", "Not in cache")
    if not appliance.in_cache(version):
        raise appliance.redirect(request, "Not in cache")
    return _content(request, bucket, version, version.blobs[0])


def _content(
    request: Request,
    bucket: Bucket,
    version: Version,
    blob: Blob,
    delivered: Callable[[], None] | None = None,
) -> Reply:
    content = blob.content or b""
    # What an object was sent as is not kept: the description has no content type of objects.
    headers = {"Content-Type": "application/octet-stream", **_about(version)}
    wanted = request.headers.get("range")
    if wanted is None:
        headers |= _checksum_header(bucket.policy.checksum_type, blob)
        return Reply(200, content, headers, delivered=delivered)
    ranges = _ranges(wanted, blob, version.size)
    parts = [content[first - blob.offset : last + 1 - blob.offset] for first, last in ranges]
    told = ",".join(f"{first}-{last}" for first, last in ranges)
    headers["Content-Range"] = f"bytes {told}/{version.size}"
    return Reply(206, b"".join(parts), headers, delivered=delivered)


def _ranges(wanted: str, blob: Blob, size: int) -> list[tuple[int, int]]:
    """Return the first and last byte of each range, in positions of the whole object."""
    end = blob.offset + blob.length - 1
    ranges = []
    for each in wanted.removeprefix("bytes=").split(","):
        found = re.fullmatch(r"\s*(\d*)-(\d*)\s*", each)
        if not wanted.startswith("bytes=") or not found or each.strip() == "-":
            raise bad_request(f"Not a range: {wanted}")
        first, last = found.groups()
        low = int(first) if first else max(size - int(last), 0)
        high = min(int(last), end) if first and last else end
        if not blob.offset <= low <= high:
            raise Refused(400, "InvalidRange", f"{each} is not in {blob.offset}-{end}")
        ranges.append((low, high))
    return ranges


def _head_object(appliance: Appliance, request: Request, name: str, key: str) -> Reply:
    request.only("version_id")
    with appliance.lock:
        bucket = appliance.bucket(name)
        version = bucket.find(key, request.query.get("version_id"))
        headers = {"Content-Type": "application/octet-stream", **_about(version)}
        if version.blobs[0].checksum:
            headers["ds3-blob-checksum-type"] = bucket.policy.checksum_type
            for blob in version.blobs:
                headers[f"ds3-blob-checksum-offset-{blob.offset}"] = blob.checksum or ""
        return Reply(headers=headers, length=version.size)


def _about(version: Version) -> dict[str, str]:
    headers = {
        "creation-date": when(version.created),
        "version-id": version.id,
        "Accept-Ranges": "bytes",
        **version.metadata,
    }
    if tag := etag(version):
        headers["ETag"] = f'"{tag}"'
    return headers


def _delete_object(appliance: Appliance, request: Request, name: str, key: str) -> Reply:
    request.only("version_id")
    with appliance.lock:
        appliance.bucket(name).delete(key, request.query.get("version_id"))
    return Reply(204)


def _complete_blob(appliance: Appliance, request: Request, name: str, key: str) -> Reply:
    """End the reading of a blob that the client does not want; a PUT needs its bytes."""
    request.only("blob", "job", "size")
    if not {"blob", "job"} <= request.query.keys():
        raise bad_request("POST of an object needs a blob and a job")
    with appliance.lock:
        bucket = appliance.bucket(name)
        job = appliance.jobs.running(request.query["job"], 404)
        for entry in job.entries:
            if (entry.blob.id, entry.version.key) == (request.query["blob"], key):
                if job.kind == "PUT" or job.bucket is not bucket:
                    raise bad_request(f"Job {job.id} is a {job.kind} of {job.bucket.name}")
                job.finish(entry)
                return Reply()
    raise Refused(404, "NotFound", f"Job {job.id} has no blob {request.query['blob']} of {key}")


_BUCKET = {
    "GET": _list_bucket,
    "PUT": _put_bucket,
    "HEAD": _head_bucket,
    "DELETE": _delete_bucket,
    "POST": _delete_objects,
}
_OBJECT = {
    "GET": _get_object,
    "PUT": _put_object,
    "HEAD": _head_object,
    "DELETE": _delete_object,
    "POST": _complete_blob,
}
