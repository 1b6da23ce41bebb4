"""Uploads to a BlackPearl beside a plain loop of PUTs: ``make bench-spectra``.

(a) Time for 10,000 files of 1 KiB: at most 1.5 times that of the loop, which has neither jobs nor
    checksums nor a look at whether a file has changed. Of the store alone, and of the command.
(b) The most memory (maximum resident set) for 100,000 files: at most 1.2 times that for 1,000.

A missed goal is a result and leaves the exit code at 0; a run that fails is an error. Writes
``docs/benchmarks-spectra.md``, but not with ``--short``.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from files import expect
from measuring import (
    BENCH,
    NOBODYS_ENVIRONMENT,
    REPOSITORY,
    Environment,
    Finished,
    at_least_one,
    finish,
    machine,
    markdown,
    server,
    take_turns,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES, FEW, MANY = 10_000, 1_000, 100_000
SIZE = 1024
MOST_TIMES = 1.5
MOST_GROWTH = 1.2
THREADS = 16
DOCUMENT = REPOSITORY / "docs" / "benchmarks-spectra.md"
COUNT = "spectra_jobs.py count"
WAYS = {"puts": "spectra_puts.py", "jobs": "spectra_jobs.py put", "command": "-m ingest"}
TOLD = {"puts": "a PUT a file", "jobs": "bulk jobs", "command": "ingest upload"}
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


def write(directory: Path, count: int) -> Path:
    directory.mkdir()
    for number in range(count):
        path = directory / f"{number // 1000:03}" / f"{number % 1000:03}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(number.to_bytes(4, "big") * (SIZE // 4))
    return directory


@contextmanager
def appliance(buckets: list[str]) -> Iterator[Environment]:
    """Serve these buckets; yield the variables with which children reach them."""
    program = REPOSITORY / "tests" / "blackpearl.py"
    named = itertools.chain.from_iterable(("--bucket", bucket) for bucket in buckets)
    with (
        tempfile.TemporaryDirectory() as state,
        server([sys.executable, str(program), *named], "DS3_ENDPOINT=") as line,
    ):
        yield {
            **NOBODYS_ENVIRONMENT,
            "PYTHONPATH": str(REPOSITORY),
            "DS3_ENDPOINT": line.strip().partition("=")[2],
            "DS3_ACCESS_KEY": "c3BlY3RyYQ==",
            "DS3_SECRET_KEY": "BlackPearlTest",
            "XDG_STATE_HOME": state,
        }


def command(program: str, source: Path, bucket: str) -> list[str]:
    script, *arguments = program.split()
    # As beside these scripts there is one called ingest.
    python = [sys.executable, "-P"]
    if script == "-m":
        target = f"ds3://{bucket}"
        return [*python, script, *arguments, "upload", str(source), target, "--quiet"]
    return [*python, str(BENCH / script), *arguments, str(source), bucket]


def run(program: str, source: Path, count: int, bucket: str, environment: Environment) -> Finished:
    done = finish(command(program, source, bucket), environment, source.parent)
    counting = command(COUNT, source, bucket)
    found = finish(counting, environment, source.parent).output.split()
    expect("objects and bytes", found, [str(count), str(count * SIZE)])
    return done


def timed(scratch: Path, count: int, runs: int) -> list[list[str]]:
    """Measure (a); return its rows."""
    source = write(scratch / "timed", count)
    numbers = itertools.count()
    with appliance([f"timed-{number}" for number in range(len(WAYS) * (runs + 1))]) as env:

        def measure(program: str) -> Finished:
            return run(program, source, count, f"timed-{next(numbers)}", env)

        samples = take_turns({way: partial(measure, WAYS[way]) for way in WAYS}, runs)
    seconds = {way: [each.seconds for each in done] for way, done in samples.items()}
    rows = [["way", "seconds", "lowest-highest", "CPU s", "MB", "times the loop", ""]]
    for way, done in samples.items():
        cpu = median(each.cpu_seconds for each in done)
        peak = median(each.peak_mb for each in done)
        low, high = min(seconds[way]), max(seconds[way])
        times = median(seconds[way]) / median(seconds["puts"])
        middle = f"{median(seconds[way]):.2f}"
        met = "" if way == "puts" else verdict(met=times <= MOST_TIMES)
        spread = f"{low:.2f}-{high:.2f}"
        rows.append([TOLD[way], middle, spread, f"{cpu:.2f}", f"{peak:.0f}", f"{times:.2f}", met])
    return rows


def weighed(scratch: Path, counts: tuple[int, int]) -> list[list[str]]:
    """Measure (b); return its rows."""
    rows = [["way", *(f"MB, {count:,} files" for count in counts), "times the fewer", ""]]
    peaks: dict[str, list[float]] = {"jobs": [], "command": []}
    for count in counts:
        source = write(scratch / f"weighed-{count}", count)
        for way, found in peaks.items():
            with appliance(["weighed"]) as environment:
                found.append(run(WAYS[way], source, count, "weighed", environment).peak_mb)
    for way, found in peaks.items():
        growth = found[1] / found[0]
        met = verdict(met=growth <= MOST_GROWTH)
        rows.append([TOLD[way], *(f"{peak:.1f}" for peak in found), f"{growth:.2f}", met])
    return rows


def documentation(count: int, runs: int, rows: list[list[str]], weights: list[list[str]]) -> str:
    """Return the whole document: what was measured, and how."""
    return f"""# Uploads to a BlackPearl

Written by `make bench-spectra` on {datetime.now(UTC):%Y-%m-%d}. Medians of {runs}. {machine()}.

{count:,} files of {SIZE:,} bytes from {THREADS} threads; at most {MOST_TIMES:g} times the loop:

{markdown(rows)}

The most memory; at most {MOST_GROWTH:g} times that of the fewer files:

{markdown(weights)}

How: the server is the protocol server of the tests, `tests/blackpearl.py`, a process of its own,
over plain HTTP on loopback; it checks every signature. Whole processes are timed, in turn, after a
turn that does not count; each run has a bucket of its own, and what is there after it is counted.
*A PUT a file* is `bench/spectra_puts.py`: threads, a session of `requests` and a kept-alive
connection each, and a signature; no job, no checksum, no second try. *Bulk jobs* is our store alone
(`bench/spectra_jobs.py`), with an MD5 and the SHA-256 of each file, in jobs of 1,000; *ingest
upload* is the command, which also keeps which files a job is of. The peak is the largest resident
set of the process; 1 MB is 1,000,000 bytes.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=at_least_one, default=5, help="runs of each, in turn")
    parser.add_argument("--short", action="store_true", help="few files, to see that it works")
    options = parser.parse_args()
    count, counts = (200, (100, 1000)) if options.short else (FILES, (FEW, MANY))
    home = str(_IN_MEMORY) if _IN_MEMORY.is_dir() else None
    try:
        with tempfile.TemporaryDirectory(dir=home) as name:
            rows = timed(Path(name), count, options.runs)
            text = documentation(count, options.runs, rows, weighed(Path(name), counts))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    if not options.short:
        DOCUMENT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
