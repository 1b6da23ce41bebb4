"""One large file to S3 in parts, so that a later run, on any machine, can go on where it stopped.

The state of an upload is the store's own: the unfinished uploads of the key, their parts, and
the size and MD5 of each part against the file. Nothing is kept on this side.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ingest.errors import CredentialsRefused, IngestError
from ingest.storage.answers import Failed, is_encrypted
from ingest.storage.api import METADATA
from ingest.storage.attempts import Halt, Stop, retried
from ingest.storage.etags import parts_in
from ingest.storage.parts import FileChanged, PartLimits, Source, part_size, part_size_of
from ingest.storage.sending_parts import Job, Made, Sending, StartOver, Upload, is_of
from ingest.storage.uploads import abort, stored_parts, unfinished_uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ingest.storage.api import Answer, Api
    from ingest.storage.uploads import Target


_LAST_READ = f"{METADATA}atime"
_OF_FILES = frozenset(f"{METADATA}{name}" for name in ("mtime", "atime", "mode", "uid", "gid"))
_unkept: WeakKeyDictionary[Api, frozenset[str]] = WeakKeyDictionary()
"""Which headers a store has not as they are asked for, as far as that was found out."""


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


def exists(target: Target, cancelled: threading.Event) -> bool:
    """Whether there is an object. Raises ``StoreError`` or ``CredentialsRefused``."""
    try:
        retried(lambda: target.api.call("HEAD", target.key), Stop(cancelled))
    except Halt:
        raise target.error("cancelled") from None
    except Failed as failed:
        if failed.status != HTTPStatus.NOT_FOUND:
            raise failed.error(target.what) from None
        return False
    return True


def upload_file(  # noqa: PLR0913 - a file, where it goes, and how
    target: Target,
    path: Path,
    *,
    headers: Mapping[str, str] | None = None,
    workers: int = 4,
    limits: PartLimits | None = None,
    compare_etag: bool = True,
    keep_partial: bool = True,
    cancelled: threading.Event | None = None,
    progress: Callable[[int], None] = ignore,
    pace: Callable[[int], None] = ignore,
) -> Uploaded:
    """Write a file of one byte or more as an object in parts, whole or not at all.

    Parts that an unfinished upload of the key already has, with the file's size and MD5, are not
    sent again. ``headers`` are those of HTTP, by lower-case names, that the object is made with;
    an object that was resumed and turns out to have another content type, other metadata or a
    file's attributes unasked is sent anew, once. Each part is hashed while it is sent, and its ETag
    has to be that MD5. Where a store has other ETags (never to be compared with
    ``compare_etag=False``), it is told the MD5 with the part, and refuses it if other bytes come.
    The ETag of the whole is compared where it is one of MD5s, its size otherwise. Memory does not
    grow with the part size: parts are read from the file while they are sent, ``workers`` at a
    time.

    ``progress`` gets the bytes of each part as it is done, one call at a time, from the threads
    that send; a negative number takes back what is to be sent again. ``pace`` is called with the
    bytes of a part before they are sent, and waits as long as a limit demands. Once ``cancelled``
    is set, sending stops within a block of 256 KiB; only an answer under way is waited for.

    Raises ``StoreError``, ``NotFound`` or ``CredentialsRefused``. Its text says whether the
    unfinished upload is kept, for a later call to go on with, or aborted: ``keep_partial``. It
    is aborted in any case when the file changes meanwhile, which is an error too.
    """
    job = Job(
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
        try:
            return _upload(job, _resumable(job) or _begin(job))
        except StartOver:
            done = _upload(job, _begin(job), again=True)
        _learn(job, done)
    except Halt:
        raise target.error("cancelled") from None
    return done


def _upload(job: Job, upload: Upload, *, again: bool = False) -> Uploaded:
    """Send what is missing and complete; on failure keep or abort. ``again`` forbids a restart."""
    sending = Sending(job, upload)
    try:
        sending.run()
        job.source.check()
        made = sending.complete()
    except StartOver as reason:
        failure, gone = reason.args[0], True
    except IngestError as error:
        failure, gone = error, False
    except BaseException:
        _leave(job, upload, changed=False)
        raise
    else:
        return _verified(job, upload, sending, made)
    if gone and not again:
        abort(job.target, upload.upload_id)
        job.progress(-sending.reported)
        raise StartOver(failure)
    note = _leave(job, upload, changed=isinstance(failure, FileChanged))
    raise type(failure)(f"{failure.message}; {note}", hint=failure.hint)


def _verified(job: Job, upload: Upload, sending: Sending, made: Made) -> Uploaded:
    """Return what was uploaded, once the store's answer or the object itself shows it is that."""
    told = job.compare_etag and parts_in(made.etag) is not None and not made.own_key
    if told and made.etag != sending.etag:
        raise job.target.error(
            f"the store's ETag is {made.etag}, that of what was sent {sending.etag}"
        )
    # An ETag that is right vouches for every byte: some servers would hash the object for a HEAD.
    if sending.resumed or not told:
        _check_object(job, sending)
    sent = len(sending.parts) - sending.resumed
    return Uploaded(job.source.size, made.etag, upload.part_size, sent, sending.resumed)


def _check_object(job: Job, sending: Sending) -> None:
    """Raise ``StoreError`` for another size, ``StartOver`` for headers of an earlier upload."""
    target = job.target

    def look() -> tuple[Answer, int]:
        answer = target.api.call("HEAD", target.key)
        return answer, answer.size

    try:
        head, size = retried(look, Stop(job.cancelled))
    except Failed as failed:
        failure = failed.error(target.what)
        if isinstance(failure, CredentialsRefused):  # it may write, but not read
            return
        raise failure from None
    if size != job.source.size:
        raise target.error(f"the object has {size} bytes, {job.source.size} were sent")
    unkept = _unkept.get(target.api, frozenset())
    if sending.resumed and _differing(head, job.headers) - unkept:
        job.progress(-sending.reported)
        raise StartOver(target.error("it has the headers of an earlier upload"))


def _differing(head: Answer, asked: Mapping[str, str]) -> frozenset[str]:
    """Return the names of the headers that are not as asked: a resumed upload has its own.

    They are the content type, where that is told, metadata that were asked for, and what tells of
    a file where nobody asked for that. When the file was last read may be another time: it was,
    by the upload that was not finished.
    """
    there = head.headers
    kept = {name for name in asked if name.startswith(METADATA)}
    compared = kept - {_LAST_READ} | {"content-type"} & asked.keys() & there.keys()
    wrong = {name for name in compared if there.get(name) != asked[name]}
    one_sided = {name for name in _OF_FILES if (name in kept) != (name in there)}
    return frozenset(wrong | one_sided)


def _learn(job: Job, done: Uploaded) -> None:
    """Note what the store has not kept of an upload that was not resumed.

    It would not keep it another time either, so that no other file is sent twice for that.
    """
    api = job.target.api
    with suppress(Failed, Halt):
        head = retried(lambda: api.call("HEAD", job.target.key), Stop(job.cancelled))
        if is_of(job.source, head.etag, done.etag):  # nobody else's object
            _unkept[api] = _unkept.get(api, frozenset()) | _differing(head, job.headers)


def _leave(job: Job, upload: Upload, *, changed: bool) -> str:
    """Keep or abort an upload that failed; return which, for the user."""
    if job.keep_partial and not changed:
        return "the parts sent are kept: run the same command again to go on"
    failure = abort(job.target, upload.upload_id)
    if failure:
        return f"the unfinished upload {upload.upload_id} could not be aborted"
    return "the unfinished upload was aborted"


def _begin(job: Job) -> Upload:
    target, size = job.target, part_size(job.source.size, job.limits)

    def create() -> Upload:
        answer = target.api.call("POST", target.key, {"uploads": ""}, headers=job.headers)
        upload_id = answer.document.findtext("{*}UploadId", "")
        if not upload_id:
            raise Failed("", "the answer names no upload")
        return Upload(upload_id, size, own_key=is_encrypted(answer.headers))

    try:
        return retried(create, Stop(job.cancelled))
    except Failed as failed:
        raise failed.error(target.what) from None


def _resumable(job: Job) -> Upload | None:
    """Return the key's newest unfinished upload whose parts fit the file.

    None, too, where the store does not let us list: then only resuming is impossible.
    """
    target, stop = job.target, Stop(job.cancelled)
    wanted = job.headers.get("x-amz-storage-class", "STANDARD")
    with suppress(Failed):
        found = [
            upload
            for upload in unfinished_uploads(target.api, target.key, stop)
            if upload.key == target.key and upload.storage_class == wanted
        ]
        found.sort(key=lambda each: each.initiated)
        for upload in reversed(found):
            stored = stored_parts(target, upload.upload_id, stop)
            sizes = {number: part.size for number, part in stored.items()}
            if size := part_size_of(sizes, job.source.size, job.limits):
                own_key = is_encrypted(job.headers)
                return Upload(upload.upload_id, size, stored, own_key)
    return None
