"""What has landed of a plan, beside what TMDB counted: the proof that a backfill is complete."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.backfill.work import Done, landed
from ingest.errors import Incomplete

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.backfill.plan import Plan
    from ingest.storage.base import Lake

_READERS = 8
_NAMED = 5
"""How many windows an error names."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Sums over windows. Where one has not landed, its total is what was planned."""

    windows: int = 0
    complete: int = 0
    unique_ids: int = 0
    total_results: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, windows: Iterable[Done]) -> Counted:
        """Return the sums over ``windows``."""
        found = list(windows)
        return cls(
            windows=len(found),
            complete=sum(each.complete for each in found),
            unique_ids=sum(each.unique_ids for each in found),
            total_results=sum(each.total_results for each in found),
            bytes=sum(each.bytes for each in found),
        )

    def as_json(self) -> dict[str, int]:
        """Return the sums by name."""
        return {
            "windows": self.windows,
            "complete": self.complete,
            "records": self.unique_ids,
            "total_results": self.total_results,
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """What is there of each window of ``plan``, in its order."""

    plan: Plan
    windows: tuple[Done, ...]

    @property
    def datasets(self) -> dict[str, Counted]:
        """The sums of each dataset, by name."""
        by_name = defaultdict(list)
        for each in self.windows:
            by_name[each.window.dataset.name].append(each)
        return {name: Counted.of(windows) for name, windows in by_name.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the answer of the job."""
        return {
            "plan": self.plan.key,
            "plan_id": self.plan.id,
            **Counted.of(self.windows).as_json(),
            "datasets": {name: sums.as_json() for name, sums in self.datasets.items()},
        }

    def raise_if_incomplete(self) -> None:
        """Raise ``Incomplete``, which names the first windows that are, unless all are complete."""
        wrong = [each for each in self.windows if not each.complete]
        if not wrong:
            return
        told = "; ".join(tell(each) for each in wrong[:_NAMED])
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise Incomplete(
            f"{len(wrong)} of {len(self.windows)} windows are not complete: {told}{more}",
            hint="run the same backfill again: it asks for just these",
        )


def tell(done: Done) -> str:
    """Return one line on a window that is not complete."""
    if done.status == "missing":
        return f"{done.window} has not landed"
    return f"{done.window} has {done.unique_ids:,} ids of {done.total_results:,}"


def summarize(plan: Plan, lake: Lake, zone: str) -> Summary:
    """Read the manifest of each window of ``plan`` in ``lake``. Raises ``StoreError``."""
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda window: landed(lake, zone, window), plan.windows)
        windows = tuple(
            done or Done(window, "missing", total_results=window.totals.results)
            for window, done in zip(plan.windows, found, strict=True)
        )
    return Summary(plan, windows)
