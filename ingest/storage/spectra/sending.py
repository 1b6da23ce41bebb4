"""Objects on their way to a bucket, in as few jobs as it takes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound, IngestError, NotFound, StoreError
from ingest.storage.attributes import as_spectra, with_attributes
from ingest.storage.base import Outcome
from ingest.storage.bulk import in_threads
from ingest.storage.spectra.documents import fits
from ingest.storage.spectra.heads import head_of
from ingest.storage.spectra.jobs import Wanted
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.sources import File, source_of
from ingest.storage.spectra.upload import PutJob, Upload, can_resume
from ingest.storage.spectra.wire import BadRequest, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.storage.base import PutItem, Transfer
    from ingest.storage.spectra.documents import Job
    from ingest.storage.spectra.jobs import JobOptions, Jobs
    from ingest.storage.spectra.place import Place

Uploads = dict[str, Upload]

_KEEPS_ONE = "the bucket's data policy keeps no versions: delete the object first"
_JOBS = "`ingest jobs` tells which; `ingest jobs cancel ID` ends it"


class Sender:
    """Writes the items of one bulk."""

    def __init__(self, place: Place, jobs: Jobs, options: JobOptions, how: Transfer) -> None:
        """Send to ``place`` as ``options`` and ``how`` say."""
        self._place = place
        self._jobs = jobs
        self._options = options
        self._how = how

    def put(self, items: list[PutItem]) -> Iterator[Outcome]:
        """Write ``items``, whose keys all differ, in one job or, where one does not do, a few."""
        uploads: Uploads = {}
        yield from self._chosen(items, uploads)
        try:
            there = [] if self._how.overwrite else self._there(uploads)
        except IngestError as error:
            yield from self._all_failed(uploads, error)
            return
        for key in there:
            del uploads[key]
            yield Outcome(key, 0, existed=True)
        if uploads:
            yield from self._put(uploads)

    def resume(self, job: Job, items: Iterable[PutItem]) -> Iterator[Outcome]:
        """Go on with ``job``, of whose objects ``items`` are; what it has already is not sent.

        A file of which it has a part, and that may have changed since, is an error.
        """
        uploads: Uploads = {}
        yield from self._chosen(items, uploads)
        self._recognise(job, uploads)
        yield from self._sent(job, uploads)

    def _chosen(self, items: Iterable[PutItem], uploads: Uploads) -> Iterator[Outcome]:
        """Fill ``uploads``; yield the outcomes of what cannot be sent at all."""
        for item in items:
            if not fits(item.key):
                yield self._failed(item.key, StoreError("the protocol cannot carry this key"))
                continue
            try:
                kept = with_attributes(item, as_spectra) if self._how.preserve else item
                uploads[item.key] = Upload(kept, source_of(kept))
            except StoreError as error:
                yield self._failed(item.key, error)

    def _there(self, uploads: Uploads) -> list[str]:
        """Return the keys of ``uploads`` that are objects already."""

        def look(key: str) -> str | None:
            try:
                head_of(self._place, key)
            except BucketNotFound:
                raise
            except NotFound:
                return None
            return key

        return [key for key in in_threads(look, list(uploads), self._how.threads) if key]

    def _put(self, uploads: Uploads) -> Iterator[Outcome]:
        wanted = [Wanted(key, upload.source.size) for key, upload in uploads.items()]
        stop = Stop(self._how.cancelled)
        try:
            job = self._jobs.begin(self._place, "PUT", wanted, self._options, stop)
        except Conflict as error:
            yield from self._put_otherwise(uploads, error)
        except BadRequest as error:
            yield from self._put_halves(uploads, error)
        except IngestError as error:
            yield from self._all_failed(uploads, error)
        else:
            yield from self._sent(job, uploads)

    def _sent(self, job: Job, uploads: Uploads) -> Iterator[Outcome]:
        put, memory = PutJob(self._place, self._jobs, job, uploads, self._how), self._options.memory
        if memory:
            memory.remember(job.id, ((each.item, each.source) for each in uploads.values()))
        try:
            yield from put.outcomes()
        finally:
            if memory and not put.is_left:
                memory.forget(job.id)

    def _recognise(self, job: Job, uploads: Uploads) -> None:
        """Mark those of ``uploads`` whose files are the same still as when ``job`` began."""
        versions = self._options.memory.versions(job.id) if self._options.memory else {}
        for key, upload in uploads.items():
            if isinstance(upload.source, File):
                upload.is_same = versions.get(key) == upload.source.version

    def _put_otherwise(self, uploads: Uploads, error: Conflict) -> Iterator[Outcome]:
        """Put ``uploads``, of which some are there, or in another job, and not to be replaced."""
        rest = dict(uploads)
        try:
            jobs = self._unfinished(uploads)
            there = self._there(uploads) if self._place.policy().keeps_one else []
        except IngestError as failure:
            yield from self._all_failed(uploads, failure)
            return
        for key in there:
            del rest[key]
            yield self._failed(key, error, _KEEPS_ONE)
        for job in jobs:
            names = {blob.name for blob in job.blobs} & rest.keys()
            found = {key: rest.pop(key) for key in list(rest) if key in names}
            self._recognise(job, found)
            if job.name != self._options.name:
                theirs = Conflict(f"the job {job.id} is writing it", hint=_JOBS)
                yield from self._all_failed(found, theirs)
            elif can_resume(self._place, job, found):
                yield from self._sent(job, found)  # what was interrupted
            else:
                with suppress(NotFound):
                    self._jobs.end(job.id)
                rest |= found
        if not jobs and not there:
            yield from self._put_halves(rest, error)
        elif rest:
            yield from self._put(rest)

    def _unfinished(self, uploads: Uploads) -> list[Job]:
        """Return the PUT jobs under way that some of ``uploads`` are in, with their blobs."""
        listed = [each for each in self._jobs.all(self._place.bucket) if each.request_type == "PUT"]
        found = filter(None, (self._jobs.find(each.id) for each in listed))
        return [job for job in found if any(blob.name in uploads for blob in job.blobs)]

    def _put_halves(self, uploads: Uploads, error: IngestError) -> Iterator[Outcome]:
        """Put ``uploads`` by halves: one of them has kept the job from beginning."""
        keys = list(uploads)
        if len(keys) == 1:
            yield self._failed(keys[0], error)
            return
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            yield from self._put({key: uploads[key] for key in half})

    def _failed(self, key: str, error: IngestError, hint: str | None = None) -> Outcome:
        told = type(error)(error.message, hint=hint or error.hint)
        return Outcome(key, 0, self._place.error("write", key, told))

    def _all_failed(self, keys: Iterable[str], error: IngestError) -> Iterator[Outcome]:
        for key in keys:
            yield self._failed(key, error)
