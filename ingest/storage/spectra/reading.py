"""One object, or a part of it, from its first byte to its last, without a file of its own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.storage.spectra.fetching import Fetching
from ingest.storage.spectra.jobs import Offers, Wanted
from ingest.storage.spectra.patience import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.storage.spectra.documents import Blob, Job
    from ingest.storage.spectra.jobs import JobOptions, Jobs
    from ingest.storage.spectra.place import Place

_IN_MEMORY = 8 * 1024**2
_PIECE = 1024**2


def stream(place: Place, jobs: Jobs, options: JobOptions, wanted: Wanted) -> Iterator[bytes]:
    """Yield an object's content, or a part of it, piece by piece.

    A blob that comes before its turn waits in a temporary file. Raises ``NotFound``, what the wire
    raises, and ``Mismatch`` after what turns out to be wrong.
    """
    stop = Stop()
    job = jobs.begin(place, "GET", [wanted], options, stop, in_order=True)
    is_read = False
    try:
        yield from _in_turn(place, jobs, job, wanted, stop)
        is_read = True
    finally:
        if not is_read:
            with suppress(IngestError):  # of who reads no further, nobody hears it
                jobs.end(job.id, at_once=True)


def _in_turn(place: Place, jobs: Jobs, job: Job, wanted: Wanted, stop: Stop) -> Iterator[bytes]:
    fetching, offers = Fetching(place, jobs, job, stop), Offers(jobs, job, job.blobs, stop)
    due = min((blob.offset for blob in job.blobs), default=0)
    with ExitStack() as files:
        early = {}
        for blob in offers:
            chunks = _wanted_of(fetching, blob, wanted)
            if blob.offset == due:
                yield from chunks
                due += blob.length
            else:
                file = files.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))
                file.writelines(chunks)
                early[blob.offset] = file, blob.length
            offers.settled()
            while due in early:
                file, length = early.pop(due)
                file.seek(0)
                while piece := file.read(_PIECE):
                    yield piece
                file.close()
                due += length


def _wanted_of(fetching: Fetching, blob: Blob, wanted: Wanted) -> Iterator[bytes]:
    """Yield what is wanted of a blob; all of it is checked, a part cannot be."""
    whole = (blob.offset, blob.offset + blob.length)
    if wanted.part is None:
        return fetching.content(blob)
    start, length = wanted.part
    first, end = max(whole[0], start), min(whole[1], start + length)
    if first >= end:
        return iter(())
    return fetching.content(blob, (first, end))
