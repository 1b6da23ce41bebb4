"""One GET job under way: its blobs are fetched as the appliance has them."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import IngestError, StoreError
from ingest.files.attributes import Attributes
from ingest.storage.attributes import read
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget
from ingest.storage.spectra.checksums import Mismatch
from ingest.storage.spectra.fetching import Fetching
from ingest.storage.spectra.heads import head_of, version_of
from ingest.storage.spectra.jobs import JobOver, Offers, by_name
from ingest.storage.spectra.landed import Landed
from ingest.storage.spectra.patience import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ingest.files.landing import Landing
    from ingest.files.partial import Partial
    from ingest.storage.base import GetItem, Transfer
    from ingest.storage.spectra.documents import Blob, Job
    from ingest.storage.spectra.jobs import Jobs
    from ingest.storage.spectra.place import Place

logger = logging.getLogger(__name__)

LARGE = 16 * 1024**2
"""Bytes from which an object lands in parts, so that it can be resumed, and is not held."""
_HELD = 64 * 1024**2
"""Bytes of smaller objects that are held at one time, over all threads."""


@dataclass(slots=True)
class _Download:
    """An object of a job: so many blobs are ``left`` to be fetched, ``there`` are in the file.

    ``metadata`` is what came with the content, None where none came yet.
    """

    item: GetItem
    blobs: list[Blob]
    left: int = 0
    there: int = 0
    landed: Landed | None = None
    metadata: Mapping[str, str] | None = None
    existed: bool = False
    error: IngestError | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet what becomes of it."""
        return self.left > 0 and self.error is None


class GetJob:
    """A job, and the items that are to be fetched in it."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it takes
        self,
        place: Place,
        jobs: Jobs,
        job: Job,
        items: dict[str, GetItem],
        landing: Landing,
        how: Transfer,
    ) -> None:
        """Fetch nothing yet; ``items`` are by key."""
        self._place = place
        self._jobs = jobs
        self._job = job
        self._landing = landing
        self._how = how
        self._stop = Stop(how.cancelled)
        self._fetching = Fetching(place, jobs, job, self._stop)
        self._held = ByteBudget(_HELD)
        self._ending = threading.Lock()
        self._is_over = False
        blobs = by_name(job.blobs)
        self._has_more = not blobs.keys() <= items.keys()
        self._downloads = {key: _Download(item, blobs.get(key, [])) for key, item in items.items()}
        self.again: list[GetItem] = []
        """The items that another job could fetch: of these, no outcome was yielded."""

    def outcomes(self) -> Iterator[Outcome]:
        """Yield one outcome an item, as they finish, but for those that are to be tried again.

        A job that not all is fetched of is ended, so that it reserves nothing, or left to be
        resumed.
        """
        try:
            for download in self._downloads.values():
                download.error = self._plan(download)
            settled = [each for each in self._downloads.values() if not each.is_open]
            yield from map(self._outcome, settled)
            yield from self._fetched()
        finally:
            self._stop.set()
            self._leave()

    def error_of(self, item: GetItem) -> IngestError:
        """Return why one of ``again`` was not fetched."""
        return self._downloads[item.entry.key].error or StoreError("it was not fetched")

    def _plan(self, download: _Download) -> IngestError | None:
        """Find out how an item comes; return why it cannot. One of no bytes may need no blob."""
        entry, blobs = download.item.entry, download.blobs
        size = sum(blob.length for blob in blobs)
        if size != entry.size:
            return StoreError(f"it has {size:,} bytes, but {entry.size:,} when it was listed")
        download.left = len(blobs)
        try:
            if not blobs:
                self._write(download, b"")
            elif len(blobs) > 1 or size >= LARGE:
                identity = f"{self._place.url}/{entry.key}/{blobs[0].version_id or entry.modified}"
                look = functools.partial(self._attributes, download)
                download.landed = Landed(self._landing, download.item, blobs, identity, look)
        except IngestError as error:
            return error
        return None

    def _fetched(self) -> Iterator[Outcome]:
        wanted = (b for each in self._downloads.values() if each.is_open for b in each.blobs)
        threads = self._how.threads
        offers = Offers(self._jobs, self._job, wanted, self._stop, chunks=threads)

        def fetch(blob: Blob) -> None:
            self._fetch(self._downloads[blob.name], blob)

        failure: IngestError = StoreError("the transfer was stopped")
        try:
            for blob, error in offers.moved(fetch, threads):
                yield from self._noted(self._downloads[blob.name], error)
        except IngestError as error:
            failure = error
        yield from self._rest(failure)

    def _noted(self, download: _Download, error: IngestError | None) -> Iterator[Outcome]:
        """Note that a blob was fetched, or that it failed; yield what that makes of its item."""
        if not download.is_open:
            return
        download.error = error
        download.left -= not error
        if isinstance(error, Mismatch):
            self.again.append(download.item)
        elif not download.is_open:
            yield self._outcome(download)

    def _rest(self, failure: IngestError) -> Iterator[Outcome]:
        """Yield what becomes of the items that are not whole when nothing more comes."""
        self._is_over = isinstance(failure, JobOver)
        for download in self._downloads.values():
            if download.is_open:
                download.error = failure
                # A job ends with the last answer that has gone out, whether it arrived or not.
                if isinstance(failure, JobOver) and failure.status == "COMPLETED":
                    self.again.append(download.item)
                else:
                    yield self._outcome(download)

    def _outcome(self, download: _Download) -> Outcome:
        entry, path = download.item.entry, download.item.path
        if download.error:
            return Outcome(path, 0, self._place.error("read", entry.key, download.error))
        return Outcome(path, entry.size, existed=download.existed)

    def _leave(self) -> None:
        """Keep or remove what is there of files; end a job that is not done, or leave it."""
        downloads = self._downloads.values()
        errors = [each.error for each in downloads if each.error]
        is_open = any(each.is_open for each in downloads)
        is_stopped = self._how.cancelled.is_set() or is_open
        keep = self._how.keeps_cancelled if is_stopped else self._how.keep_partial
        for each in downloads:
            if each.landed and (each.is_open or each.error):
                try:
                    each.landed.leave(keep=keep)
                except StoreError as error:
                    logger.warning("what is there of %s stays: %s", each.item.path, error)
        if not self._is_over and (errors or is_open or self._has_more):
            self._jobs.leave(self._job, self._how, errors, open_=is_open)

    # Blobs

    def _fetch(self, download: _Download, blob: Blob) -> None:
        self._stop.check()
        if download.error:
            return
        if download.landed:
            with download.landed.open() as partial:
                self._fetch_part(download, download.landed, partial, blob)
            return
        taken = self._held.take(blob.length)
        try:
            self._how.pace(blob.length)
            heard = functools.partial(setattr, download, "metadata")
            content = b"".join(self._fetching.content(blob, is_object=True, heard=heard))
            self._write(download, content)
        finally:
            self._held.give(taken)
        self._how.moved(blob.length)

    def _write(self, download: _Download, content: bytes) -> None:
        attributes = self._attributes(download)
        landed = self._landing.write(download.item.path, content, attributes=attributes)
        download.existed = not landed

    def _attributes(self, download: _Download) -> Attributes:
        """Return what a file gets: the object's time, or what the object has of a file."""
        entry, blobs, told = download.item.entry, download.blobs, download.metadata
        if not self._how.preserve:
            return Attributes(round(entry.modified * 1e9))
        if told is None:
            version_id = blobs[0].version_id if blobs else version_of(entry)
            told = head_of(self._place, entry.key, version_id).metadata
        return read(told, entry.modified)

    def _fetch_part(
        self, download: _Download, landed: Landed, partial: Partial, blob: Blob
    ) -> None:
        """Fetch what is not there of a blob; with the last one, the file is whole."""
        parts = landed.missing(partial, blob)
        there = blob.length - sum(part.size for part in parts)
        self._how.moved(there)
        if parts:
            span = (parts[0].offset, parts[-1].offset + parts[-1].size)
            is_object = len(download.blobs) == 1
            content = self._fetching.content(blob, span, is_object=is_object)
            try:
                landed.write(partial, parts, self._paced(content), self._how.moved)
            except Mismatch:
                landed.spoil()
                raise
        else:
            self._has_more = True
        if not there:
            landed.came_whole(blob)
        with self._ending:
            download.there += 1
            is_whole = download.there == len(download.blobs)
        if is_whole:
            version_id = blob.version_id
            look = functools.partial(head_of, self._place, blob.name, version_id)
            download.existed = not landed.commit(partial, look)

    def _paced(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._stop.check()
            self._how.pace(len(chunk))
            yield chunk
