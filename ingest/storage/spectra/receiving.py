"""Objects on their way from a bucket, in as few jobs as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound, IngestError, NotFound, StoreError
from ingest.storage.base import Outcome
from ingest.storage.bulk import in_threads
from ingest.storage.spectra.download import GetJob
from ingest.storage.spectra.heads import head_as_listed, version_of
from ingest.storage.spectra.jobs import Wanted
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.wire import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.files.landing import Landing
    from ingest.storage.base import GetItem, Transfer
    from ingest.storage.spectra.jobs import JobOptions, Jobs
    from ingest.storage.spectra.place import Place

    Items = dict[str, GetItem]

_MOST_JOBS = 3
"""How often an object is fetched of which something else arrives than was sent."""


class Receiver:
    """Fetches the items of one bulk."""

    def __init__(
        self, place: Place, jobs: Jobs, options: JobOptions, landing: Landing, how: Transfer
    ) -> None:
        """Fetch from ``place`` into ``landing`` as ``options`` and ``how`` say."""
        self._place = place
        self._jobs = jobs
        self._options = options
        self._landing = landing
        self._how = how

    def get(self, items: list[GetItem]) -> Iterator[Outcome]:
        """Fetch ``items``, whose keys all differ, in one job or, where one does not do, a few."""
        yield from self._get({item.entry.key: item for item in items}, 1)

    def _get(self, items: Items, count: int) -> Iterator[Outcome]:
        wanted = [Wanted(key, version_id=version_of(item.entry)) for key, item in items.items()]
        stop = Stop(self._how.cancelled)
        try:
            job = self._jobs.begin(self._place, "GET", wanted, self._options, stop)
        except BucketNotFound as error:
            yield from (self._failed(item, error) for item in items.values())
        except (BadRequest, NotFound) as error:
            yield from self._get_rest(items, error, count)
        except IngestError as error:
            yield from (self._failed(item, error) for item in items.values())
        else:
            get = GetJob(self._place, self._jobs, job, items, self._landing, self._how)
            yield from get.outcomes()
            yield from self._again(get, count)

    def _again(self, get: GetJob, count: int) -> Iterator[Outcome]:
        """Fetch in another job what did not arrive as it was sent, unless that was so too often."""
        if not get.again:
            return
        if count < _MOST_JOBS:
            yield from self._get({item.entry.key: item for item in get.again}, count + 1)
            return
        for item in get.again:
            yield self._failed(item, get.error_of(item))

    def _get_rest(self, items: Items, error: IngestError, count: int) -> Iterator[Outcome]:
        """Get what can be got, after ``error``: one bad name has kept the job from beginning."""
        missing = {}
        if isinstance(error, NotFound):
            missing = {key: why for key, why in self._missing(items) if why}
        if len(items) == 1:
            missing = dict.fromkeys(items, error) | missing
        for key, why in missing.items():
            yield self._failed(items[key], why)
        rest = [key for key in items if key not in missing]
        # Where nothing is missing, it is something else that half of them can do without.
        cut = len(rest) if missing else len(rest) // 2
        for half in (rest[:cut], rest[cut:]):
            if half:
                yield from self._get({key: items[key] for key in half}, count)

    def _missing(self, items: Items) -> Iterator[tuple[str, IngestError | None]]:
        """Yield the key of each item, and why it cannot be had, if so."""

        def look(item: GetItem) -> tuple[str, IngestError | None]:
            try:
                head_as_listed(self._place, item.entry)
            except BucketNotFound:
                raise
            except StoreError as error:
                return item.entry.key, error
            return item.entry.key, None

        yield from in_threads(look, items.values(), self._how.threads)

    def _failed(self, item: GetItem, error: IngestError) -> Outcome:
        return Outcome(item.path, 0, self._place.error("read", item.entry.key, error))
