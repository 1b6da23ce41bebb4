"""Windows -> the raw zone, each whole or not at all, side by side.

What is guaranteed:

* A window is committed by its manifest, which is written last. One that has landed with the same
  plan, with as many ids as TMDB counted, is skipped; so whoever was killed goes on with the rest.
* A window that fails does not keep the others from landing, and is reported with its error. What
  would make all of them fail ends the work.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import as_completed, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ingest import __version__
from ingest.backfill.reading import gather
from ingest.backfill.windows import Place
from ingest.committing import commit, read_manifest
from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    DeadlineExceeded,
    Defect,
    IngestError,
)
from ingest.fetcher import is_torn
from ingest.logs import log_keys
from ingest.opening import open_stores
from ingest.rawzone import describe_object, describe_page, utc_text
from ingest.serializer import Format
from ingest.tracing import traced
from ingest.uploader import Upload
from ingest.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.backfill.reading import Gathered
    from ingest.backfill.windows import Window
    from ingest.rawzone import Manifest
    from ingest.serializer import File
    from ingest.settings import Settings
    from ingest.storage.base import Lake
    from ingest.tmdb import Tmdb

logger = logging.getLogger(__name__)

_OF_ALL = (CredentialsRefused, BucketNotFound, DeadlineExceeded)
"""What no window after it would be spared."""

_GRACE_S = 1.5
"""Seconds that windows which are just landing get when the work ends early."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one window. ``status`` is landed, skipped, failed or missing.

    ``unique_ids`` of ``total_results`` titles are there, whichever run has landed them.
    """

    window: Window
    status: str
    unique_ids: int = 0
    total_results: int = 0
    bytes: int = 0
    consistency: str | None = None
    error: IngestError | None = None
    seconds: float = 0.0

    @classmethod
    def of_manifest(cls, status: str, window: Window, document: Manifest) -> Done:
        """Report the window that ``document`` commits."""
        return cls(
            window,
            status,
            unique_ids=document["unique_ids"],
            total_results=document["total_results"],
            bytes=sum(entry["bytes"] for entry in document["objects"]),
            consistency=document["source"]["consistency"],
        )

    @property
    def complete(self) -> bool:
        """Whether just as many ids have landed as TMDB counted."""
        there = self.status in {"landed", "skipped"}
        return there and self.unique_ids == self.total_results


@dataclass(frozen=True, slots=True)
class Job:
    """What all windows of one run share: the lake is the last of ``stores``."""

    tmdb: Tmdb
    stores: Sequence[Lake]
    zone: str
    form: Format
    run_id: str
    torn_after_s: float

    @classmethod
    def of(cls, settings: Settings, tmdb: Tmdb, run_id: str) -> Job:
        """Return the job that lands windows as ``settings`` say."""
        return cls(
            tmdb=tmdb,
            stores=open_stores(settings),
            zone=settings.raw_zone_path,
            form=Format(settings.output_format, settings.compression),
            run_id=run_id,
            torn_after_s=settings.torn_after_s,
        )

    def do(self, window: Window) -> Done:
        """Skip or land one window; what it fails with is in its report."""
        clock = time.monotonic()
        with log_keys(dataset=window.dataset.name, window=str(window)):
            try:
                done = landed(self.stores[-1], self.zone, window)
                if not done or not done.complete:
                    done = self._land(window)
            except IngestError as error:
                done = Done(window, "failed", error=error)
            except Exception as error:  # the other windows, and the summary, are to be told of
                cause = Defect.of(error)
                logger.exception("%s: %s", window, cause)
                done = Done(window, "failed", error=cause)
        return replace(done, seconds=time.monotonic() - clock)

    def _land(self, window: Window) -> Done:
        started_at = datetime.now(UTC)
        told = {"dataset": window.dataset.name, "window": str(window)}
        with traced(f"fetch {window.dataset.name}", **told):
            gathered = gather(window, self.tmdb, self.form)
        place = Place(self.zone, window)
        keys = place.keys(len(gathered.files), self.form.extension)
        landing = list(zip(keys, gathered.files, strict=True))
        uploads = [Upload(key, file.body, self.form.content_type) for key, file in landing]
        with traced(f"land {window.dataset.name}", **told):
            document = commit(
                self.stores,
                place,
                uploads,
                lambda: self._manifest(window, gathered, landing, started_at),
            )
        done = Done.of_manifest("landed", window, document)
        logger.info("%s: landed %d of %d", window, done.unique_ids, done.total_results)
        return done

    def _manifest(
        self,
        window: Window,
        gathered: Gathered,
        landing: Sequence[tuple[str, File]],
        started_at: datetime,
    ) -> dict[str, Any]:
        torn = is_torn(gathered.pages, self.torn_after_s)
        return {
            "dataset": window.dataset.name,
            "run_id": self.run_id,
            "window": window.as_json(),
            "total_results": gathered.total_results,
            "unique_ids": gathered.unique_ids,
            "objects": [describe_object(key, file) for key, file in landing],
            "source": {
                "endpoint": window.dataset.endpoint,
                "params": dict(gathered.params),
                "pages": [describe_page(page) for page in gathered.pages],
                "consistency": "torn" if torn else "consistent",
                "readings": gathered.readings,
                "rows_repeated": gathered.repeated,
            },
            "started_at": utc_text(started_at),
            "finished_at": utc_text(datetime.now(UTC)),
            "version": __version__,
        }


def landed(lake: Lake, zone: str, window: Window) -> Done | None:
    """Return what has landed of ``window`` with its plan, None where nothing is committed.

    A manifest counts where all objects that it names are there.
    """
    place = Place(zone, window)
    document = place.parse_manifest(read_manifest(lake, place))
    if document is None:
        return None
    missing = {entry["key"] for entry in document["objects"]} - lake.names(place.directory)
    return None if missing else Done.of_manifest("skipped", window, document)


def work(windows: Sequence[Window], job: Job, threads: int) -> Iterator[Done]:
    """Skip or land each of ``windows``, ``threads`` at a time; yield what became of each.

    Raises what would end all of them: refused credentials, a bucket that does not exist, a deadline
    that has passed. Then, and where the caller goes no further, those under way end at once, but
    for a moment to finish landing.
    """
    workers = Workers(threads, "window")
    futures = [workers.submit(partial(copy_context().run, job.do, window)) for window in windows]
    try:
        for future in as_completed(futures):
            done = future.result()
            yield done
            if isinstance(done.error, _OF_ALL):
                raise done.error
    finally:
        workers.close()
        if not all(future.done() for future in futures):
            job.tmdb.close()
            wait(futures, timeout=_GRACE_S)
