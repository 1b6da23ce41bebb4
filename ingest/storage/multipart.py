"""One large file to S3 in parts, so that a later run, on any machine, can go on where it stopped.

The state of an upload is the store's own: the unfinished uploads of the key, their parts, and
the size and MD5 of each part against the file. Nothing is kept on this side.
"""

from __future__ import annotations

import base64
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.errors import CredentialsRefused, IngestError
from ingest.storage.etags import etag_of, etag_of_parts, is_md5, parts_in
from ingest.storage.parts import (
    FileChanged,
    Halt,
    PartLimits,
    Source,
    Stop,
    Window,
    part_size,
    part_size_of,
)
from ingest.storage.unfinished import (
    StoredPart,
    Target,
    abort,
    client_errors,
    code_of,
    may_pass,
    retried,
    status_of,
    stored_parts,
    unfinished_uploads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that is now an object: ``etag`` is the store's, without quotes; sizes in bytes."""

    size: int
    etag: str
    part_size: int
    parts_sent: int
    parts_resumed: int


def ignore(size: int, /) -> None:
    """Take no notice of progress."""


def upload_file(  # noqa: PLR0913 - a file, where it goes, and how
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    *,
    headers: Mapping[str, Any] | None = None,
    workers: int = 4,
    limits: PartLimits | None = None,
    compare_etag: bool = True,
    keep_partial: bool = True,
    cancelled: threading.Event | None = None,
    progress: Callable[[int], None] = ignore,
    pace: Callable[[int], None] = ignore,
) -> Uploaded:
    """Write a file of one byte or more as an object in parts, whole or not at all.

    Parts that an unfinished upload of ``key`` already has, with the file's size and MD5, are not
    sent again. ``headers`` are ``create_multipart_upload``'s further arguments; an object that
    was resumed and turns out to have another content type or other metadata is sent anew. The
    store checks each part's MD5; the ETag of the whole is compared where it is one of MD5s
    (never with ``compare_etag=False``), its size otherwise. Memory does not grow with the part
    size: parts are read from the file while they are sent, ``workers`` at a time.

    ``progress`` gets the bytes of each part as it is done, one call at a time, from the threads
    that send; a negative number takes back what is to be sent again. ``pace`` is called with the
    bytes of a part before they are sent, and waits as long as a limit demands. Once ``cancelled``
    is set, sending stops within a block of 128 KiB; only an answer under way is waited for, at
    most the client's read timeout.

    Raises ``StoreError``, ``NotFound`` or ``CredentialsRefused``. Its text says whether the
    unfinished upload is kept, for a later call to go on with, or aborted: ``keep_partial``. It
    is aborted in any case when the file changes meanwhile, which is an error too.
    """
    target = Target(client, bucket, key)
    job = _Job(
        target=target,
        source=Source.of(path, target.what),
        headers=headers or {},
        workers=workers,
        limits=limits or PartLimits(),
        compare_etag=compare_etag,
        keep_partial=keep_partial,
        cancelled=cancelled or threading.Event(),
        progress=progress,
        pace=pace,
    )
    if not 0 < job.source.size <= job.limits.largest_file:
        raise target.error(
            f"{path} has {job.source.size} bytes, an object in parts can have from 1 to "
            f"{job.limits.largest_file}"
        )
    try:
        return _upload(job, _resumable(job) or _begin(job))
    except _StartOver:
        return _upload(job, _begin(job), again=True)


class _StartOver(Exception):
    """The upload is of no more use; what it was to hold has to be sent to a new one."""


@dataclass(frozen=True, slots=True)
class _Job:
    target: Target
    source: Source
    headers: Mapping[str, Any]
    workers: int
    limits: PartLimits
    compare_etag: bool
    keep_partial: bool
    cancelled: threading.Event
    progress: Callable[[int], None]
    pace: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Upload:
    upload_id: str
    part_size: int
    stored: Mapping[int, StoredPart] = field(default_factory=dict)


class _Sending:
    """The parts of one upload on their way, ``workers`` at a time, in ascending order."""

    def __init__(self, job: _Job, upload: _Upload) -> None:
        self._job = job
        self._upload = upload
        self._stop = Stop(job.cancelled)
        self._lock = threading.Lock()
        self._count = -(-job.source.size // upload.part_size)
        self._numbers = iter(range(1, self._count + 1))
        self._digests: dict[int, bytes] = {}
        self.parts: dict[int, StoredPart] = {}
        self.resumed = 0
        self.reported = 0

    @property
    def etag(self) -> str:
        """The ETag that the object should have, by the MD5s of what was sent."""
        return etag_of_parts(digest for _, digest in sorted(self._digests.items()))

    def run(self) -> None:
        """Send every part. Raises the first failure, once all threads have ended."""
        workers = min(self._job.workers, self._count)
        with ThreadPoolExecutor(workers, thread_name_prefix="part") as pool:
            try:
                wait([pool.submit(self._drain) for _ in range(workers)])
            except BaseException as error:  # Ctrl-C: the threads have to end first
                self._stop.fail(error)
                raise
        if self._stop.failure:
            raise self._stop.failure
        if self._job.cancelled.is_set():
            raise self._job.target.error("cancelled")

    def complete(self) -> Mapping[str, Any]:
        """Have the store assemble the parts; return its answer, or that to HEAD if it was late."""
        target = self._job.target
        parts: list[Any] = [
            {"PartNumber": number, "ETag": part.etag, **part.checksums}
            for number, part in sorted(self.parts.items())
        ]

        def attempt() -> Mapping[str, Any]:
            try:
                return target.client.complete_multipart_upload(
                    **target.where,
                    UploadId=self._upload.upload_id,
                    MultipartUpload={"Parts": parts},
                )
            except client_errors() as error:
                # No answer, or a second request for what the first one did.
                doubtful = code_of(error) == "NoSuchUpload" or may_pass(error)
                if doubtful and (landed := self._landed()):
                    return landed
                raise

        try:
            return self._translating(lambda: retried(attempt, self._stop))
        except Halt:
            raise target.error("cancelled") from None

    def _landed(self) -> Mapping[str, Any] | None:
        """Return the answer to HEAD where the object is by now what was sent."""
        target = self._job.target
        try:
            answer = target.client.head_object(**target.where)
        except client_errors():
            return None
        etag, expected = _etag(answer), self.etag
        if is_md5(etag):  # of the whole object, as rclone's server says
            with contextlib.suppress(OSError):
                expected = etag_of(self._job.source.path, None)
        same = etag == expected and answer["ContentLength"] == self._job.source.size
        return answer if same else None

    def _drain(self) -> None:
        try:
            while number := self._next():
                self._stop.check()
                self._send(number)
        except Halt:
            return
        except BaseException as error:  # noqa: BLE001 - raised by run()
            self._stop.fail(error)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _send(self, number: int) -> None:
        source, whole = self._job.source, self._upload.part_size
        start = (number - 1) * whole
        size = min(whole, source.size - start)
        with source.open() as file:
            window = Window(file, start, size, source, self._stop)
            digest = window.md5()
            stored = self._upload.stored.get(number)
            if stored and stored.etag.strip('"') == digest.hex():
                part, resumed = stored, True
            else:
                answer = self._translating(lambda: self._put(number, window, digest))
                part, resumed = StoredPart.of(answer, size), False
        with self._lock:
            self.parts[number] = part
            self._digests[number] = digest
            self.resumed += resumed
            self.reported += size
            self._job.progress(size)

    def _put(self, number: int, window: Window, digest: bytes) -> Mapping[str, Any]:
        target = self._job.target
        body: Any = window

        def attempt() -> Mapping[str, Any]:
            window.seek(0)
            self._job.pace(window.size)
            return target.client.upload_part(
                **target.where,
                UploadId=self._upload.upload_id,
                PartNumber=number,
                Body=body,
                ContentMD5=base64.b64encode(digest).decode(),
            )

        return retried(attempt, self._stop, self._job.source.check)

    def _translating(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except client_errors() as error:
            failure: Exception = self._job.target.translated(error)
            # rclone's server does not replace a part by another content: it says 501.
            replacing = self._upload.stored and status_of(error) == HTTPStatus.NOT_IMPLEMENTED
            if code_of(error) == "NoSuchUpload" or replacing:
                failure = _StartOver(failure)
        raise failure


def _upload(job: _Job, upload: _Upload, *, again: bool = False) -> Uploaded:
    """Send what is missing and complete; on failure keep or abort. ``again`` forbids a restart."""
    sending = _Sending(job, upload)
    try:
        sending.run()
        job.source.check()
        answer = sending.complete()
    except _StartOver as reason:
        failure, gone = reason.args[0], True
    except IngestError as error:
        failure, gone = error, False
    except BaseException:
        _leave(job, upload, changed=False)
        raise
    else:
        return _verified(job, upload, sending, answer)
    if gone and not again:
        abort(job.target, upload.upload_id)
        job.progress(-sending.reported)
        raise _StartOver(failure)
    note = _leave(job, upload, changed=isinstance(failure, FileChanged))
    raise type(failure)(f"{failure.message}; {note}", hint=failure.hint)


def _verified(job: _Job, upload: _Upload, sending: _Sending, answer: Mapping[str, Any]) -> Uploaded:
    """Return what was uploaded, once the store's answer or the object itself shows it is that."""
    etag, expected = _etag(answer), sending.etag
    told = job.compare_etag and parts_in(etag) is not None and not _has_own_key(answer)
    if told and etag != expected:
        raise job.target.error(f"the store's ETag is {etag}, that of what was sent {expected}")
    # An ETag that is right vouches for every byte: some servers would hash the object for a HEAD.
    if sending.resumed or not told:
        _check_object(job, sending)
    sent = len(sending.parts) - sending.resumed
    return Uploaded(job.source.size, etag, upload.part_size, sent, sending.resumed)


def _check_object(job: _Job, sending: _Sending) -> None:
    """Raise ``StoreError`` for another size, ``_StartOver`` for headers of an earlier upload."""
    target = job.target
    try:
        head = target.client.head_object(**target.where)
    except client_errors() as error:
        failure = target.translated(error)
        if isinstance(failure, CredentialsRefused):  # it may write, but not read
            return
        raise failure from None
    if head["ContentLength"] != job.source.size:
        size = head["ContentLength"]
        raise target.error(f"the object has {size} bytes, {job.source.size} were sent")
    if sending.resumed and not _has_headers(head, job.headers):
        job.progress(-sending.reported)
        raise _StartOver(target.error("it has the headers of an earlier upload"))


def _has_headers(head: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether content type and metadata do not differ: a resumed upload has its own.

    What the store does not keep at all is no difference.
    """
    found = {name.lower(): text for name, text in head["Metadata"].items()}
    metadata: Mapping[str, str] = asked.get("Metadata", {})
    same_type = head["ContentType"] == asked.get("ContentType", head["ContentType"])
    return same_type and all(
        found.get(name.lower(), text) == text for name, text in metadata.items()
    )


def _leave(job: _Job, upload: _Upload, *, changed: bool) -> str:
    """Keep or abort an upload that failed; return which, for the user."""
    if job.keep_partial and not changed:
        return "the parts sent are kept: run the same command again to go on"
    failure = abort(job.target, upload.upload_id)
    if failure:
        return f"the unfinished upload {upload.upload_id} could not be aborted"
    return "the unfinished upload was aborted"


def _begin(job: _Job) -> _Upload:
    size = part_size(job.source.size, job.limits)
    create = job.target.client.create_multipart_upload
    try:
        answer = retried(lambda: create(**job.target.where, **job.headers), Stop(job.cancelled))
    except client_errors() as error:
        failure = job.target.translated(error)
    except Halt:
        failure = job.target.error("cancelled")
    else:
        return _Upload(answer["UploadId"], size)
    raise failure


def _resumable(job: _Job) -> _Upload | None:
    """Return the key's newest unfinished upload whose parts fit the file.

    None, too, where the store does not let us list: then only resuming is impossible.
    """
    target = job.target
    wanted = job.headers.get("StorageClass", "STANDARD")
    with contextlib.suppress(*client_errors()):
        found = [
            upload
            for upload in unfinished_uploads(target.client, target.bucket, target.key)
            if upload.key == target.key and upload.storage_class == wanted
        ]
        found.sort(key=lambda each: each.initiated)
        for upload in reversed(found):
            stored = stored_parts(target, upload.upload_id)
            sizes = {number: part.size for number, part in stored.items()}
            if size := part_size_of(sizes, job.source.size, job.limits):
                return _Upload(upload.upload_id, size, stored)
    return None


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _has_own_key(answer: Mapping[str, Any]) -> bool:
    """Whether the object is encrypted with a key of KMS, so that its ETag is no MD5."""
    return str(answer.get("ServerSideEncryption", "")).startswith("aws:")
