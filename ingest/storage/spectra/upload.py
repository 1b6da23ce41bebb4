"""One PUT job under way: its blobs are sent as the appliance can take them."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import IngestError, NotFound, StoreError
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget
from ingest.storage.spectra import checksums, metadata
from ingest.storage.spectra.heads import head_of
from ingest.storage.spectra.jobs import JobOver, Offers, by_name
from ingest.storage.spectra.patience import Passing, Stop, retried
from ingest.storage.spectra.sources import File, SourceFailed
from ingest.storage.spectra.wire import BadRequest, Conflict, Gone, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.storage.base import PutItem, Transfer
    from ingest.storage.spectra.documents import Blob, Job
    from ingest.storage.spectra.jobs import Jobs
    from ingest.storage.spectra.place import Place
    from ingest.storage.spectra.sources import Source
    from ingest.storage.spectra.wire import Body

LARGE = 16 * 1024**2
"""Bytes from which a blob is read twice, for its checksum and to be sent, and not held."""
_HELD = 64 * 1024**2
"""Bytes of smaller blobs that are held at one time, over all threads."""
_BAD_DIGESTS = 3
"""How often a blob is sent of which something else arrives."""
_DOUBT_S = 2.0
"""What the clocks of here and there may differ by, in seconds, beyond what is known of it."""


@dataclass(slots=True)
class Upload:
    """An object of a job: so many blobs are ``left`` to be sent; ``error`` is why it cannot be.

    Of ``told`` bytes it was told that they are sent. ``is_same`` says that the file is known to be
    what it was when the job began.
    """

    item: PutItem
    source: Source
    left: int = 0
    told: int = 0
    error: IngestError | None = None
    is_same: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet what becomes of it."""
        return self.left > 0 and self.error is None

    def is_as_at(self, moment: float) -> bool:
        """Whether its content is what it was at ``moment``, for all that can be told."""
        if self.is_same or not isinstance(self.source, File):
            return self.is_same
        return self.source.modified < moment - _DOUBT_S


class PutJob:
    """A job, and the objects that are to be sent in it."""

    def __init__(
        self, place: Place, jobs: Jobs, job: Job, uploads: dict[str, Upload], how: Transfer
    ) -> None:
        """Send nothing yet; ``uploads`` are by key."""
        self._place = place
        self._jobs = jobs
        self._job = job
        self._uploads = uploads
        self._how = how
        self._blobs = by_name(job.blobs)
        self._stop = Stop(how.cancelled)
        self._held = ByteBudget(_HELD)
        self._telling = threading.Lock()
        self._is_over = False
        self.is_left = False
        """Whether there is still something to be sent in it, by whoever goes on with it."""

    def outcomes(self) -> Iterator[Outcome]:
        """Yield one outcome an object, as they finish.

        Where not all of them can be sent, the job is ended, so that it reserves nothing, or left
        to be resumed.
        """
        try:
            for key, upload in self._uploads.items():
                upload.error = self._plan(upload, self._blobs.get(key, ()))
            settled = [each for each in self._uploads.values() if not each.is_open]
            yield from map(self._outcome, settled)
            yield from self._sent()
        finally:
            self._stop.set()
            self._leave()

    def _plan(self, upload: Upload, blobs: Sequence[Blob]) -> IngestError | None:
        """Count the blobs that are to be sent; return why it cannot be done."""
        size = sum(blob.length for blob in blobs)
        if size != upload.source.size:
            wrong = f"the job has {size:,} bytes of it, and not {upload.source.size:,}"
            return SourceFailed(wrong)
        upload.left = sum(not blob.in_cache for blob in blobs)
        there = sum(blob.length for blob in blobs if blob.in_cache)
        if there and not upload.is_as_at(began(self._job, self._place)):
            return SourceFailed("its content may be another than when the job began")
        self._moved(upload, there)
        return None

    def _sent(self) -> Iterator[Outcome]:
        missing = (
            blob
            for key, upload in self._uploads.items()
            if upload.is_open
            for blob in self._blobs[key]
            if not blob.in_cache
        )
        threads = self._how.threads
        offers = Offers(self._jobs, self._job, missing, self._stop, chunks=threads)

        failure: IngestError = StoreError("the transfer was stopped")
        try:
            for blob, error in offers.moved(self._send, threads):
                yield from self._noted(self._uploads[blob.name], error)
        except IngestError as error:
            failure = error
        yield from self._rest(failure)

    def _noted(self, upload: Upload, error: IngestError | None) -> Iterator[Outcome]:
        """Note that a blob was sent, or that it failed; yield what that makes of its object."""
        if not upload.is_open:
            return
        upload.error = error
        upload.left -= not error
        if not upload.is_open:
            yield self._outcome(upload)

    def _rest(self, failure: IngestError) -> Iterator[Outcome]:
        """Yield what becomes of objects that are not whole when there is nothing more to send."""
        self._is_over = isinstance(failure, JobOver)
        done = isinstance(failure, JobOver) and failure.status == "COMPLETED"
        for key, upload in self._uploads.items():
            if upload.is_open:
                # Somebody else may have sent it; or the job was completed without it.
                if done and self._is_whole(key, upload):
                    upload.left = 0
                    self._moved(upload, upload.source.size - upload.told)
                else:
                    upload.error = failure
                yield self._outcome(upload)

    def _is_whole(self, key: str, upload: Upload) -> bool:
        try:
            found = head_of(self._place, key)
        except IngestError:
            return False
        planned = self._blobs[key][0].version_id
        same = None in {planned, found.version_id} or planned == found.version_id
        return same and found.size == upload.source.size

    def _outcome(self, upload: Upload) -> Outcome:
        if upload.error:
            key = upload.item.key
            return Outcome(key, 0, self._place.error("write", key, upload.error))
        return Outcome(upload.item.key, upload.source.size)

    def _leave(self) -> None:
        """End a job that is not done, unless it can be gone on with and is to be."""
        errors = [upload.error for upload in self._uploads.values() if upload.error]
        is_open = any(upload.is_open for upload in self._uploads.values())
        # Of a job that is resumed, others may be sending the rest.
        is_ours = self._blobs.keys() <= self._uploads.keys()
        if not self._is_over and (errors or is_open):
            self.is_left = not is_ours or self._jobs.leave(
                self._job, self._how, errors, open_=is_open
            )

    # Blobs

    def _send(self, blob: Blob) -> None:
        upload = self._uploads[blob.name]
        if upload.error:
            return
        if blob.in_cache:  # somebody else has sent it meanwhile
            self._moved(upload, blob.length)
        elif blob.length >= LARGE:
            self._send_large(upload, blob)
        else:
            taken = self._held.take(blob.length)
            try:
                self._send_small(upload, blob)
            finally:
                self._held.give(taken)

    def _send_small(self, upload: Upload, blob: Blob) -> None:
        self._stop.check()
        content = b"".join(upload.source.read(blob.offset, blob.length))
        headers = self._headers(upload)
        if blob.length == upload.source.size:
            name = f"{metadata.PREFIX}sha256"
            headers.setdefault(name, hashlib.sha256(content).hexdigest())
        headers |= checksums.header_of(self._place.policy().checksum, content)
        self._how.pace(blob.length)
        self._deliver(self._request(blob, headers, content), blob)
        self._moved(upload, blob.length)

    def _send_large(self, upload: Upload, blob: Blob) -> None:
        kind = self._place.policy().checksum
        checksum = checksums.running(kind)
        if kind != "NONE":
            for piece in upload.source.read(blob.offset, blob.length):
                self._stop.check()
                checksum.update(piece)
        told = 0

        def body() -> Iterator[bytes]:
            nonlocal told
            sent = 0
            for piece in upload.source.read(blob.offset, blob.length):
                self._stop.check()
                self._how.pace(len(piece))
                yield piece
                sent += len(piece)
                if sent > told:  # what is sent again is not told again
                    self._moved(upload, sent - told)
                    told = sent

        headers = self._headers(upload) | checksums.header(kind, checksum)
        self._deliver(self._request(blob, headers, body), blob)
        self._moved(upload, blob.length - told)

    def _moved(self, upload: Upload, size: int) -> None:
        with self._telling:
            upload.told += size
        self._how.moved(size)

    def _headers(self, upload: Upload) -> dict[str, str]:
        item = upload.item
        return {
            "Content-Type": item.content_type,
            **metadata.headers(item.metadata, item.content_type),
        }

    def _request(self, blob: Blob, headers: dict[str, str], body: Body) -> Request:
        return Request(
            self._place.what("write", blob.name),
            "PUT",
            self._place.path(blob.name),
            {"job": self._job.id, "offset": str(blob.offset)},
            headers,
            body,
            blob.length,
        )

    def _deliver(self, request: Request, blob: Blob) -> None:
        """Send a blob until the appliance has it. Raises ``JobOver`` where there is no such job."""

        def once() -> None:
            try:
                with self._place.wire.open(request) as reply:
                    reply.read()
            except BadRequest as error:
                if "BadDigest" not in error.message:
                    raise
                raise Passing(error, attempts=_BAD_DIGESTS) from None

        try:
            retried(once, self._place.wire.appliance.patience, self._stop)
        except (Conflict, Gone, NotFound) as error:
            # An answer that was lost, for one, has the appliance refuse what it has.
            found = self._jobs.find(self._job.id, self._stop)
            if found is None or found.status != "IN_PROGRESS":
                raise self._jobs.over(self._job.id, self._stop) from None
            there = ((each.name, each.offset) for each in found.blobs if each.in_cache)
            if (blob.name, blob.offset) not in there:
                raise error from None


def began(job: Job, place: Place) -> float:
    """Return when a job began, in seconds of Unix time, by this machine's clock."""
    return job.started - place.wire.clock_ahead_s


def can_resume(place: Place, job: Job, uploads: dict[str, Upload]) -> bool:
    """Whether ``job`` is for some of ``uploads``, and these are as they were when it began."""
    for key, blobs in by_name(job.blobs).items():
        upload = uploads.get(key)
        if upload is None:
            continue
        if upload.source.size != sum(blob.length for blob in blobs):
            return False
        there = any(blob.in_cache and blob.length for blob in blobs)
        if there and not upload.is_as_at(began(job, place)):
            return False
    return True
