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

import hashlib
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

from ingest import aws_secret, rawzone
from ingest.errors import (
    BucketNotFound,
    CorruptFile,
    CredentialsRefused,
    Defect,
    IngestError,
    NotFound,
    SettingsError,
    StoreError,
)
from ingest.fetcher import fetch, fetch_details
from ingest.logs import log_keys
from ingest.rawzone import Partition
from ingest.report import DatasetReport, RunReport
from ingest.serializer import Format, deserialize, serialize
from ingest.settings import DEFAULT_LAKE
from ingest.signin import SignIn, SignIns
from ingest.storage.connection import Clients, Connection
from ingest.storage.local import LocalStore
from ingest.storage.s3 import S3Store
from ingest.tmdb import Tmdb
from ingest.tracing import traced
from ingest.uploader import Upload, delete, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from ingest.event import RunRequest
    from ingest.fetcher import Dataset, Fetched
    from ingest.pacing import Deadline
    from ingest.rawzone import Manifest
    from ingest.settings import Settings
    from ingest.storage.base import Lake

logger = logging.getLogger(__name__)

_PATIENCE_S = 10
"""Seconds that one small object may take: in Lambda nobody waits longer."""

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
        stores = _open_stores(settings)
        with _open_tmdb(settings, deadline) as tmdb:
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
        wait(lanes)
    except KeyboardInterrupt:
        # A lane that waits for TMDB ends now; one that is landing gets the time to finish.
        tmdb.close()
        wait(lanes, timeout=_GRACE_S)
        raise
    finally:
        threads.shutdown(wait=False)
    return tuple(report for lane in lanes for report in lane.result())


def _open_tmdb(settings: Settings, deadline: Deadline) -> Tmdb:
    sign_ins = _sign_ins(settings)
    return Tmdb(settings.tmdb_base_url, sign_ins, rate=settings.rate, deadline=deadline)


def _sign_ins(settings: Settings) -> SignIns:
    """Return how to sign in to TMDB: as the environment says, else by what AWS keeps."""
    kept, token, key = settings.kept_secret, settings.tmdb_access_token, settings.tmdb_api_key
    if token or key:
        if kept:
            logger.warning("TMDB_ACCESS_TOKEN or TMDB_API_KEY is set: %s is not read", kept)
        return SignIns(lambda: SignIn(token=token, key=key))
    if kept:
        read = partial(aws_secret.read, kept)
        return SignIns(read, partial(read, anew=True))
    raise SettingsError(
        "TMDB_ACCESS_TOKEN is not set; it should be a v4 access token of TMDB "
        "(or TMDB_API_KEY a v3 key)"
    )


def _open_stores(settings: Settings) -> list[Lake]:
    """Return where to land, the lake last: a copy that fails then keeps the lake uncommitted.

    The other way round, a run tried again would find the lake's manifest and skip the copy.
    """
    if not settings.bucket:
        return [LocalStore(settings.local_dir or DEFAULT_LAKE)]
    connection = Connection(
        settings.endpoint_url, settings.region, settings.access_key, patience_s=_PATIENCE_S
    )
    bucket = S3Store(settings.bucket, Clients(connection))
    return [LocalStore(settings.local_dir), bucket] if settings.local_dir else [bucket]


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
        committed = partition.parse_manifest(_read_manifest(self.lake, partition))
        if may_skip and self._is_done(committed) and _is_intact(self.lake, committed):
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
        """Land ``fetched`` in every store: objects first, then the manifest, the lake's last."""
        files = serialize(fetched.records, self.form)
        keys = partition.keys(len(files), self.form.extension)
        landing = list(zip(keys, files, strict=True))
        uploads = [Upload(key, file.body, self.form.content_type) for key, file in landing]
        for store in self.stores:
            with _withdrawn(store, partition) as there:
                upload(store, uploads)
            # Before the manifest: afterwards, nobody would come back for what a failure left.
            delete(store, there.difference(keys))
        document = rawzone.manifest(self.run, partition, fetched, landing, started_at)
        body = rawzone.encode_manifest(document)
        for store in self.stores:
            upload(store, [Upload(partition.manifest_key, body, "application/json")])
            _confirm(store, partition, document)
        return document


def _read_manifest(store: Lake, partition: Partition) -> bytes | None:
    """Return the partition's manifest as it is, None where there is none.

    Raises ``StoreError`` where the store cannot tell: a bucket that does not exist among them.
    """
    try:
        return store.read(partition.manifest_key)
    except BucketNotFound:
        raise
    except NotFound:
        return None
    except CredentialsRefused:
        # Whoever may list nothing but this prefix is perhaps not told that it is not there.
        with suppress(IngestError):
            if partition.manifest_key not in store.names(partition.directory):
                return None
        raise


@contextmanager
def _withdrawn(store: Lake, partition: Partition) -> Iterator[set[str]]:
    """Take the partition's manifest away, if there is one; yield the objects that are there.

    Those are told by their names alone, not by the manifest: objects of a run that never came to
    its manifest are among them, and no file of anybody else's. Where nothing could be written,
    on a full disk say, and what the manifest commits is still as it was, it is put back.
    """
    keys = store.names(partition.directory)
    body = _read_manifest(store, partition) if partition.manifest_key in keys else None
    if partition.manifest_key in keys:
        delete(store, [partition.manifest_key])
    try:
        yield {key for key in keys if partition.owns(key)}
    except IngestError:
        if body and _is_intact(store, partition.parse_manifest(body)):
            upload(store, [Upload(partition.manifest_key, body, "application/json")])
        raise


def _confirm(store: Lake, partition: Partition, document: Manifest) -> None:
    """Raise unless ``document`` and what it commits are in ``store``, and nothing else of a run.

    Another run may have written the same partition at the same time; then the manifest of one
    would speak of the objects of the other, or those would lie beside its own. It is taken away.
    """
    found = partition.parse_manifest(_read_manifest(store, partition))
    if found and found["run_id"] == document["run_id"] and _is_intact(store, found):
        there = {key for key in store.names(partition.directory) if partition.owns(key)}
        if there == {entry["key"] for entry in found["objects"]}:
            return
    if found and found["run_id"] == document["run_id"]:
        delete(store, [partition.manifest_key])
    raise StoreError(
        f"{store.url}/{partition.directory} was written by another run at the same time",
        hint="run it again",
    )


def _is_intact(store: Lake, committed: Manifest | None) -> bool:
    """Whether the objects that a manifest commits have the content it says."""
    try:
        return committed is not None and all(
            hashlib.sha256(store.read(entry["key"])).hexdigest() == entry["sha256"]
            for entry in committed["objects"]
        )
    except (IngestError, KeyError):
        return False
