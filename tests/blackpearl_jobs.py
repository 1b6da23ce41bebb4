"""Bulk jobs of the BlackPearl of tests: what is planned, offered, received and read."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blackpearl_buckets import new_id
from blackpearl_messages import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from blackpearl_buckets import Blob, Bucket, Version
    from blackpearl_options import Options

MOST_OBJECTS = 500_000
PRIORITIES = ("CRITICAL", "URGENT", "HIGH", "NORMAL", "LOW", "BACKGROUND")


@dataclass(eq=False, slots=True)
class Entry:
    """A blob in a job; done once it was received, or read."""

    version: Version
    blob: Blob
    done: bool = False


@dataclass(eq=False, slots=True)
class Chunk:
    """Blobs that are offered together once it is ``ready``: has room in the cache, or is there.

    ``polls`` is how often somebody has yet to ask until it has been read from tape, or written.
    """

    number: int
    entries: list[Entry]
    polls: int = 0
    ready: bool = False
    id: str = field(default_factory=new_id)

    @property
    def size(self) -> int:
        return sum(entry.blob.length for entry in self.entries)

    @property
    def done(self) -> bool:
        return all(entry.done for entry in self.entries)


@dataclass(eq=False)
class Job:
    """A bulk PUT or GET; its status is IN_PROGRESS, COMPLETED or CANCELED."""

    bucket: Bucket
    kind: str
    name: str
    priority: str
    in_order: bool = False
    aggregating: bool = False
    implicit: bool = False
    status: str = "IN_PROGRESS"
    chunks: list[Chunk] = field(default_factory=list)
    left: int = 0
    requests: int = 0
    created: float = field(default_factory=time.time)
    id: str = field(default_factory=new_id)

    @property
    def entries(self) -> Iterator[Entry]:
        return (entry for chunk in self.chunks for entry in chunk.entries)

    @property
    def size(self) -> int:
        return sum(entry.blob.length for entry in self.entries)

    def __post_init__(self) -> None:
        self._places: dict[tuple[str, int], list[tuple[Chunk, Entry]]] = {}

    def plan(self, entries: Iterable[Entry], options: Options) -> list[Chunk]:
        """Put blobs into chunks, after those that there are; return the new ones."""
        entries, before = list(entries), len(self.chunks)
        self.left += sum(not entry.done for entry in entries)
        if options.shuffled:
            random.Random(0).shuffle(entries)  # noqa: S311 - no secret
        size = options.chunk_blobs
        for start in range(0, len(entries), size):
            chunk = Chunk(len(self.chunks), entries[start : start + size])
            self.chunks.append(chunk)
            for entry in chunk.entries:
                place = entry.version.key, entry.blob.offset
                self._places.setdefault(place, []).append((chunk, entry))
        return self.chunks[before:]

    def place(
        self, key: str, offset: int, version_id: str | None = None
    ) -> tuple[Chunk, Entry] | None:
        """Return a blob of this job with its chunk, of the first version where none is named."""
        for chunk, entry in self._places.get((key, offset), ()):
            if version_id in (None, entry.version.id):
                return chunk, entry
        return None

    def finish(self, entry: Entry) -> None:
        """Note that a blob was received or read; of a job that aggregates, more may be to come."""
        self.left -= not entry.done
        entry.done = True
        self.settle()

    def settle(self) -> None:
        """End a job of which nothing is left to do."""
        if self.status == "IN_PROGRESS" and not self.left and not self.aggregating:
            self.status = "COMPLETED"


class Jobs:
    """All jobs, and the cache that they share."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.all: dict[str, Job] = {}
        self._lost: dict[str, int] = {}
        self._cache: list[Chunk] = []

    def add(self, job: Job, entries: Iterable[Entry]) -> Job:
        """Add blobs to a job, which may be a new one."""
        self.all[job.id] = job
        for chunk in job.plan(entries, self._options):
            if job.kind == "GET":
                cached = all(entry.blob.cached for entry in chunk.entries)
                chunk.polls = 0 if cached else self._options.tape_polls
                chunk.ready = not chunk.polls
            elif not chunk.number:
                # The vendor's answer to a bulk PUT has a node for the first chunk alone.
                self.allocate(chunk)
        job.settle()
        return job

    def active(self) -> list[Job]:
        return [job for job in self.all.values() if job.status == "IN_PROGRESS"]

    def find(self, job_id: str) -> Job:
        """Return a job that is known, whatever became of it.

        Raises:
            Refused: it is not, or is lost.

        """
        if job_id in self._lost:
            status = self._lost[job_id]
            raise Refused(status, "NotFound" if status == 404 else "Gone", f"Lost job: {job_id}")
        if job_id not in self.all:
            raise Refused(404, "NotFound", f"Job does not exist: {job_id}")
        return self.all[job_id]

    def running(self, job_id: str, over: int) -> Job:
        """Return a job in progress.

        Raises:
            Refused: it is unknown; with status ``over``, it was canceled or is completed.

        """
        job = self.find(job_id)
        if job.status != "IN_PROGRESS":
            code = "NotFound" if over == 404 else "Gone"
            raise Refused(over, code, f"Job is {job.status}: {job_id}")
        return job

    def lose(self, job: Job, status: int) -> None:
        """Forget a job; what had come whole stays."""
        self._lost[job.id] = status
        self.truncate(job)
        job.status = "CANCELED"
        del self.all[job.id]

    def cancel(self, job: Job) -> None:
        """End a job; of a PUT, nothing stays of what is not on tape."""
        job.status = "CANCELED"
        waiting = [chunk for chunk in job.chunks if chunk in self._cache or not chunk.ready]
        self._drop(job, {entry.version for chunk in waiting for entry in chunk.entries})

    def truncate(self, job: Job) -> None:
        """Complete a job with what has come whole; the rest of a PUT is dropped."""
        self._drop(job, {entry.version for entry in job.entries if not entry.version.complete})
        for chunk in job.chunks:
            chunk.entries = [entry for entry in chunk.entries if entry.done]
        job.status = "COMPLETED"

    def _drop(self, job: Job, versions: set[Version]) -> None:
        self._cache = [chunk for chunk in self._cache if chunk not in job.chunks]
        for version in versions if job.kind == "PUT" else ():
            if version in job.bucket.versions.get(version.key, ()):
                job.bucket.drop(version)

    def poll(self, job: Job) -> list[Chunk]:
        """Return the chunks to be processed now, after what tapes did since the last time."""
        if job.kind == "PUT":
            self._write()
            for chunk in job.chunks:
                if not chunk.ready and not self.allocate(chunk):
                    break
        chunks = job.chunks[::-1] if self._options.shuffled and not job.in_order else job.chunks
        again = self._options.repeated
        offered = [each for each in chunks if each.ready and (again or not each.done)]
        if job.in_order:
            first = next((each for each in chunks if not each.done), None)
            offered = [first] if first and first.ready else []
        if job.kind == "GET":
            self._read(next((each for each in chunks if each.polls), None))
        return offered

    def allocate(self, chunk: Chunk) -> bool:
        """Give a chunk room in the cache, if there is; one larger than all of it gets all of it."""
        room = self._options.cache_size
        used = sum(each.size for each in self._cache) if room is not None else 0
        if used and used + chunk.size > (room or 0):
            return False
        chunk.ready = True
        chunk.polls = self._options.tape_polls
        self._cache.append(chunk)
        return True

    def _write(self) -> None:
        """Write complete chunks to tape, at the pace of polls; there they make room."""
        for chunk in [each for each in self._cache if each.done]:
            if chunk.polls:
                chunk.polls -= 1
                return
            self._cache.remove(chunk)

    def _read(self, chunk: Chunk | None) -> None:
        if chunk:
            chunk.polls -= 1
            chunk.ready = not chunk.polls
            for entry in chunk.entries:
                entry.blob.cached |= chunk.ready
