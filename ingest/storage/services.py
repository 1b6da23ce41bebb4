"""Services, each by the scheme of its URLs: what commands need of one, whatever its API is.

To add one, add a row to ``_OPENERS``; its stores are what passes ``tests/test_store.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.storage.base import Outcome, Store, Transfer
    from ingest.storage.versions import Version

Status = Literal["ok", "warning", "failed", "skipped"]

S3 = "s3"
"""The scheme of what has S3's API; its service is opened by who knows which one is meant."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found; ``cure`` is what to do about it, None where there is nothing to do."""

    name: str
    status: Status
    finding: str
    cure: str | None = None


class Service(Protocol):
    """Buckets, and what can be done with them. Methods raise ``IngestError``s."""

    @property
    def at(self) -> str:
        """Where it is, as it ends a message, such as `` at http://host``."""

    def store(self, bucket: str) -> Store:
        """Return the store of ``bucket``. Raises ``UsageError`` where none can be called so."""

    def buckets(self) -> Iterable[tuple[str, str | None]]:
        """Return the names of the buckets, and when they were made, as ISO 8601 has it."""

    def make_bucket(self, bucket: str) -> bool:
        """Make a bucket; return False where it is there already."""

    def remove_bucket(self, bucket: str, *, force: bool) -> None:
        """Remove a bucket; with ``force``, and all that is in it."""

    def versions(self, bucket: str, prefix: str) -> Iterator[Version]:
        """Yield all versions of the objects whose keys begin with ``prefix``."""

    def checks(self, bucket: str | None, prefix: str) -> Iterator[Check]:
        """Look at everything, one step at a time; with ``bucket``, write and read as well."""


@dataclass(frozen=True, slots=True)
class Job:
    """A transfer under way, or left: ``done`` of ``size`` bytes have been moved.

    ``verb`` is ``upload`` or ``download``; ``started`` is in seconds of Unix time.
    """

    id: str
    verb: str
    bucket: str
    name: str
    priority: str
    started: float
    size: int
    done: int


class JobService(Service, Protocol):
    """A service that plans transfers itself, as jobs that outlive the process that began them."""

    def jobs(self) -> list[Job]:
        """Return the jobs that are not done."""

    def job(self, job_id: str) -> tuple[Job, list[str]]:
        """Return a job, and the keys of the objects that are in it. Raises ``NotFound``."""

    def resume(self, job_id: str, how: Transfer) -> Iterator[Outcome]:
        """Go on with an upload that this machine began; what has arrived is not sent again.

        Raises ``NotFound`` where the job is over, ``StoreError`` where its files are not known
        here, and ``UsageError`` for a download.
        """

    def end_job(self, job_id: str) -> None:
        """End a job; what has arrived whole stays. Raises ``NotFound``."""

    def tapes(self, bucket: str, keys: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Yield the tapes, or their like, that the objects ``keys`` are on.

        Each once, as its label, its kind and its state.
        """


def _spectra(job_name: str | None, priority: str | None) -> JobService:
    from ingest.settings.appliance import load_appliance  # noqa: PLC0415 - with it
    from ingest.storage.spectra.service import SpectraService  # noqa: PLC0415 - loads requests

    return SpectraService(load_appliance(), job_name=job_name, priority=priority)


_OPENERS: dict[str, Callable[[str | None, str | None], JobService]] = {"ds3": _spectra}

JOB_SCHEMES: tuple[str, ...] = tuple(_OPENERS)
"""The schemes of the services that have jobs."""

SCHEMES: tuple[str, ...] = (S3, *JOB_SCHEMES)


def open_service(
    scheme: str, *, job_name: str | None = None, priority: str | None = None
) -> JobService:
    """Return the service of ``scheme``, one of ``JOB_SCHEMES``, as the environment says.

    Its jobs are called ``job_name``, and have this priority. Raises ``SettingsError``, and
    ``UsageError`` for a priority that there is not.
    """
    return _OPENERS[scheme](job_name, priority)
