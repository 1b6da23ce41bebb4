"""A backfill that is not left alone, killed or interrupted; and the plan of a whole catalogue."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backfills import RANGE, backfill, data, manifests, month, requested
from ingest.sandbox import Fault
from runs import child_environment, files, program, variables
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox

SOON_S = 60
"""Seconds that a test waits for what is about to happen."""
MANY = {"movie": month(400), "tv": month(400)}


def start(sandbox: Sandbox, *arguments: str) -> subprocess.Popen[str]:
    """Start ``ingest backfill``, which heeds Ctrl-C wherever it is started from."""
    return subprocess.Popen(
        [
            *("env", "--default-signal=INT", sys.executable, "-m", "ingest", "backfill", *RANGE),
            *arguments,
        ],
        env=child_environment(variables(sandbox)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def whole(sandbox: Sandbox) -> dict[str, bytes]:
    """What an undisturbed backfill lands beside this one, less what differs by time."""
    done = program(variables(sandbox, LOCAL_DIR="undisturbed"), "-m", "ingest", "backfill", *RANGE)
    assert done.code == 0, done.err
    return data(files(Path("undisturbed")))


def test_killed_and_started_again_it_goes_on_with_what_is_missing(
    stand_in: Callable[..., Sandbox],
) -> None:
    # The second window never comes to its end: its last page is never answered.
    hangs = stand_in(titles=MANY, faults=[Fault("hang", path="/discover/tv", page=20)])
    with start(hangs, "--json", "--workers", "1") as child:
        assert child.stdout
        told = [json.loads(child.stdout.readline()) for _ in range(2)]
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=SOON_S)
    assert told[1]["status"] == "landed"
    assert [each["dataset"] for each in manifests(files()).values()] == ["movies"]
    sandbox = stand_in(titles=MANY)
    done = program(variables(sandbox), "-m", "ingest", "backfill", *RANGE, "--json")
    assert done.code == 0, done.err
    again = [json.loads(line) for line in done.out.splitlines()]
    assert {each["window"].split("_")[0]: each["status"] for each in again[1:-1]} == {
        "movies": "skipped",
        "series": "landed",
    }
    assert {path for path, *_ in requested(sandbox)} == {"/3/discover/tv"}
    assert data(files()) == whole(sandbox)


def test_ctrl_c_is_130_and_says_how_to_go_on(stand_in: Callable[..., Sandbox]) -> None:
    hangs = stand_in(titles=MANY, faults=[Fault("hang", path="/discover/tv", page=20)])
    with start(hangs, "--json") as child:
        assert child.stdout
        told = [json.loads(child.stdout.readline()) for _ in range(2)]
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=SOON_S)
    assert child.returncode == 130, err
    assert told[1]["window"].startswith("movies")
    assert err.splitlines()[-1] in {
        "interrupted: the same command goes on with what has not landed",
        "interrupted",
    }
    # It was heeded at once, not when the window had failed.
    assert "failed" not in err
    assert "Traceback" not in err
    sandbox = stand_in(titles=MANY)
    done = program(variables(sandbox), "-m", "ingest", "backfill", *RANGE)
    assert done.code == 0
    assert data(files()) == whole(sandbox)


def test_all_workers_together_keep_to_the_rate(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(400), "tv": month(400)})
    done = backfill(sandbox, "--workers", "8", TMDB_RATE="20")
    assert done.exit_code == 0, done.output
    seen = sorted(request.at for request in sandbox.requests)
    gaps = [later - first for first, later in zip(seen, seen[20:], strict=False)]
    # A busy machine delays the one or the other: a tenth of a second is left for that.
    assert min(gaps) > 0.9
    assert len(seen) == 2 + 20 + 20


CATALOGUE = """
import json, os, sys
from ingest.cli import main
from ingest.sandbox import Sandbox, SANDBOX_TOKEN
with Sandbox(titles={"movie": 1_200_000}) as sandbox:
    os.environ |= {"TMDB_BASE_URL": sandbox.base_url, "TMDB_ACCESS_TOKEN": SANDBOX_TOKEN}
    sys.argv[1:] = "backfill --from 1900-01-01 --to 2026-12-31 --datasets movies".split()
    sys.argv += ["--dry-run", "--json"]
    try:
        main()
    finally:
        # Not ru_maxrss: that begins with what the process had from which this one was forked.
        with open("/proc/self/status") as status:
            (peak,) = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")]
        print(json.dumps({"requests": len(sandbox.requests), "peak_mb": peak}))
"""


def test_the_whole_catalogue_is_planned_in_few_requests_and_little_memory() -> None:
    """1.2 million titles: the stand-in of TMDB and the planner are measured together."""
    done = program({"TMDB_RATE": "50"}, "-c", CATALOGUE)
    assert done.code == 0, done.err
    *windows, summary, measured = (json.loads(line) for line in done.out.splitlines())
    assert measured["requests"] == summary["summary"]["requests"] < 2_000
    assert measured["peak_mb"] < 150
    assert sum(window["total_results"] for window in windows) == 1_200_000
    assert all(window["total_pages"] <= 500 for window in windows)
    assert len(windows) < 300
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"takes {measured['requests']} requests to plan" in readme
    assert is_without_gaps(windows)


def is_without_gaps(windows: list[dict[str, Any]]) -> bool:
    ends = ["1899-12-31", *(window["to"] for window in windows)]
    follow = [str(date.fromisoformat(end) + timedelta(days=1)) for end in ends]
    return follow == [*(window["from"] for window in windows), "2027-01-01"]


@pytest.mark.parametrize("module", ["handler", "ingest.here", "ingest.pipeline"])
def test_the_daily_run_loads_nothing_of_a_backfill(module: str) -> None:
    found = "[name for name in sys.modules if 'backfill' in name or 'jobs' in name]"
    code = f"import sys, {module}; print({found})"
    done = program({}, "-c", code)
    assert done.out.strip() == "[]", done.err
