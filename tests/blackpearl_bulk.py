"""Bulk jobs over the wire: started, listed, changed, ended, and their chunks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from blackpearl_appliance import parsed
from blackpearl_documents import job_row
from blackpearl_jobs import MOST_OBJECTS, PRIORITIES, Entry, Job
from blackpearl_messages import Refused, Reply, bad_request

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from blackpearl_appliance import Appliance
    from blackpearl_buckets import Bucket
    from blackpearl_jobs import Chunk
    from blackpearl_messages import Request

SMALLEST_UPLOAD = 10 << 20
LARGEST_UPLOAD = 100 << 30


def start_put(appliance: Appliance, request: Request, bucket: Bucket) -> Reply:
    request.only(
        *("aggregating", "force", "ignore_naming_conflicts", "implicit_job_id_resolution"),
        *("max_upload_size", "minimize_spanning_across_media", "name", "operation"),
        *("pre_allocate_job_space", "priority", "verify_after_write"),
    )
    size = request.number("max_upload_size")
    if size is not None and not SMALLEST_UPLOAD <= size <= LARGEST_UPLOAD:
        raise bad_request(f"max_upload_size is {SMALLEST_UPLOAD} to {LARGEST_UPLOAD}, not {size}")
    blob_size = min(size or LARGEST_UPLOAD, bucket.policy.blob_size)
    wanted = [_sized(appliance, each) for each in listed(request)]
    if len({key for key, _ in wanted}) < len(wanted):
        raise bad_request("The list of objects has duplicate names")
    if "ignore_naming_conflicts" in request.query:
        wanted = [each for each in wanted if not _there(bucket, *each)]
    job = _job(appliance, request, bucket, "PUT")
    entries = _begin(bucket, wanted, blob_size)
    if appliance.options.empty_at_once:
        _take_empty(appliance, bucket, entries)
    return job_reply(appliance, appliance.jobs.add(job, entries))


def _sized(appliance: Appliance, wanted: Element) -> tuple[str, int]:
    key, size = wanted.get("Name", ""), wanted.get("Size", "")
    if not size.isascii() or not size.isdigit():
        raise bad_request(f"Not a size: {size!r} of {key!r}")
    appliance.check_key(key)
    return key, int(size)


def _there(bucket: Bucket, key: str, size: int) -> bool:
    """Tell whether an object is left out of a job, as it is there in the same size."""
    latest = bucket.latest(key)
    return latest is not None and latest.size == size


def _begin(bucket: Bucket, wanted: list[tuple[str, int]], blob_size: int) -> list[Entry]:
    """Make room for all objects, or for none."""
    begun = []
    try:
        for key, size in wanted:
            begun.append(bucket.begin(key, size, blob_size, {}))
    except Refused:
        for version in begun:
            bucket.drop(version)
        raise
    return [Entry(version, blob) for version in begun for blob in version.blobs]


def _take_empty(appliance: Appliance, bucket: Bucket, entries: list[Entry]) -> None:
    for entry in entries:
        if not entry.version.size:
            entry.blob.take(b"", bucket.policy.checksum_type)
            entry.done = True
            appliance.stored(bucket, entry.version)


def start_get(appliance: Appliance, request: Request, bucket: Bucket) -> Reply:
    request.only(
        *("aggregating", "chunk_client_processing_order_guarantee", "implicit_job_id_resolution"),
        *("name", "operation", "priority"),
    )
    entries: dict[str, Entry] = {}
    asked = set()
    for each in listed(request):
        version = bucket.find(each.get("Name", ""), each.get("VersionId"))
        start, stop = _range(each, version.size)
        if (version.id, start, stop) in asked:
            raise bad_request(f"The list of objects names {version.key!r} twice")
        asked.add((version.id, start, stop))
        for blob in version.blobs:
            if (start < blob.offset + blob.length and blob.offset < stop) or not version.size:
                entries.setdefault(blob.id, Entry(version, blob))
    job = _job(appliance, request, bucket, "GET")
    return job_reply(appliance, appliance.jobs.add(job, entries.values()))


def _range(wanted: Element, size: int) -> tuple[int, int]:
    """Return where the wanted bytes of an object start and stop."""
    offset, length = wanted.get("Offset"), wanted.get("Length")
    if not all(each is None or (each.isascii() and each.isdigit()) for each in (offset, length)):
        raise bad_request(f"Not a range: {offset} {length}")
    start = int(offset or 0)
    stop = size if length is None else start + int(length)
    if stop > size or (start >= stop and size):
        raise bad_request(f"Not in an object of {size} bytes: {length} from {start}")
    return start, stop


def listed(request: Request) -> list[Element]:
    """Return the objects that a body lists."""
    root = parsed(request.body) if request.body else None
    found = root.findall("Object") if root is not None and root.tag == "Objects" else []
    if not found:
        raise bad_request("The bulk command requires a list of objects to process")
    if len(found) > MOST_OBJECTS:
        raise bad_request(f"A job has at most {MOST_OBJECTS} objects, not {len(found)}")
    if not all(each.get("Name") for each in found):
        raise bad_request("The list of objects has one without a name")
    return found


def _job(appliance: Appliance, request: Request, bucket: Bucket, kind: str) -> Job:
    """Return a job for more blobs; one that aggregates may be there already."""
    jobs, most = appliance.jobs, appliance.options.max_jobs
    aggregating = request.flag("aggregating")
    guarantee = request.query.get("chunk_client_processing_order_guarantee", "NONE").upper()
    if guarantee not in ("NONE", "IN_ORDER"):
        raise bad_request(f"Not a guarantee: {guarantee}")
    job = Job(
        bucket,
        kind,
        request.query.get("name", "Untitled"),
        _priority(request) or ("HIGH" if kind == "GET" else "NORMAL"),
        in_order=guarantee == "IN_ORDER",
        aggregating=aggregating,
        implicit=request.flag("implicit_job_id_resolution"),
    )
    for each in jobs.active():
        if aggregating and each.aggregating and (each.bucket, each.kind) == (bucket, kind):
            return each
    if most is not None and len(jobs.active()) >= most:
        message = f"There are {most} jobs, which is the most there may be"
        raise Refused(503, "SlowDown", message, appliance.wait_headers())
    return job


def _priority(request: Request) -> str | None:
    priority = request.query.get("priority", "").upper()
    if priority and priority not in PRIORITIES:
        raise bad_request(f"Not a priority: {priority}")
    return priority or None


def job_reply(
    appliance: Appliance, job: Job, chunks: list[Chunk] | None = None, **headers: str
) -> Reply:
    """Return a job with these of its chunks, by default all while it is in progress."""
    if chunks is None:
        chunks = job.chunks if job.status == "IN_PROGRESS" else []
    return Reply(200, appliance.documents.master_list(job, chunks, appliance.node), headers)


# Jobs


def get_job(appliance: Appliance, request: Request, job_id: str) -> Reply:
    request.only()
    return job_reply(appliance, appliance.jobs.find(job_id))


def get_jobs(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("bucket_id", "full_details")
    return Reply(body=appliance.documents.jobs(_jobs_of(appliance, request)))


def _jobs_of(appliance: Appliance, request: Request) -> list[Job]:
    wanted = request.query.get("bucket_id")
    bucket = appliance.bucket(wanted) if wanted is not None else None
    return [job for job in appliance.jobs.active() if bucket in (None, job.bucket)]


def modify_job(appliance: Appliance, request: Request, job_id: str) -> Reply:
    """Change a job, if only the time since it was last asked about; no job here ends of age."""
    request.only("close_aggregating_job", "created_at", "name", "priority")
    job = appliance.jobs.running(job_id, appliance.options.gone)
    job.name = request.query.get("name", job.name)
    job.priority = _priority(request) or job.priority
    if "close_aggregating_job" in request.query:
        job.aggregating = False
        job.settle()
    return job_reply(appliance, job)


def end_job(appliance: Appliance, request: Request, job_id: str) -> Reply:
    request.only("force")
    job = appliance.jobs.running(job_id, 404)
    if "force" in request.query:
        appliance.jobs.cancel(job)
    else:
        appliance.jobs.truncate(job)
    return Reply(204)


def end_jobs(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("bucket_id", "force")
    if "force" not in request.query:
        raise bad_request("Ending all jobs needs force")
    for job in _jobs_of(appliance, request):
        appliance.jobs.cancel(job)
    return Reply(204)


def _in_status(status: str, tag: str, appliance: Appliance, request: Request, job_id: str) -> Reply:
    request.only("bucket_id")
    documents, jobs = appliance.documents, appliance.jobs
    found = [jobs.find(job_id)] if job_id else list(jobs.all.values())
    rows = [documents.fields(job_row(job)) for job in found if job.status == status]
    if job_id and not rows:
        raise Refused(404, "NotFound", f"Job is not {status}: {job_id}")
    return Reply(
        body=documents.data(*(rows if job_id else [documents.element(tag, row) for row in rows]))
    )


active_job = partial(_in_status, "IN_PROGRESS", "ActiveJob")
completed_job = partial(_in_status, "COMPLETED", "CompletedJob")
canceled_job = partial(_in_status, "CANCELED", "CanceledJob")


# Chunks


def ready_chunks(appliance: Appliance, request: Request, _: str) -> Reply:
    request.only("job", "job_chunk", "preferred_number_of_chunks")
    if "job" not in request.query:
        raise bad_request("Chunks need a job")
    most = request.number("preferred_number_of_chunks")
    only = request.query.get("job_chunk")
    job = appliance.jobs.running(request.query["job"], appliance.options.gone)
    chunks = [each for each in appliance.jobs.poll(job) if only in (None, each.id)]
    # The vendor's answer has Retry-After with chunks as well as without.
    retry = {"Retry-After": str(appliance.options.retry_after)}
    return job_reply(appliance, job, chunks[: most or None], **retry)


def _chunk(appliance: Appliance, chunk_id: str) -> tuple[Job, Chunk]:
    for job in appliance.jobs.active():
        for chunk in job.chunks:
            if chunk.id == chunk_id and not (chunk.done or job.aggregating):
                return job, chunk
    raise Refused(404, "NotFound", f"Chunk does not exist: {chunk_id}")


def allocate_chunk(appliance: Appliance, request: Request, chunk_id: str) -> Reply:
    request.only("operation")
    if request.query.get("operation", "").lower() != "allocate":
        raise bad_request("The operation on chunks is allocate")
    job, chunk = _chunk(appliance, chunk_id)
    appliance.jobs.poll(job)
    if not chunk.ready:
        raise appliance.redirect(request, "The cache is full")
    return _chunk_reply(appliance, job, chunk)


def get_chunk(appliance: Appliance, request: Request, chunk_id: str) -> Reply:
    request.only()
    return _chunk_reply(appliance, *_chunk(appliance, chunk_id))


def _chunk_reply(appliance: Appliance, job: Job, chunk: Chunk) -> Reply:
    documents = appliance.documents
    return Reply(body=documents.document(documents.chunk(job, chunk)))
