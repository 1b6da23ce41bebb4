"""What a transfer tells of each thing that it does, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ingest.errors import StoreError

if TYPE_CHECKING:
    from ingest.errors import IngestError
    from ingest.files.scan import Problem

Verb = Literal["upload", "download", "copy", "delete", "scan", "verify", "abort", "make", "remove"]
Status = Literal["done", "planned", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing done to ``target``. ``size`` is in bytes, ``reason`` why it is done or not.

    ``status`` is ``planned`` in a dry run, ``skipped`` where something is left as it is on
    purpose, and ``failed`` where ``error`` says why.
    """

    verb: Verb
    target: str
    source: str | None = None
    size: int = 0
    status: Status = "done"
    reason: str = ""
    error: IngestError | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields that say something, for one line of JSON."""
        fields = {
            "operation": self.verb,
            "status": self.status,
            "source": self.source,
            "target": self.target,
            "size": self.size,
            "reason": self.reason,
            "error": str(self.error) if self.error else None,
        }
        return {name: value for name, value in fields.items() if value not in (None, "")}

    def __str__(self) -> str:
        """Return one line for a person."""
        where = f"{self.source} -> {self.target}" if self.source else self.target
        reason = f" ({self.reason})" if self.reason else ""
        match self.status:
            case "failed":
                return f"failed: {self.verb} {where}: {self.error}"
            case "skipped":
                return f"skipped: {where}{reason}"
            case "planned":
                return f"would {self.verb} {where}{reason}"
            case _:
                return f"{self.verb} {where}{reason}"


def from_problem(problem: Problem) -> Operation:
    """Return what is told of something that a scan found and could not yield."""
    if not problem.failed:
        return Operation("scan", problem.key, status="skipped", reason=problem.message)
    return Operation("scan", problem.key, status="failed", error=StoreError(problem.message))
