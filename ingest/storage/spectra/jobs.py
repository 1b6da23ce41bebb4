"""Bulk jobs: begun, listed, followed chunk by chunk, and ended.

A job reserves room on the appliance until all of its blobs have been moved, it is ended, or it was
left alone for 24 hours. A client that knows its id can go on with it from anywhere.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ingest.errors import IngestError, NotFound, StoreError
from ingest.pacing import retry_after_s
from ingest.storage.bulk import in_threads
from ingest.storage.spectra import documents
from ingest.storage.spectra.patience import Passing, Stop, retried
from ingest.storage.spectra.place import rest
from ingest.storage.spectra.wire import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Literal

    from ingest.storage.base import Transfer
    from ingest.storage.spectra.documents import Blob, Job
    from ingest.storage.spectra.memory import Memory
    from ingest.storage.spectra.patience import Patience
    from ingest.storage.spectra.place import Place
    from ingest.storage.spectra.wire import Wire

    Kind = Literal["PUT", "GET"]

logger = logging.getLogger(__name__)

MOST_OBJECTS = 500_000
"""The most objects that an appliance takes in one job."""
PRIORITIES = ("CRITICAL", "URGENT", "HIGH", "NORMAL", "LOW", "BACKGROUND")
_MOST_CHUNKS = 10_000
_AT_ONCE_S = 1.0
"""How long an interrupted transfer may take to end its job."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What jobs are begun with.

    ``objects`` is the most of them in one job, up to 500,000. ``priority`` is one that the
    appliance knows, such as ``HIGH``; by default the bucket's data policy has one. ``memory`` keeps
    which files uploads are of.
    """

    name: str = "ingest"
    priority: str | None = None
    objects: int = 1_000
    memory: Memory | None = None


class JobOver(StoreError):
    """The job is over, before all of it was done here; ``status`` is empty where it is unknown."""

    def __init__(self, message: str, status: str = "", *, hint: str | None = None) -> None:
        """Say which, and what became of it."""
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object of a job that is to be begun; ``size`` is in bytes, for one that is written.

    Of one that is read, ``part`` is offset and length of what is wanted, by default all.
    """

    name: str
    size: int | None = None
    version_id: str | None = None
    part: tuple[int, int] | None = None

    def attributes(self) -> dict[str, object]:
        """Return what the list of objects says of it."""
        offset, length = self.part or (None, None)
        told = {"Size": self.size, "Length": length, "Offset": offset, "VersionId": self.version_id}
        return {name: value for name, value in told.items() if value is not None}


class Jobs:
    """The jobs of one appliance. Methods raise what the wire raises."""

    def __init__(self, wire: Wire) -> None:
        """Ask nothing yet."""
        self._wire = wire
        self._own: set[str] = set()
        # What an answer is read into is large, and stays with the thread that reads it: where each
        # of many does so once, memory grows by as much for every one of them.
        self._reader = ThreadPoolExecutor(1, "job-chunks")

    @property
    def patience(self) -> Patience:
        """How long the appliance is waited for."""
        return self._wire.appliance.patience

    def begin(  # noqa: PLR0913 - what a job is begun with
        self,
        place: Place,
        kind: Kind,
        wanted: list[Wanted],
        options: JobOptions,
        stop: Stop,
        *,
        in_order: bool = False,
    ) -> Job:
        """Begin a job for ``wanted``, whose names all differ; returns it with all its blobs.

        ``in_order`` has the chunks come one after the other. Where an answer is lost, it is looked
        for whether the job was begun: a second one would be refused, or write everything twice.
        """
        query = {
            "operation": f"start_bulk_{kind.lower()}",
            "name": options.name,
            "priority": options.priority,
            "chunk_client_processing_order_guarantee": "IN_ORDER" if in_order else None,
        }
        request = rest(
            f"cannot begin a {kind} job in {place.url}",
            "PUT",
            "bucket",
            place.bucket,
            query={name: text for name, text in query.items() if text},
            body=documents.objects((each.name, each.attributes()) for each in wanted),
        )
        is_lost = False

        def once() -> Job:
            nonlocal is_lost
            if is_lost and (found := self._lost(place, kind, wanted, options, stop)):
                return found
            try:
                with self._wire.open(request) as reply:
                    return self._wire.parsed(request, reply.read(), documents.job)
            except Passing as passing:
                is_lost = is_lost or not passing.is_busy
                raise

        job = retried(once, self.patience, stop)
        self._own.add(job.id)
        return job

    def _lost(
        self, place: Place, kind: Kind, wanted: list[Wanted], options: JobOptions, stop: Stop
    ) -> Job | None:
        """Return the job that is for exactly ``wanted``, and that nobody else has begun."""
        names = {each.name: each.size or 0 for each in wanted}
        for listed in self.all(place.bucket, stop):
            same = (listed.request_type, listed.name) == (kind, options.name)
            if not same or listed.id in self._own or listed.status != "IN_PROGRESS":
                continue
            job = self.find(listed.id, stop)
            sizes = sizes_of(job.blobs) if job else {}
            if job and sizes.keys() == names.keys() and (kind == "GET" or sizes == names):
                return job
        return None

    def all(self, bucket: str | None = None, stop: Stop | None = None) -> list[Job]:
        """Return the jobs in progress, of one bucket or all, without their blobs."""
        query = {"bucket_id": bucket} if bucket else {}
        request = rest("cannot list the jobs", "GET", "job", query=query)
        return self._wire.read(request, documents.jobs, stop or Stop())

    def find(self, job_id: str, stop: Stop | None = None) -> Job | None:
        """Return a job as it is, with the blobs that are left; None where it is unknown."""
        request = rest(f"cannot look at the job {job_id}", "GET", "job", job_id)
        try:
            return self._wire.read(request, documents.job, stop or Stop())
        except (NotFound, Gone):
            return None

    def resume(self, job_id: str) -> Job:
        """Return a job in progress, and begin its 24 hours anew. Raises ``NotFound``, ``JobOver``.

        Changes nothing else of it.
        """
        what = f"cannot resume the job {job_id}"
        try:
            job = self._wire.read(rest(what, "PUT", "job", job_id), documents.job, Stop())
        except Gone as error:
            raise NotFound(error.message) from None
        if job.status in {"COMPLETED", "CANCELED"}:
            raise JobOver(f"{what}{self._wire.at}: it is {job.status}", job.status)
        return job

    def end(self, job_id: str, *, at_once: bool = False) -> None:
        """End a job. Raises ``NotFound`` where it is over already.

        Objects of which the appliance has every byte stay; of the others nothing does. ``at_once``
        is for who is interrupted: it is asked for once, and a second is waited for it.
        """
        # Without "force", which would delete whole objects that are still in the cache as well.
        request = rest(f"cannot end the job {job_id}", "DELETE", "job", job_id)
        if not at_once:
            self._wire.call(request, Stop())
            return
        try:
            self._wire.open(request, within_s=_AT_ONCE_S).read()
        except Passing as passing:
            raise passing.error from None

    def leave(self, job: Job, how: Transfer, failed: Iterable[IngestError], *, open_: bool) -> bool:
        """End a job that is not done, unless it can be gone on with, and is to be: then True.

        One that reads is ended: to go on from what has landed, another is begun. ``failed`` is why
        objects of it cannot be moved. ``open_`` says that of others it is not known, since the
        transfer was stopped. Where the job cannot be ended, that is logged.
        """
        is_stopped = how.cancelled.is_set() or open_
        # What the appliance refuses, or a file that has changed, is the same the next time.
        can_resume = job.request_type == "PUT" and (
            is_stopped or any(type(error) is StoreError for error in failed)
        )
        if can_resume and (how.keeps_cancelled if is_stopped else how.keep_partial):
            logger.warning("the job %s is left to be resumed", job.id)
            return True
        try:
            self.end(job.id, at_once=is_stopped)
        except NotFound:
            pass
        except IngestError as error:
            logger.warning("the job %s stays, for 24 hours at most: %s", job.id, error)
        return False

    def ready(self, job: Job, chunks: int, stop: Stop) -> tuple[tuple[Blob, ...], float | None]:
        """Return the blobs that can be moved now, and in how many seconds to ask again.

        Raises ``JobOver`` where there is no such job any more, or nothing is left of it.
        """
        query = {"job": job.id, "preferred_number_of_chunks": str(chunks)}
        request = rest(f"cannot follow the job {job.id}", "GET", "job_chunk", query=query)

        def once() -> tuple[tuple[Blob, ...], float | None]:
            with self._wire.open(request) as reply:
                offered = self._wire.parsed(request, reply.read(), documents.job)
                return offered.blobs, retry_after_s(reply.headers)

        try:
            return self._reader.submit(retried, once, self.patience, stop).result()
        except (NotFound, Gone):
            raise self.over(job.id, stop) from None

    def over(self, job_id: str, stop: Stop) -> JobOver:
        """Return what became of a job that is answered as if it was over."""
        found = self.find(job_id, stop)
        status = found.status if found else ""
        told = f"is {status}" if status else "is not known to the appliance any more"
        return JobOver(f"the job {job_id}{self._wire.at} {told}", status)


class Offers:
    """The blobs of a job, each once, as soon as the appliance can take or give it.

    Iterated over by one thread at a time; ``settled`` is called from any.
    """

    def __init__(
        self, jobs: Jobs, job: Job, blobs: Iterable[Blob], stop: Stop, *, chunks: int = 1
    ) -> None:
        """Offer ``blobs``, some or all of those of ``job``; ``chunks`` are asked for at a time."""
        self._jobs = jobs
        self._job = job
        self._left = {(blob.name, blob.offset) for blob in blobs}
        self._chunks = chunks
        self._stop = stop
        self._under_way = 0
        self._lock = threading.Lock()
        self._idle = threading.Event()

    def __iter__(self) -> Iterator[Blob]:
        """Yield them. Raises ``JobOver``, and ``StoreError`` where patience is at its end."""
        patience = self._jobs.patience
        waits, waited_s = 0, 0.0
        while self._left and not self._stop.is_set():
            # Asked before: what arrives meanwhile may not have been known to who answered.
            idle = not self._under_way
            offered, wait_s = self._jobs.ready(self._job, self._chunks, self._stop)
            # Chunks come in any order and may come again, with blobs that are not wanted.
            fresh = {(blob.name, blob.offset): blob for blob in offered}
            fresh = {place: blob for place, blob in fresh.items() if place in self._left}
            self._left.difference_update(fresh)
            for blob in fresh.values():
                with self._lock:
                    self._under_way += 1
                    self._idle.clear()
                yield blob
            if fresh:
                waits, waited_s = 0, 0.0
                continue
            # Where chunks that are done come again, others may be behind them.
            self._chunks = min(2 * self._chunks, _MOST_CHUNKS)
            wait_s = patience.wait_s(wait_s, waits)
            if idle:
                waits, waited_s = waits + 1, waited_s + wait_s
                patience.check(self._stuck(), waits, waited_s)
            # What is under way may be what the rest waits for.
            self._stop.wait(wait_s, None if idle else self._idle)

    def moved(
        self, move: Callable[[Blob], None], threads: int
    ) -> Iterator[tuple[Blob, IngestError | None]]:
        """Move each, ``threads`` at a time; yield it with what it failed with.

        Raises what iterating over them does, and the ``JobOver`` that ``move`` raises.
        """

        def attempt(blob: Blob) -> tuple[Blob, IngestError | None]:
            try:
                move(blob)
            except JobOver:
                raise
            except IngestError as error:
                return blob, error
            finally:
                self.settled()
            return blob, None

        with closing(cast("Any", in_threads(attempt, self, threads))) as done:
            yield from done

    def settled(self) -> None:
        """Note that a blob is moved, or has failed for good."""
        with self._lock:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _stuck(self) -> StoreError:
        what = "the cache is full" if self._job.request_type == "PUT" else "nothing came from tape"
        return StoreError(f"the job {self._job.id} has no chunk ready: {what}")


def sizes_of(blobs: Iterable[Blob]) -> dict[str, int]:
    """Return the bytes of each object that ``blobs`` are of, by name."""
    sizes: dict[str, int] = {}
    for blob in blobs:
        sizes[blob.name] = sizes.get(blob.name, 0) + blob.length
    return sizes


def by_name(blobs: Iterable[Blob]) -> dict[str, list[Blob]]:
    """Return the blobs of each object, in their order within it."""
    found: dict[str, list[Blob]] = {}
    for blob in blobs:
        found.setdefault(blob.name, []).append(blob)
    for each in found.values():
        each.sort(key=lambda blob: blob.offset)
    return found
