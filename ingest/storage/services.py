"""Services that are not S3's, each by the scheme of its URLs.

A service plans transfers itself, as jobs that outlive the process that began them; S3's API has
none. To add one, add a row to ``_OPENERS``; its stores are what passes ``tests/test_store.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ingest.settings import load_appliance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.storage.base import Outcome, PutItem, Store, Transfer


@dataclass(frozen=True, slots=True)
class Job:
    """A transfer under way, or left: ``done`` of ``size`` bytes have been moved.

    ``verb`` is ``upload`` or ``download``; ``started`` is in seconds of Unix time.
    """

    id: str
    verb: str
    bucket: str
    name: str
    started: float
    size: int
    done: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a service found; ``cure`` is what to do about it."""

    name: str
    status: Literal["ok", "warning", "failed"]
    said: str
    cure: str | None = None


class Service(Protocol):
    """What commands need of a service. Methods raise ``IngestError``s."""

    def store(
        self, bucket: str, *, job_name: str | None = None, priority: str | None = None
    ) -> Store:
        """Return the store of ``bucket``, whose jobs are called so and have this priority."""

    def buckets(self) -> Iterable[tuple[str, str | None]]:
        """Return the names of the buckets, and when they were made, as ISO 8601 has it."""

    def make_bucket(self, bucket: str) -> bool:
        """Make a bucket; return False where it is there already."""

    def remove_bucket(self, bucket: str, *, force: bool) -> None:
        """Remove a bucket; with ``force``, and all that is in it."""

    def versions(self, bucket: str, prefix: str) -> Iterator[tuple[str, str | None, int, bool]]:
        """Yield all versions of the objects whose keys begin with ``prefix``, the newest first.

        Each as its key, its id, its size in bytes, and whether it is the latest.
        """

    def tapes(self, bucket: str, prefix: str) -> Iterator[tuple[str, str, str]]:
        """Yield the tapes, or their like, that objects whose keys begin with ``prefix`` are on.

        Each once, as its label, its kind and its state.
        """

    def jobs(self, bucket: str | None = None) -> list[Job]:
        """Return the jobs that are not done, of one bucket or all."""

    def job(self, job_id: str) -> tuple[Job, list[str]]:
        """Return a job, and the keys of the objects that are in it. Raises ``NotFound``."""

    def resume(self, job_id: str, items: Iterable[PutItem], how: Transfer) -> Iterator[Outcome]:
        """Go on with an upload, of whose objects ``items`` are."""

    def end_job(self, job_id: str) -> None:
        """End a job; what has arrived whole stays. Raises ``NotFound``."""

    def findings(self, bucket: str | None, prefix: str) -> Iterator[Finding]:
        """Look at everything, one step at a time; with ``bucket``, write and read as well."""


def _spectra() -> Service:
    from ingest.storage.spectra.service import SpectraService  # noqa: PLC0415 - loads requests

    return SpectraService(load_appliance())


_OPENERS: dict[str, Callable[[], Service]] = {"ds3": _spectra}


def schemes() -> tuple[str, ...]:
    """Return the schemes of the URLs of services, which ``s3`` is none of."""
    return tuple(_OPENERS)


def open_service(scheme: str) -> Service:
    """Return the service of ``scheme``, as the environment says. Raises ``SettingsError``."""
    return _OPENERS[scheme]()
