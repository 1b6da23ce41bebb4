"""What was measured as Markdown: a table for each case, one of the goals, and how it was done."""

from __future__ import annotations

import hashlib
import shlex
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from cases import FASTEST, OURS
from files import MIB
from measuring import REPOSITORY, machine, markdown, middle, own_peak, verdict
from tools import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cases import Bench, Case, Goal, Results
    from measuring import Finished

_LIBRARIES = ("boto3", "certifi", "click")
_NAMES = {"seconds": "wall", "cpu_seconds": "CPU", "peak_mb": "peak memory"}
_UNITS = {"seconds": "s", "cpu_seconds": "s", "peak_mb": "MB"}

_METHOD = """\
How: whole processes, each tool with the settings below, which were the best found for it on such
a machine; tools in turn, after a turn that does not count; medians, with the lowest and highest
wall time. CPU is user and system of the process and its children, the peak the largest resident
set; 1 MB is 1,000,000 bytes. The store is `rclone serve s3 :memory:` on loopback, which shares the
processors with the tool: where it is the slower one, wall times hardly differ, and CPU tells more.
Local files are in memory where there is room (`/dev/shm`). Each upload has a server of its own, and
none collects garbage until it has 4 GiB: when it did decided half of what an upload took.
The large object was uploaded in parts of 16 MiB before its download is measured; the store tells
the MD5 of all of it, which of the peers rclone alone compares with what came, as we do: how long
boto3 takes with that is told beside it. Files that are
unchanged have one byte and the time that the store has for the object, so that each tool takes
them for unchanged; that none sent anything is checked in each run. The case of peak memory has
`bench/listing_server.py` as the store: objects that exist only in its listing.
"""
_NOT_MEASURED = """\
Not measured: a real network and its latency, TLS, other stores, Windows and macOS; the transfer
manager of boto3 has no sync, no help and no listing; the growth of the peers' memory.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """What was measured of one case; its text has the load at that time."""

    case: Case
    results: Results
    text: str


def section_of(bench: Bench, case: Case, results: Results) -> Section:
    """Return the section with the table of a case, the verdicts on its goals and the commands."""
    return Section(case, results, _text(bench, case, results))


def _text(bench: Bench, case: Case, results: Results) -> str:
    ours = results.get(OURS)
    rows = [("tool", "wall s", "CPU s", "peak MB", "ours / its wall", "ours / its CPU")]
    for name, runs in results.items():
        beside = ("", "") if ours is None or runs is ours else _ratios(ours, runs)
        wall = [run.seconds for run in runs]
        rows.append(
            (
                name,
                f"{median(wall):.2f} ({min(wall):.2f}-{max(wall):.2f})",
                f"{middle(runs, 'cpu_seconds'):.2f}",
                f"{middle(runs, 'peak_mb'):.0f}",
                *beside,
            )
        )
    goals = [("goal", "measured", "")]
    goals += [_judged(goal, results) for goal in case.goals]
    count = len(next(iter(results.values())))
    commands = "\n".join(_commands(bench, case))
    return (
        f"## {case.title}\n\n{markdown(rows)}\n\n{markdown(goals)}\n\n"
        f"Medians of {count}; `--only {case.name}`. {machine()}.\n\n```\n{commands}\n```\n"
    )


def documentation(bench: Bench, sections: Sequence[Section], *, full: bool) -> str:
    """Return the whole document."""
    goals = [("case", "goal", "measured", "")]
    for section in sections:
        case = section.case
        for number, goal in enumerate(case.goals):
            goals.append(("" if number else case.title, *_judged(goal, section.results)))
    ours = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    circumstances = (
        f"Machine: {machine()}. Beside us: {bench.peers.versions}. We with {ours}. {own_peak()}\n"
    )
    hashing = (
        f"One MD5 of {bench.sizes.large // MIB:,} MiB in memory, and nothing else, takes"
        f" {_md5_s(bench.sizes.large):.2f} s: who compares what came needs that, and more.\n"
    )
    more = "" if full else "A million local files were not measured either: that is `--full`.\n"
    parts = [
        "# Transfers beside other tools\n",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}.\n",
        f"{markdown(goals)}\n",
        _METHOD,
        f"{_NOT_MEASURED}{more}",
        circumstances,
        hashing,
        *(section.text for section in sections),
    ]
    return "\n".join(parts)


def _md5_s(size: int) -> float:
    """Return how long an MD5 takes, in seconds: the least of three times."""
    piece = bytes(MIB)
    times = []
    for _ in range(3):
        digest, started = hashlib.md5(usedforsecurity=False), time.perf_counter()
        for _ in range(size // MIB):
            digest.update(piece)
        times.append(time.perf_counter() - started)
    return min(times)


def _judged(goal: Goal, results: Results) -> tuple[str, str, str]:
    """Return the goal, what was measured, and whether it was met."""
    what, unit = _NAMES[goal.measure], _UNITS[goal.measure]
    if goal.beside is None:
        text = f"{what} at most {goal.most:g} {unit}"
    else:
        text = f"{what} at most {goal.most:g} of {goal.beside}"
    ours = middle(results[goal.ours], goal.measure)
    if goal.beside is None:
        return text, f"{ours:.3g} {unit}", verdict(met=ours <= goal.most)
    peers = {name: runs for name, runs in results.items() if name != goal.ours}
    if goal.beside != FASTEST:
        peers = {name: runs for name, runs in peers.items() if name == goal.beside}
    if not peers:
        return text, "not measured", ""
    name = min(peers, key=lambda name: middle(peers[name], goal.measure))
    ratio = ours / middle(peers[name], goal.measure)
    named = f" ({name})" if goal.beside == FASTEST else ""
    return text, f"{ratio:.2f}{named}", verdict(met=ratio <= goal.most)


def _commands(bench: Bench, case: Case) -> list[str]:
    job = Job(case.kind, "ENDPOINT", "BUCKET", Path("DIR"))
    lines = []
    for tool in bench.contestants(case.kind).values():
        if command := tool(job):
            program, *arguments = command.arguments
            line = shlex.join([Path(program).name, *arguments])
            lines.append(line.replace(f"{REPOSITORY}/", ""))
    return lines


def _ratios(ours: list[Finished], theirs: list[Finished]) -> tuple[str, str]:
    wall, cpu = (
        middle(ours, measure) / middle(theirs, measure) for measure in ("seconds", "cpu_seconds")
    )
    return f"{wall:.2f}", f"{cpu:.2f}"
