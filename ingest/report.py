"""What became of a run, and of each of its datasets: as values, as JSON and as an error."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ingest.errors import RunFailed
from ingest.tmdb import Traffic

if TYPE_CHECKING:
    from datetime import date

    from ingest.errors import IngestError
    from ingest.rawzone import Manifest


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What became of one dataset. ``status`` is landed, skipped, failed or planned.

    ``records``, ``pages``, ``bytes`` and ``consistency`` are those of the partition, whichever run
    landed it; ``traffic`` and ``seconds`` are what this run spent.
    """

    name: str
    status: str
    records: int = 0
    pages: int = 0
    key: str | None = None
    bytes: int = 0
    consistency: str | None = None
    cause: IngestError | None = None
    traffic: Traffic = field(default_factory=Traffic)
    seconds: float = 0.0

    @classmethod
    def of_manifest(cls, status: str, document: Manifest) -> Self:
        """Report the partition that ``document`` commits."""
        objects = document["objects"]
        return cls(
            name=document["dataset"],
            status=status,
            records=sum(entry["records"] for entry in objects),
            pages=len(document["source"]["pages"]),
            key=objects[0]["key"],
            bytes=sum(entry["bytes"] for entry in objects),
            consistency=document["source"]["consistency"],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields a response shows; ``error`` only where there is one."""
        shown = {
            name: getattr(self, name)
            for name in ("name", "status", "records", "pages", "key", "bytes", "consistency")
        }
        return {**shown, "error": str(self.cause)} if self.cause else shown


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of a run."""

    run_id: str
    day: date
    lake: str
    datasets: tuple[DatasetReport, ...]

    @property
    def message(self) -> str:
        """One line: how many datasets landed, were skipped, failed."""
        counts = Counter(dataset.status for dataset in self.datasets)
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"{told} in {self.lake} for {self.day}"

    def as_json(self) -> dict[str, Any]:
        """Return the body of a response."""
        return {
            "message": self.message,
            "run_id": self.run_id,
            "partition_date": self.day.isoformat(),
            "datasets": [dataset.as_json() for dataset in self.datasets],
        }

    @property
    def failed(self) -> dict[str, IngestError]:
        """The datasets that failed, by name, each with its cause."""
        return {dataset.name: dataset.cause for dataset in self.datasets if dataset.cause}

    def raise_for_failures(self) -> None:
        """Raise if a dataset failed: the one cause of all, or ``RunFailed`` that names each."""
        causes = tuple(self.failed.values())
        if not causes:
            return
        if len(causes) == len(self.datasets) and len({str(cause) for cause in causes}) == 1:
            raise causes[0]
        told = "; ".join(f"{name}: {cause}" for name, cause in self.failed.items())
        raise RunFailed(f"{self.message}: {told}", causes=causes)
