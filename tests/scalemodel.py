"""What work past one machine takes and costs, reckoned: the tables of docs/scale.md.

Counts follow from the definitions in statemachine/ and from what the function does; the tests of
both compare them with executed runs. Seconds rest on what is assumed here, and on nothing measured
at AWS; prices are list prices in US dollars, us-east-1, arm64.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ingest.remote.sharing import share

RATE = 20
"""Requests to TMDB a second: the default of BackfillRate."""
TITLES = 6_650
"""Of a window, over dates as TMDB has them: 10,000 is the most."""
GB = 1.0
DISK_GB = 9.5
"""Of the function's disk, what is not free."""
COPIES = 150
"""Assumed: copies a second of one child. Twenty of them then stay below the 3,500 of a prefix."""
CHILDREN = 20
PAGE_S = 0.15
"""Assumed: seconds for a page of a listing."""
SUMMARY_S = 0.05
"""Assumed: seconds for the manifest of a window."""
LONGEST_S = 880

GB_SECOND, DISK_GB_SECOND, INVOCATION = 0.0000133334, 0.0000000309, 0.0000002
TRANSITION = 0.000025
WRITE, READ = 0.000005, 0.0000004
BATCH_OPERATION, BATCH_OPERATIONS_JOB = 0.000001, 0.25


@dataclass(frozen=True)
class Counts:
    """Of one execution in which nothing fails."""

    requests: int
    children: int
    invocations: int
    transitions: int
    writes: int
    """PUT, COPY and LIST of S3, which cost the same."""
    reads: int
    """GET and HEAD."""
    seconds: float
    gb_seconds: float

    @property
    def lambda_cost(self) -> float:
        disk = self.gb_seconds / GB * DISK_GB * DISK_GB_SECOND
        return self.gb_seconds * GB_SECOND + disk + self.invocations * INVOCATION

    @property
    def transition_cost(self) -> float:
        return self.transitions * TRANSITION

    @property
    def s3_cost(self) -> float:
        return self.writes * WRITE + self.reads * READ

    @property
    def cost(self) -> float:
        return self.lambda_cost + self.transition_cost + self.s3_cost


def backfill(records: int) -> Counts:
    windows = ceil(records / TITLES)
    planning, pages = 2 * windows - 1, ceil(records / 20) + windows // 2
    shared = share(windows, RATE)
    children = ceil(windows / shared.windows_per_child)
    files = ceil(records / 100) + windows // 2
    return Counts(
        requests=planning + pages,
        children=children,
        invocations=1 + children + 1,
        transitions=4 + children,
        # The plan, the files, the manifests, the results; three listings a window.
        writes=1 + files + windows + 1 + 3 * windows,
        # The plan three times; each file and manifest read back; manifests before and after.
        reads=3 + files + 3 * windows,
        seconds=(planning + pages) / RATE + windows * SUMMARY_S,
        gb_seconds=GB
        * (planning / RATE + pages / shared.requests_per_second + windows * SUMMARY_S),
    )


def transfer(objects: int) -> Counts:
    batches = ceil(objects / 1_000)
    comparing_s = 2 * batches * PAGE_S
    summaries = ceil(comparing_s / LONGEST_S)
    return Counts(
        requests=0,
        children=batches,
        invocations=batches + summaries,
        transitions=3 + 2 * summaries + batches,
        # Each copy; the source is listed twice, the target three times; the results.
        writes=objects + 5 * batches + 1,
        # The first key of each range that is looked for.
        reads=2 * batches + ceil(objects / 10_000),
        seconds=objects / (COPIES * CHILDREN) + comparing_s,
        gb_seconds=GB * (objects / COPIES + comparing_s),
    )


def batch_operations(objects: int) -> float:
    """The same copies by S3 Batch Operations, with its charges and S3's."""
    return BATCH_OPERATIONS_JOB + objects * (BATCH_OPERATION + WRITE)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 6_000 else f"{seconds / 3600:,.0f} h"


def table(kind: str) -> list[str]:
    """The lines of a table in docs/scale.md."""
    sizes = (10_000, 1_000_000, 100_000_000)
    found = [{"backfill": backfill, "transfer": transfer}[kind](size) for size in sizes]
    rows = [
        ("requests to TMDB", [f"{each.requests:,}" for each in found]),
        ("children", [f"{each.children:,}" for each in found]),
        ("invocations", [f"{each.invocations:,}" for each in found]),
        ("GB-seconds", [f"{each.gb_seconds:,.0f}" for each in found]),
        ("state transitions", [f"{each.transitions:,}" for each in found]),
        ("S3: PUT, COPY, LIST", [f"{each.writes:,}" for each in found]),
        ("S3: GET, HEAD", [f"{each.reads:,}" for each in found]),
        ("time", [_time(each.seconds) for each in found]),
        ("Lambda", [f"{each.lambda_cost:,.2f}" for each in found]),
        ("Step Functions", [f"{each.transition_cost:,.2f}" for each in found]),
        ("S3 requests", [f"{each.s3_cost:,.2f}" for each in found]),
        ("**sum**", [f"**{each.cost:,.2f}**" for each in found]),
    ]
    if kind == "transfer":
        rows.pop(0)
        others = [f"{batch_operations(size):,.2f}" for size in sizes]
        rows.append(("S3 Batch Operations instead", others))
    return [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
