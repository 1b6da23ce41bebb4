"""An appliance as commands see it: its stores, buckets and jobs, and whether all is well."""

from __future__ import annotations

import secrets
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from ingest.errors import IngestError, NotFound
from ingest.storage.base import PLAIN, PutItem
from ingest.storage.services import Finding, Job
from ingest.storage.spectra import appliance
from ingest.storage.spectra.jobs import JobOptions, Jobs
from ingest.storage.spectra.patience import Patience
from ingest.storage.spectra.place import Place
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.settings import ApplianceSettings
    from ingest.storage.base import Outcome, Transfer
    from ingest.storage.spectra import documents

_SKEW_FAILS_S, _SKEW_WARNS_S = 900.0, 300.0
"""A signature is taken for 15 minutes."""
_ASKED_AT_ONCE = 1_000


class SpectraService:
    """One appliance, and the user who asks."""

    def __init__(self, settings: ApplianceSettings) -> None:
        """Make no request yet."""
        patience = Patience(total_s=settings.patience_s)
        self._settings = settings
        self._wire = Wire(Appliance(settings.endpoint, settings.key, settings.proxy, patience))
        self._jobs = Jobs(self._wire)

    def store(
        self, bucket: str, *, job_name: str | None = None, priority: str | None = None
    ) -> SpectraStore:
        """Return the store of ``bucket``, whose jobs are called so and have this priority."""
        options = JobOptions(priority=priority, objects=self._settings.job_objects)
        if job_name:
            options = replace(options, name=job_name)
        return SpectraStore(bucket, self._wire, options)

    # Buckets

    def buckets(self) -> list[tuple[str, str | None]]:
        """Return the names of the buckets that the user may see, and when they were made."""
        return appliance.list_buckets(self._wire)

    def make_bucket(self, bucket: str) -> bool:
        """Make a bucket; return False where it is there already."""
        return appliance.make_bucket(self._wire, bucket)

    def remove_bucket(self, bucket: str, *, force: bool) -> None:
        """Remove a bucket; with ``force``, and all that is in it."""
        appliance.remove_bucket(self._wire, bucket, force=force)

    # Objects

    def versions(self, bucket: str, prefix: str) -> Iterator[tuple[str, str | None, int, bool]]:
        """Yield all versions of the objects whose keys begin with ``prefix``."""
        for each in self.store(bucket).list_versions(prefix):
            yield each.key, each.version_id, each.size, each.is_latest

    def tapes(self, bucket: str, prefix: str) -> Iterator[tuple[str, str, str]]:
        """Yield the tapes that objects whose keys begin with ``prefix`` are on, each once."""
        place, seen = Place(self._wire, bucket), set[str]()
        keys = (entry.key for entry in self.store(bucket).list(prefix))
        while batch := list(islice(keys, _ASKED_AT_ONCE)):
            for tape in appliance.tapes_of(place, batch):
                if tape.bar_code not in seen:
                    seen.add(tape.bar_code)
                    yield tape.bar_code, tape.kind, tape.state

    # Jobs

    def jobs(self, bucket: str | None = None) -> list[Job]:
        """Return the jobs that are not done, of one bucket or all."""
        return [_told(job) for job in self._jobs.all(bucket) if job.request_type in _VERBS]

    def job(self, job_id: str) -> tuple[Job, list[str]]:
        """Return a job, and the keys of the objects that are in it. Raises ``NotFound``."""
        found = self._jobs.find(job_id)
        if found is None or found.status in {"COMPLETED", "CANCELED"}:
            state = found.status.lower() if found else "not known"
            raise NotFound(f"the job {job_id}{self._wire.at} is {state}")
        return _told(found), list(dict.fromkeys(blob.name for blob in found.blobs))

    def resume(
        self, job_id: str, items: Iterable[PutItem], how: Transfer = PLAIN
    ) -> Iterator[Outcome]:
        """Go on with an upload, of whose objects ``items`` are."""
        job = self._jobs.resume(job_id)
        store = self.store(job.bucket, job_name=job.name)
        return store.resume(job, items, how)

    def end_job(self, job_id: str) -> None:
        """End a job; objects of which every byte has arrived stay. Raises ``NotFound``."""
        self._jobs.end(job_id)

    # Whether all is well

    def findings(self, bucket: str | None, prefix: str) -> Iterator[Finding]:
        """Yield what is found, step by step, up to the first that makes the next pointless.

        With ``bucket``, an object is written under a random name that begins with ``prefix``, and
        removed again.
        """
        through = ", through a proxy" if self._settings.proxy else ""
        yield Finding("endpoint", "ok", f"{self._settings.endpoint}{through}")
        for name, look in (
            ("appliance", self._look_at_appliance),
            ("clock", self._look_at_clock),
            ("health", self._look_at_health),
            ("buckets", self._look_at_buckets),
            ("jobs", self._look_at_jobs),
        ):
            try:
                yield look(name)
            except IngestError as error:
                yield Finding(name, "failed", error.message, error.hint)
                return
        if bucket:
            yield from self._probed(bucket, prefix)

    def _look_at_appliance(self, name: str) -> Finding:
        told = appliance.information(self._wire)
        said = f"version {told.version or 'unknown'}, serial number {told.serial_number or 'none'}"
        if not told.is_active:
            cure = "activate it in its own management interface"
            return Finding(name, "failed", f"{said}: its backend is not activated", cure)
        return Finding(name, "ok", f"{said}; it accepts the credentials")

    def _look_at_clock(self, name: str) -> Finding:
        ahead_s = self._wire.clock_ahead_s
        said = f"it is {abs(ahead_s):,.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
        cure = "set this machine's clock, or the appliance's"
        if abs(ahead_s) > _SKEW_FAILS_S:
            return Finding(name, "failed", said, cure)
        if abs(ahead_s) > _SKEW_WARNS_S:
            return Finding(name, "warning", said, cure)
        agreed = abs(ahead_s) < 2  # noqa: PLR2004 - a Date has whole seconds
        return Finding(name, "ok", "the clocks agree" if agreed else said)

    def _look_at_health(self, name: str) -> Finding:
        told = appliance.health(self._wire)
        space = told.get("DatabaseFilesystemFreeSpace", "NORMAL")
        if space != "NORMAL":
            return Finding(name, "warning", f"free space of its database: {space}", "call support")
        return Finding(name, "ok", "it answers, and its database has room")

    def _look_at_buckets(self, name: str) -> Finding:
        return Finding(name, "ok", f"the user sees {len(self.buckets()):,}")

    def _look_at_jobs(self, name: str) -> Finding:
        return Finding(name, "ok", f"{len(self.jobs()):,} under way (`ingest jobs` lists them)")

    def _probed(self, bucket: str, prefix: str) -> Iterator[Finding]:
        store, key = self.store(bucket), f"{prefix}ingest-doctor-{secrets.token_hex(16)}"
        content = f"{key}, which may be deleted\n".encode()
        try:
            policy = Place(self._wire, bucket).policy()
            kept = "one version of an object" if policy.keeps_one else "versions"
            yield Finding("policy", "ok", f"checksum {policy.checksum}; it keeps {kept}")
            next(store.list(prefix), None)
            yield Finding("list", "ok", "it is answered")
            for outcome in store.put_many([PutItem(key, content, "text/plain")]):
                if outcome.error:
                    yield Finding("write", "failed", outcome.error.message, outcome.error.hint)
                    return
            yield Finding("write", "ok", f"{store.url}/{key}")
            same = store.read(key) == content
            said = "what came back is what was sent" if same else "other bytes came back"
            yield Finding("read", "ok" if same else "failed", said)
        except IngestError as error:
            yield Finding("bucket", "failed", error.message, error.hint)
        finally:
            for outcome in store.delete_many([key]):
                if outcome.error:
                    yield Finding("delete", "failed", outcome.error.message, outcome.error.hint)


_VERBS = {"PUT": "upload", "GET": "download"}


def _told(job: documents.Job) -> Job:
    # A job that writes is done with what is in the cache; one that reads, with what was read.
    done = job.cached_size if job.request_type == "PUT" else job.completed_size
    verb = _VERBS.get(job.request_type, job.request_type.lower())
    return Job(job.id, verb, job.bucket, job.name, job.started, job.size, done)
