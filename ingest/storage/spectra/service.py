"""An appliance as commands see it: its stores, buckets and jobs, and whether all is well."""

from __future__ import annotations

import secrets
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ingest.errors import IngestError, NotFound, StoreError, UsageError
from ingest.storage.base import PLAIN, Outcome, PutItem
from ingest.storage.services import Check, Job
from ingest.storage.spectra import appliance
from ingest.storage.spectra.jobs import PRIORITIES, JobOptions, Jobs
from ingest.storage.spectra.memory import Memory
from ingest.storage.spectra.patience import Patience
from ingest.storage.spectra.place import Place, bucket_name
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire
from ingest.storage.versions import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.settings.appliance import ApplianceSettings
    from ingest.storage.base import Transfer
    from ingest.storage.spectra import documents

_SKEW_FAILS_S, _SKEW_WARNS_S = 900.0, 300.0
"""A signature is taken for 15 minutes."""
_ASKED_AT_ONCE = 1_000
_HASTY = Patience(total_s=30.0)
"""Whoever looks what is wrong does not wait until it is right."""


class SpectraService:
    """One appliance, and the user who asks."""

    def __init__(
        self,
        settings: ApplianceSettings,
        *,
        job_name: str | None = None,
        priority: str | None = None,
    ) -> None:
        """Make no request yet; jobs are called ``job_name`` and have this priority.

        Raises ``UsageError`` for a priority that there is not.
        """
        if priority and priority.upper() not in PRIORITIES:
            raise UsageError(f"the priority {priority!r} should be one of {', '.join(PRIORITIES)}")
        patience = Patience(total_s=settings.patience_s)
        self._proxy = settings.proxy
        self._wire = Wire(Appliance(settings.endpoint, settings.key, settings.proxy, patience))
        self._jobs = Jobs(self._wire)
        self._memory = Memory(settings.state / urlsplit(settings.endpoint).netloc)
        self._options = JobOptions(
            job_name or "ingest", priority and priority.upper(), settings.job_objects, self._memory
        )

    @property
    def at(self) -> str:
        """The endpoint, as it ends a message."""
        return self._wire.at

    def store(self, bucket: str) -> SpectraStore:
        """Return the store of ``bucket``. Raises ``UsageError`` where none can be called so."""
        return SpectraStore(bucket_name(bucket), self._wire, self._options)

    # Buckets

    def buckets(self) -> list[tuple[str, str | None]]:
        """Return the names of the buckets that the user may see, and when they were made."""
        return appliance.list_buckets(self._wire)

    def make_bucket(self, bucket: str) -> bool:
        """Make a bucket; return False where it is there already."""
        return appliance.make_bucket(self._wire, bucket_name(bucket))

    def remove_bucket(self, bucket: str, *, force: bool) -> None:
        """Remove a bucket; with ``force``, and all that is in it."""
        appliance.remove_bucket(self._wire, bucket_name(bucket), force=force)

    # Objects

    def versions(self, bucket: str, prefix: str) -> Iterator[Version]:
        """Yield all versions of the objects whose keys begin with ``prefix``, the newest first."""
        for each in self.store(bucket).list_versions(prefix):
            latest, modified = each.is_latest, each.modified
            yield Version(each.key, each.version_id, each.size, latest, modified=modified)

    def tapes(self, bucket: str, keys: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Yield the tapes that the objects ``keys`` are on, each once."""
        place, seen = Place(self._wire, bucket_name(bucket)), set[str]()
        remaining = iter(keys)
        while batch := list(islice(remaining, _ASKED_AT_ONCE)):
            for tape in appliance.tapes_of(place, batch):
                if tape.bar_code not in seen:
                    seen.add(tape.bar_code)
                    yield tape.bar_code, tape.kind, tape.state

    # Jobs

    def jobs(self) -> list[Job]:
        """Return the jobs that are not done."""
        return [_told(job) for job in self._jobs.all() if job.request_type in _VERBS]

    def job(self, job_id: str) -> tuple[Job, list[str]]:
        """Return a job, and the keys of the objects that are in it. Raises ``NotFound``."""
        found = self._jobs.find(job_id)
        if found is None or found.status in {"COMPLETED", "CANCELED"}:
            state = found.status.lower() if found else "not known"
            raise NotFound(f"the job {job_id}{self._wire.at} is {state}")
        return _told(found), list(dict.fromkeys(blob.name for blob in found.blobs))

    def resume(self, job_id: str, how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Go on with an upload of the files that this machine knows the job to be of."""
        job, keys = self.job(job_id)
        if job.verb != "upload":
            hint = "the command that began it goes on with what has landed"
            raise UsageError(f"the job {job_id} is a download, and not an upload", hint=hint)
        items = self._memory.recall(job_id)
        options = replace(self._options, name=job.name)
        store = SpectraStore(job.bucket, self._wire, options)
        yield from store.resume(self._jobs.resume(job_id), items, how)
        for key in sorted(set(keys) - {item.key for item in items}):
            unknown = StoreError(f"cannot write {store.url}/{key}: its content is not kept here")
            yield Outcome(key, 0, unknown)

    def end_job(self, job_id: str) -> None:
        """End a job; objects of which every byte has arrived stay. Raises ``NotFound``."""
        self._jobs.end(job_id)
        self._memory.forget(job_id)

    # Whether all is well

    def checks(self, bucket: str | None, prefix: str) -> Iterator[Check]:
        """Yield what is found, step by step, up to the first that makes the next pointless.

        With ``bucket``, an object is written under a random name that begins with ``prefix``, and
        removed again.
        """
        through = ", through a proxy" if self._proxy else ""
        yield Check("endpoint", "ok", f"{self._wire.appliance.endpoint}{through}")
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
                yield Check(name, "failed", error.message, error.hint)
                return
        if bucket:
            hasty = Wire(replace(self._wire.appliance, patience=_HASTY))
            yield from self._probed(SpectraStore(bucket_name(bucket), hasty), prefix)

    def _look_at_appliance(self, name: str) -> Check:
        told = appliance.information(self._wire)
        said = f"version {told.version or 'unknown'}, serial number {told.serial_number or 'none'}"
        if not told.is_active:
            cure = "activate it in its own management interface"
            return Check(name, "failed", f"{said}: its backend is not activated", cure)
        return Check(name, "ok", f"{said}; it accepts the credentials")

    def _look_at_clock(self, name: str) -> Check:
        ahead_s = self._wire.clock_ahead_s
        said = f"it is {abs(ahead_s):,.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
        cure = "set this machine's clock, or the appliance's"
        if abs(ahead_s) > _SKEW_FAILS_S:
            return Check(name, "failed", said, cure)
        if abs(ahead_s) > _SKEW_WARNS_S:
            return Check(name, "warning", said, cure)
        agreed = abs(ahead_s) < 2  # noqa: PLR2004 - a Date has whole seconds
        return Check(name, "ok", "the clocks agree" if agreed else said)

    def _look_at_health(self, name: str) -> Check:
        told = appliance.health(self._wire)
        space = told.get("DatabaseFilesystemFreeSpace", "NORMAL")
        if space != "NORMAL":
            return Check(name, "warning", f"free space of its database: {space}", "call support")
        return Check(name, "ok", "it answers, and its database has room")

    def _look_at_buckets(self, name: str) -> Check:
        return Check(name, "ok", f"the user sees {len(self.buckets()):,}")

    def _look_at_jobs(self, name: str) -> Check:
        return Check(name, "ok", f"{len(self.jobs()):,} under way (`ingest jobs` lists them)")

    def _probed(self, store: SpectraStore, prefix: str) -> Iterator[Check]:
        key = f"{prefix}ingest-doctor-{secrets.token_hex(16)}"
        content = f"{key}, which may be deleted\n".encode()
        name = "policy"
        try:
            policy = Place(self._wire, store.bucket).policy()
            kept = "one version of an object" if policy.keeps_one else "versions"
            yield Check(name, "ok", f"checksum {policy.checksum}; it keeps {kept}")
            name = "list"
            next(store.list(prefix), None)
            yield Check(name, "ok", "it is answered")
            name = "write"
            _done(store.put_many([PutItem(key, content, "text/plain")]))
            yield Check(name, "ok", f"{store.url}/{key}")
            name = "read"
            if store.read(key) != content:
                yield Check(name, "failed", "other bytes came back than were sent")
            else:
                yield Check(name, "ok", "what came back is what was sent")
            name = "delete"
            _done(store.delete_many([key]))
            yield Check(name, "ok", "it is gone")
        except IngestError as error:
            yield Check(name, "failed", error.message, error.hint)
        finally:
            if name in {"write", "read"}:
                _done(store.delete_many([key]))


def _done(outcomes: Iterable[Outcome]) -> None:
    """Raise the error of an outcome that has one, when all has ended."""
    for error in [outcome.error for outcome in outcomes]:
        if error:
            raise error


_VERBS = {"PUT": "upload", "GET": "download"}


def _told(job: documents.Job) -> Job:
    # A job that writes is done with what is in the cache; one that reads, with what was read.
    done = job.cached_size if job.request_type == "PUT" else job.completed_size
    verb = _VERBS.get(job.request_type, job.request_type.lower())
    return Job(job.id, verb, job.bucket, job.name, job.priority, job.started, job.size, done)
