"""One run: for each dataset fetch -> serialize -> upload -> manifest, side by side.

What a run guarantees:

* A partition is committed by its manifest, which is written last. A run replaces a partition by
  taking the old manifest away first, so that a manifest never speaks of other bytes than those
  beside it; it puts it back where nothing could be replaced.
* Nothing that was fetched only in part, and nothing empty (unless ``ALLOW_EMPTY``), lands.
* A dataset that fails does not keep the others from landing, and is never reported as landed.
* A partition whose manifest carries the run key of this run is not fetched again.
"""

from __future__ import annotations

import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeGuard

from ingest import rawzone
from ingest.committing import commit, is_intact, read_manifest
from ingest.errors import CorruptFile, Defect, IngestError
from ingest.fetcher import fetch, fetch_details
from ingest.logs import log_keys
from ingest.opening import open_stores, open_tmdb
from ingest.rawzone import Partition
from ingest.report import DatasetReport, RunReport
from ingest.serializer import Format, deserialize, serialize
from ingest.tracing import traced
from ingest.uploader import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from ingest.event import RunRequest
    from ingest.fetcher import Dataset, Fetched
    from ingest.pacing import Deadline
    from ingest.rawzone import Manifest
    from ingest.settings import Settings
    from ingest.storage.base import Lake
    from ingest.tmdb import Tmdb

logger = logging.getLogger(__name__)

_SOON_S = 0.5
"""Seconds within which Ctrl-C is seen to, even where it comes in the worst moment."""

_GRACE_S = 1.5
"""Seconds that a dataset which is just landing gets when the run is interrupted."""


def new_run_id() -> str:
    """Return a new id, which sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def run(request: RunRequest, settings: Settings, deadline: Deadline, run_id: str) -> RunReport:
    """Carry out ``request`` and report each dataset; what a dataset fails with is in its report.

    ``deadline`` is for TMDB alone: landing comes after it. Raises only what concerns the whole
    run: ``SettingsError`` where no credentials of the store or of TMDB are to be found.
    """
    day = request.day or rawzone.partition_day(request.planned, settings.time_zone)
    # The planned time is the same for every try of one planned run.
    run_key = rawzone.utc_text(request.planned) if request.planned else None
    with log_keys(partition=day.isoformat()):
        stores = open_stores(settings)
        with open_tmdb(settings, deadline) as tmdb:
            this_run = rawzone.Run(run_id, run_key, settings.torn_after_s)
            job = _Job(request, settings, tmdb, stores, day, this_run)
            reports = _side_by_side(tmdb, job.lane, request.datasets)
    return RunReport(run_id, day, f"{stores[-1].url}/{settings.raw_zone_path}", reports)


def _side_by_side(
    tmdb: Tmdb, lane: Callable[[Dataset], list[DatasetReport]], datasets: Sequence[Dataset]
) -> tuple[DatasetReport, ...]:
    """Run ``lane`` for each dataset in a thread of its own; return the reports in their order."""
    threads = ThreadPoolExecutor(len(datasets), thread_name_prefix="dataset")
    lanes = [threads.submit(copy_context().run, lane, dataset) for dataset in datasets]
    try:
        # Not without an end: a Ctrl-C in the moment before would not be seen to while it lasts.
        while wait(lanes, timeout=_SOON_S).not_done:
            pass
    except KeyboardInterrupt:
        # A lane that waits for TMDB ends now; one that is landing gets the time to finish.
        tmdb.close()
        wait(lanes, timeout=_GRACE_S)
        raise
    finally:
        threads.shutdown(wait=False)
    return tuple(report for lane in lanes for report in lane.result())


@dataclass(frozen=True, slots=True)
class _Job:
    """What the lanes of one run share."""

    request: RunRequest
    settings: Settings
    tmdb: Tmdb
    stores: Sequence[Lake]
    day: date
    run: rawzone.Run

    @property
    def lake(self) -> Lake:
        return self.stores[-1]

    @property
    def form(self) -> Format:
        return Format(self.settings.output_format, self.settings.compression)

    def lane(self, dataset: Dataset) -> list[DatasetReport]:
        """Run ``dataset`` and, where they are wanted, its details after it."""
        settings, tmdb = self.settings, self.tmdb
        limit = min(self.request.limit, settings.max_records)
        report, committed = self._dataset(dataset, lambda: fetch(dataset, settings, tmdb, limit))
        if not settings.details or not dataset.details:
            return [report]
        details = dataset.details
        if report.cause:
            return [report, DatasetReport(details.name, "failed", cause=report.cause)]
        # The ids come from what is in the lake: a try that finds the titles landed by an earlier
        # one asks for the details of just those.
        wanted, _ = self._dataset(
            details,
            lambda: fetch_details(details, self._ids(committed), settings, tmdb),
            may_skip=report.status != "landed",
        )
        return [report, wanted]

    def _dataset(
        self, dataset: Dataset, source: Callable[[], Fetched], *, may_skip: bool = True
    ) -> tuple[DatasetReport, Manifest | None]:
        """Skip, plan or land one dataset; return its report and the manifest that commits it."""
        clock = time.monotonic()
        committed = None
        with log_keys(dataset=dataset.name):
            try:
                report, committed = self._skip_or_land(dataset, source, may_skip=may_skip)
            except IngestError as error:
                report = DatasetReport(dataset.name, "failed", cause=error)
            except Exception as error:  # the other datasets, and the metrics, are to be told of
                cause = Defect.of(error)
                logger.exception("%s: %s", dataset.name, cause)
                report = DatasetReport(dataset.name, "failed", cause=cause)
        seconds, traffic = time.monotonic() - clock, self.tmdb.traffic(dataset.endpoint)
        return replace(report, seconds=seconds, traffic=traffic), committed

    def _skip_or_land(
        self, dataset: Dataset, source: Callable[[], Fetched], *, may_skip: bool
    ) -> tuple[DatasetReport, Manifest | None]:
        partition = Partition(self.settings.raw_zone_path, dataset, self.day)
        committed = partition.parse_manifest(read_manifest(self.lake, partition))
        if may_skip and self._is_done(committed) and is_intact(self.lake, committed):
            return DatasetReport.of_manifest("skipped", committed), committed
        if self.request.dry_run:
            key = partition.keys(1, self.form.extension)[0]
            return DatasetReport(dataset.name, "planned", key=key), None
        told = {"dataset": dataset.name, "partition": self.day.isoformat()}
        started_at = datetime.now(UTC)
        with traced(f"fetch {dataset.name}", **told):
            fetched = source()
        with traced(f"land {dataset.name}", **told):
            committed = self._land(partition, fetched, started_at)
        report = DatasetReport.of_manifest("landed", committed)
        failed = len(committed["errors"])
        logger.info(
            "%s: landed %d records in %s (%s)%s",
            dataset.name,
            report.records,
            report.key,
            report.consistency,
            f"; {failed} titles failed, see the manifest" if failed else "",
            extra={"bytes": report.bytes, "failed_titles": failed},
        )
        return report, committed

    def _is_done(self, committed: Manifest | None) -> TypeGuard[Manifest]:
        """Whether the partition was landed by this same planned run. A run by hand never is."""
        if committed is None or self.run.key is None or self.request.force:
            return False
        return bool(committed["run_key"] == self.run.key)

    def _ids(self, committed: Manifest | None) -> list[int]:
        objects = committed["objects"] if committed else []
        try:
            return [
                record["id"]
                for entry in objects
                for record in deserialize(self.lake.read(entry["key"]), entry["key"])
            ]
        except (KeyError, TypeError):
            pass
        raise CorruptFile(f"the records of {objects[0]['key']} have no ids to ask details of")

    def _land(self, partition: Partition, fetched: Fetched, started_at: datetime) -> Manifest:
        """Land ``fetched``, with a manifest that says what it is."""
        files = serialize(fetched.records, self.form)
        keys = partition.keys(len(files), self.form.extension)
        landing = list(zip(keys, files, strict=True))
        uploads = [Upload(key, file.body, self.form.content_type) for key, file in landing]
        return commit(
            self.stores,
            partition,
            uploads,
            lambda: rawzone.manifest(self.run, partition, fetched, landing, started_at),
        )
