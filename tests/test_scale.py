"""docs/scale.md: its arithmetic, and how the requests to TMDB are shared out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import handler
import scalemodel
from cloudformation import source
from ingest import pacing
from ingest.remote.sharing import share
from ingest.sandbox import SANDBOX_TOKEN, Sandbox
from stepfunctions import RESULTS, Context, definition, step_functions
from support import REPOSITORY

if TYPE_CHECKING:
    from support import S3Server

DOCUMENT = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")


@given(st.integers(0, 100_000), st.floats(1, 50))
def test_all_children_together_stay_within_the_rate(windows: int, rate: float) -> None:
    found = share(windows, rate)
    assert found.children * found.requests_per_second <= rate
    assert found.requests_per_second > 0
    assert 1 <= found.children <= 8
    assert found.children <= max(windows, 1)


@given(st.integers(0, 100_000), st.integers(1, 50))
def test_full_windows_of_a_child_are_fetched_well_before_lambda_ends_it(
    windows: int, rate: int
) -> None:
    found = share(windows, rate)
    seconds = found.windows_per_child * 500 / found.requests_per_second
    assert seconds <= 750


@given(st.integers(1, 100_000), st.integers(3, 50))
def test_nothing_of_the_rate_is_left_unused_but_by_rounding(windows: int, rate: int) -> None:
    found = share(windows, rate)
    assert found.children * found.requests_per_second > rate - 0.01
    # Nor does a child wait for others that have several times as much to do.
    assert found.windows_per_child == 1 or windows >= found.children * found.windows_per_child * 8


@pytest.mark.parametrize("kind", ["backfill", "transfer"])
def test_the_tables_are_what_is_reckoned(kind: str) -> None:
    for line in scalemodel.table(kind):
        assert line in DOCUMENT.splitlines()


def test_what_is_reckoned_with_is_what_is_deployed() -> None:
    worker = source()["Resources"]["WorkerFunction"]["Properties"]
    assert worker["MemorySize"] == scalemodel.GB * 1024
    assert worker["EphemeralStorage"]["Size"] == (scalemodel.DISK_GB + 0.5) * 1024
    assert source()["Parameters"]["BackfillRate"]["Default"] == scalemodel.RATE
    objects = definition("transfer")["States"]["Objects"]
    assert objects["MaxConcurrency"] == scalemodel.CHILDREN
    assert objects["ItemBatcher"]["MaxItemsPerBatch"] == 1_000


def test_a_backfill_of_ten_thousand_takes_what_is_reckoned(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto_server.environment(moto_server.new_bucket()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMDB_ACCESS_TOKEN", SANDBOX_TOKEN)
    monkeypatch.setattr(pacing, "_SECOND_S", 0.02)
    moto_server.client().create_bucket(Bucket=RESULTS)

    def function(event: dict[str, object]) -> object:
        return handler.lambda_handler(event, Context())

    with (
        Sandbox(titles={"movie": 10_000}) as sandbox,
        step_functions(moto_server, function) as machines,
    ):
        monkeypatch.setenv("TMDB_BASE_URL", sandbox.base_url)
        machine = machines.machine("backfill", definition("backfill"))
        asked = {"from": "1850-01-01", "to": "2030-12-31", "datasets": ["movies"]}
        end = machines.run(machine, asked)
        requests = len(sandbox.requests)
    assert end.status == "SUCCEEDED"
    assert end.output["records"] == 10_000
    expected = scalemodel.backfill(10_000)
    children = len(machines.runs[0].batches)
    assert (requests, children) == (expected.requests, expected.children)
    assert len(machines.events) == expected.invocations
    assert len(end.entered) + children == expected.transitions
    s3 = machines.requests
    assert s3["PUT"] + s3["LIST"] == expected.writes
    assert s3["GET"] + s3["HEAD"] == expected.reads


def test_every_parameter_and_variable_that_is_told_of_exists() -> None:
    parameters = set(source()["Parameters"])
    told = set(re.findall(r"`(\w+)=", DOCUMENT))
    assert {"LargeJobs"} <= told
    assert {name for name in told if not name.isupper()} <= parameters
