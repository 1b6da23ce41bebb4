"""Bulk jobs of the Spectra store beside a plain loop of PUTs: ``make bench-spectra``.

Both send the same files from the same number of threads to the protocol server of the tests, which
is a process of its own, over plain HTTP on loopback; both through ``requests``. Whole processes are
timed, in turn (A B A B) after a turn that does not count; each run has a bucket of its own, and
what is there after it is counted.

(a) Time for 10,000 files of 1 KiB: at most 1.5 times that of the loop, which has neither jobs nor
    checksums nor a look at whether a file has changed.
(b) The most memory (maximum resident set) for 100,000 files: at most 1.2 times that for 1,000.

A missed goal is a result and leaves the exit code at 0; a run that fails is an error.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from contextlib import contextmanager
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
    server,
    table,
    take_turns,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES, FEW, MANY = 10_000, 1_000, 100_000
SIZE = 1024
MOST_TIMES = 1.5
MOST_GROWTH = 1.2
JOBS, COUNT, PUTS = "spectra_jobs.py put", "spectra_jobs.py count", "spectra_puts.py"
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
    with server([sys.executable, str(program), *named], "DS3_ENDPOINT=") as line:
        yield {
            **NOBODYS_ENVIRONMENT,
            "PYTHONPATH": str(REPOSITORY),
            "DS3_ENDPOINT": line.strip().partition("=")[2],
            "DS3_ACCESS_KEY": "c3BlY3RyYQ==",
            "DS3_SECRET_KEY": "BlackPearlTest",
        }


def command(program: str, source: Path, bucket: str) -> list[str]:
    script, *arguments = program.split()
    # -P, as beside these scripts there is one called ingest.
    return [sys.executable, "-P", str(BENCH / script), *arguments, str(source), bucket]


def run(program: str, source: Path, bucket: str, environment: Environment) -> Finished:
    done = finish(command(program, source, bucket), environment, source.parent)
    counting = command(COUNT, source, bucket)
    found = finish(counting, environment, source.parent).output.split()
    count = sum(1 for _ in source.rglob("*.bin"))
    expect("objects and bytes", found, [str(count), str(count * SIZE)])
    return done


def timed(scratch: Path, count: int, runs: int) -> list[list[str]]:
    """Measure (a); return its rows."""
    source = write(scratch / "timed", count)
    turns = runs + 1
    with appliance([f"{name}-{turn}" for name in ("jobs", "puts") for turn in range(turns)]) as env:
        numbers = {name: itertools.count() for name in ("jobs", "puts")}
        samples = take_turns(
            {
                "jobs": lambda: run(JOBS, source, f"jobs-{next(numbers['jobs'])}", env),
                "puts": lambda: run(PUTS, source, f"puts-{next(numbers['puts'])}", env),
            },
            runs,
        )
    seconds = {name: [each.seconds for each in done] for name, done in samples.items()}
    ratio = median(seconds["jobs"]) / median(seconds["puts"])
    rows = [["way", "seconds", "lowest-highest", "CPU s", "MB", "times the loop"]]
    for name, told in (("puts", "a PUT a file"), ("jobs", "bulk jobs")):
        cpu = median(each.cpu_seconds for each in samples[name])
        peak = median(each.peak_mb for each in samples[name])
        low, high = min(seconds[name]), max(seconds[name])
        of_loop = f"{ratio:.2f}, {verdict(met=ratio <= MOST_TIMES)}" if name == "jobs" else ""
        middle = f"{median(seconds[name]):.2f}"
        rows.append([told, middle, f"{low:.2f}-{high:.2f}", f"{cpu:.2f}", f"{peak:.0f}", of_loop])
    return rows


def weighed(scratch: Path, counts: tuple[int, int]) -> list[list[str]]:
    """Measure (b); return its rows."""
    peaks = []
    for count in counts:
        source = write(scratch / f"weighed-{count}", count)
        with appliance(["weighed"]) as environment:
            peaks.append(run(JOBS, source, "weighed", environment).peak_mb)
    growth = peaks[1] / peaks[0]
    met = verdict(met=growth <= MOST_GROWTH)
    rows = [["files", "MB", "times the fewer"]]
    rows.append([f"{counts[0]:,}", f"{peaks[0]:.1f}", ""])
    rows.append([f"{counts[1]:,}", f"{peaks[1]:.1f}", f"{growth:.2f}, {met}"])
    return rows


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
            weights = weighed(Path(name), counts)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Spectra store: medians of {options.runs} runs\n{machine()}\n")
    print(f"(a) {count:,} files of {SIZE:,} bytes from 16 threads\n{table(rows)}\n")
    print(f"(b) memory\n{table(weights)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
