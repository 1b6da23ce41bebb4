"""What every benchmark here needs: processes that are measured, servers, turns and tables.

Nothing heavy is imported: on Linux a child's maximum resident set begins with its parent's, and
the process that measures must stay smaller than those it measures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent
NO_CONFIG = ("--config", os.devnull)

Environment = dict[str, str]
Measured = TypeVar("Measured")

ACCESS_KEY: Environment = {
    "AWS_ACCESS_KEY_ID": "BENCHACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": "bench-secret-key",
}
NOBODYS_ENVIRONMENT: Environment = {
    "PATH": os.environ.get("PATH", os.defpath),
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""What every child gets, so that nobody's settings, keys or profiles count."""

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_MOST_OF_SERVER = 6 * 1024**3
"""Bytes a server may have: it fails then, rather than the machine."""
_STEADY: Environment = {"GOGC": "off", "GOMEMLIMIT": "4GiB"}
"""No garbage is collected below that: else when it is decides half of what an upload takes."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: how long it lived, what it took, what it printed.

    CPU seconds are user and system, of the process and all it waited for; the peak is that of
    the largest of them, in units of 1,000,000 bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str
    errors: str


def finish(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Finished:
    """Run ``command`` to its end. Raises ``RuntimeError`` with what it said if that is an error."""
    with (
        tempfile.TemporaryFile("w+", dir=directory) as output,
        tempfile.TemporaryFile("w+", dir=directory) as errors,
    ):
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            said = errors.read()[-2000:]
            raise RuntimeError(f"{command} ended with {process.returncode}:\n{said}")
        return Finished(
            elapsed_s,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * _RSS_UNIT / 1e6,
            output.read(),
            errors.read(),
        )


def take_turns(
    contestants: Mapping[str, Callable[[], Measured]], runs: int
) -> dict[str, list[Measured]]:
    """Return what each contestant measured, ``runs`` times each: A B A B, after one for nothing."""
    samples: dict[str, list[Measured]] = {name: [] for name in contestants}
    for turn in range(-1, runs):
        for name, measure in contestants.items():
            measured = measure()
            if turn >= 0:
                samples[name].append(measured)
    return samples


@contextlib.contextmanager
def server(
    command: Sequence[str], ready: str, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server; yield the line by which it says that it listens, which has ``ready`` in it."""
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**NOBODYS_ENVIRONMENT, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        if hasattr(resource, "prlimit"):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MOST_OF_SERVER,) * 2)
        said = []
        try:
            for line in process.stdout or ():
                if ready in line:
                    yield line
                    return
                said.append(line)
            raise RuntimeError(f"{command} ended without serving:\n{''.join(said)}")
        finally:
            process.terminate()


@dataclass(frozen=True, slots=True)
class S3Server:
    """``rclone serve s3``, which is also looked into by rclone: nothing to load in this process."""

    rclone_program: str
    endpoint: str

    def rclone(self, verb: str, path: str, *more: str) -> str:
        """Run one of rclone's commands on ``path``; return what it prints."""
        return self._run(verb, self._remote(path), *more)

    def rclone_copy(self, source: Path, path: str, *more: str) -> None:
        """Copy a local directory to ``path``."""
        self._run("copy", str(source), self._remote(path), *more)

    def size(self, path: str) -> tuple[int, int]:
        """Return how many objects there are below ``path``, and their bytes."""
        found = json.loads(self.rclone("size", path, "--json", "--fast-list"))
        return found["count"], found["bytes"]

    def _remote(self, path: str) -> str:
        key, secret = ACCESS_KEY.values()
        remote = f":s3,provider=Other,access_key_id={key},secret_access_key={secret}"
        return f"{remote},endpoint='{self.endpoint}':{path}"

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.rclone_program, *arguments, *NO_CONFIG],
            env=NOBODYS_ENVIRONMENT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout


@contextlib.contextmanager
def s3_server(rclone_program: str) -> Iterator[S3Server]:
    """Serve S3 from memory."""
    options = [":memory:", "--addr", "127.0.0.1:0", "--auth-key", ",".join(ACCESS_KEY.values())]
    command = [rclone_program, "serve", "s3", *options, *NO_CONFIG]
    with server(command, "Starting s3 server on", _STEADY) as line:
        yield S3Server(rclone_program, line.split("[")[1].split("]")[0].rstrip("/"))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as a table of Markdown, the first of them its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def middle(runs: Iterable[object], measure: str) -> float:
    """Return the median of what ``runs`` have as ``measure``."""
    return float(median(getattr(run, measure) for run in runs))


def spread(samples: Sequence[float], unit: str) -> str:
    """Return the median, the lowest and the highest of ``samples``."""
    return f"{median(samples):.0f} {unit} ({min(samples):.0f}-{max(samples):.0f})"


def verdict(*, met: bool) -> str:
    """Return whether a goal was met, as the tables say it."""
    return "met" if met else "NOT MET"


def own_peak() -> str:
    """Return what this process had of memory: on Linux a child's peak begins with it."""
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 1e6
    return f"The process that measures had {own_mb:.0f} MB, below which no peak can be seen."


def machine() -> str:
    """Return what the numbers depend on; the load is that of the minute that has passed."""
    return (
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
        f"{platform.system()} {platform.machine()}; "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def at_least_one(text: str) -> int:
    """Parse a number of runs."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one run is needed for a median")
    return number
