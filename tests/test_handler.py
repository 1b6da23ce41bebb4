"""The handler: what it takes, what it answers, what it logs, and when it raises."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    EmptyDataset,
    IngestError,
    RunFailed,
    SettingsError,
)
from ingest.sandbox import Fault
from runs import (
    MOVIES,
    SCHEDULED,
    SERIES,
    Context,
    answer,
    files,
    manifest,
    manifest_key,
    program,
    report,
    statuses,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

BODY_FIELDS = ["message", "run_id", "partition_date", "datasets"]
DATASET_FIELDS = ["name", "status", "records", "pages", "key", "bytes", "consistency"]
NOTHING_BEFORE_1900 = {"TMDB_RELEASED_UNTIL": "1900-01-01"}


# What it answers


@pytest.mark.parametrize("event", [{}, SCHEDULED, {"limit": 20}, {**SCHEDULED, "dry_run": True}])
def test_the_response_has_exactly_the_fields_of_the_contract(
    stand_in: Callable[..., Sandbox], event: dict[str, Any]
) -> None:
    got = answer(event, variables(stand_in()))
    assert list(got) == ["statusCode", "body"]
    assert got["statusCode"] == 200
    body = json.loads(got["body"])
    assert list(body) == BODY_FIELDS
    assert [list(dataset) for dataset in body["datasets"]] == [DATASET_FIELDS] * 2
    assert [dataset["name"] for dataset in body["datasets"]] == ["movies", "series"]


def test_the_response_tells_what_is_in_the_lake(stand_in: Callable[..., Sandbox]) -> None:
    body = report(SCHEDULED, variables(stand_in()))
    lake = files()
    for dataset, key in zip(body["datasets"], (MOVIES, SERIES), strict=True):
        assert dataset == {
            "name": dataset["name"],
            "status": "landed",
            "records": len(json.loads(lake[key])),
            "pages": 5,
            "key": key,
            "bytes": len(lake[key]),
            "consistency": "consistent",
        }
    assert body["partition_date"] == "2026-11-20"
    assert manifest(lake, MOVIES)["run_id"] == body["run_id"]


@pytest.mark.parametrize("context", [None, Context()], ids=["by-hand", "in-lambda"])
def test_it_runs_with_and_without_a_context(
    stand_in: Callable[..., Sandbox], context: Context | None
) -> None:
    body = report({}, variables(stand_in()), context)
    assert statuses(body) == {"movies": "landed", "series": "landed"}


def test_each_run_has_an_id_of_its_own(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in())
    event = {"dry_run": True}
    assert report(event, environ)["run_id"] != report(event, environ)["run_id"]


@pytest.mark.parametrize(
    ("event", "names", "records"),
    [
        ({"datasets": ["series"]}, ["series"], 100),
        ({"datasets": ["series", "movies"]}, ["movies", "series"], 100),
        ({"limit": 1}, ["movies", "series"], 1),
        ({"limit": 21}, ["movies", "series"], 21),
    ],
)
def test_by_hand_a_run_can_be_narrowed(
    stand_in: Callable[..., Sandbox], event: dict[str, Any], names: list[str], records: int
) -> None:
    body = report(event, variables(stand_in()))
    assert [dataset["name"] for dataset in body["datasets"]] == names
    assert {dataset["records"] for dataset in body["datasets"]} == {records}


def test_the_setting_and_the_event_both_limit_the_records(stand_in: Callable[..., Sandbox]) -> None:
    body = report({"limit": 50}, variables(stand_in(), TMDB_MAX_RECORDS="30"))
    assert {dataset["records"] for dataset in body["datasets"]} == {30}


# A dry run


@pytest.mark.parametrize("details", ["false", "true"])
def test_a_dry_run_plans_and_touches_nothing(
    stand_in: Callable[..., Sandbox], details: str
) -> None:
    sandbox = stand_in()
    body = report({**SCHEDULED, "dry_run": True}, variables(sandbox, TMDB_DETAILS=details))
    assert set(statuses(body).values()) == {"planned"}
    assert {MOVIES, SERIES} <= {dataset["key"] for dataset in body["datasets"]}
    assert {dataset["records"] for dataset in body["datasets"]} == {0}
    assert sandbox.requests == []
    assert not Path("lake").exists()


def test_a_dry_run_says_what_would_be_skipped(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in())
    report({**SCHEDULED, "datasets": ["movies"]}, environ)
    body = report({**SCHEDULED, "dry_run": True}, environ)
    assert statuses(body) == {"movies": "skipped", "series": "planned"}


# Failures


@pytest.mark.parametrize("name", ["movies", "series"])
def test_a_dataset_that_fails_is_named_after_the_other_has_landed(
    stand_in: Callable[..., Sandbox], name: str
) -> None:
    endpoint, key, other = {
        "movies": ("/discover/movie", MOVIES, SERIES),
        "series": ("/discover/tv", SERIES, MOVIES),
    }[name]
    sandbox = stand_in(faults=[Fault("404", path=endpoint)])
    with pytest.raises(RunFailed, match=f"{name}: .*404") as caught:
        report(SCHEDULED, variables(sandbox))
    assert "\n" not in str(caught.value)
    lake = files()
    assert lake.keys() == {other, manifest_key(other)}
    assert key not in lake


@pytest.mark.parametrize("kind", ["404", "null-results", "500", "truncated"])
def test_a_dataset_cut_short_by_its_last_page_does_not_land(
    stand_in: Callable[..., Sandbox], kind: str
) -> None:
    sandbox = stand_in(faults=[Fault(kind, page=5)])
    with pytest.raises(IngestError):
        report(SCHEDULED, variables(sandbox))
    assert files() == {}


def test_zero_records_are_a_failure(stand_in: Callable[..., Sandbox]) -> None:
    with pytest.raises(IngestError, match=r"no record of movies.*ALLOW_EMPTY") as caught:
        report({"datasets": ["movies"]}, variables(stand_in(), **NOTHING_BEFORE_1900))
    assert isinstance(caught.value, EmptyDataset)
    assert files() == {}


def test_zero_records_land_where_they_are_allowed(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in(), ALLOW_EMPTY="true", **NOTHING_BEFORE_1900)
    body = report(SCHEDULED, environ)
    assert statuses(body) == {"movies": "landed", "series": "landed"}
    lake = files()
    assert json.loads(lake[MOVIES]) == []
    assert [entry["records"] for entry in manifest(lake, MOVIES)["objects"]] == [0]
    assert statuses(report(SCHEDULED, environ)) == {"movies": "skipped", "series": "skipped"}


def test_a_refused_token_ends_the_run_with_one_error(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(credentials=frozenset({"eyJ.other"}))
    with pytest.raises(CredentialsRefused, match=r"401 Invalid API key.*check TMDB_ACCESS_TOKEN"):
        report(SCHEDULED, variables(sandbox))
    assert len(sandbox.requests) <= 10
    assert files() == {}


@pytest.mark.parametrize("missing", ["BUCKET_NAME", "TMDB_ACCESS_TOKEN"])
def test_in_lambda_a_bucket_and_a_token_are_required(
    stand_in: Callable[..., Sandbox], missing: str
) -> None:
    environ = variables(stand_in(), AWS_LAMBDA_FUNCTION_NAME="ingest", BUCKET_NAME="the-lake")
    del environ[missing]
    with pytest.raises(SettingsError, match=f"{missing} is not set"):
        answer({}, environ)
    assert not Path("lake").exists()


# The deadline


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("hang", page=5), id="last-page-hangs"),
        pytest.param(Fault("slow", seconds=30.0), id="slow"),
        pytest.param(Fault("429", retry_after="60"), id="told-to-wait"),
        pytest.param(Fault("429", retry_after="Fri, 31 Dec 2100 00:00:00 GMT"), id="until-2100"),
    ],
)
def test_a_deadline_that_passes_midway_ends_the_run_in_time_with_nothing_landed(
    stand_in: Callable[..., Sandbox], fault: Fault
) -> None:
    environ = variables(stand_in(faults=[fault]))
    begun = time.monotonic()
    with pytest.raises(IngestError) as caught:
        report(SCHEDULED, environ, Context(millis=1_500))
    assert time.monotonic() - begun < 1.5
    causes = getattr(caught.value, "causes", (caught.value,))
    assert {type(cause) for cause in causes} == {DeadlineExceeded}
    assert files() == {}


def test_time_for_landing_is_kept_back_from_what_lambda_has_left(
    stand_in: Callable[..., Sandbox],
) -> None:
    # 21 s are left, of which two thirds are for TMDB: 14 s are less than this wait.
    sandbox = stand_in(faults=[Fault("429", retry_after="15")])
    with pytest.raises(IngestError, match="left for this run"):
        report({"datasets": ["movies"]}, variables(sandbox), Context(millis=21_000))


def test_a_dataset_that_is_in_time_lands_beside_one_that_is_not(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in(faults=[Fault("hang", path="/discover/tv")])
    with pytest.raises(RunFailed, match="series: "):
        report(SCHEDULED, variables(sandbox), Context(millis=2_400))
    assert files().keys() == {MOVIES, manifest_key(MOVIES)}


# Logs

IN_LAMBDA = """
import handler
class Context:
    aws_request_id = "request-7"
    def get_remaining_time_in_millis(self):
        return 60_000
print(handler.lambda_handler({"scheduled_time": "2026-11-20T06:00:00Z"}, Context())["statusCode"])
"""


def test_in_lambda_every_log_line_is_json_with_one_line_a_page(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    lake = rclone_server.environment(rclone_server.new_bucket())
    done = program(
        variables(stand_in(), AWS_LAMBDA_FUNCTION_NAME="ingest", **lake), "-c", IN_LAMBDA
    )
    assert done.code == 0, done.err
    *logged, status = (done.out + done.err).splitlines()
    assert status == "200"
    lines = [json.loads(line) for line in logged]
    assert {line["function_request_id"] for line in lines} == {"request-7"}
    pages = [(line["dataset"], line["page"], line["total"]) for line in lines if "page" in line]
    assert sorted(pages) == [
        (name, page, 20 * page) for name in ("movies", "series") for page in range(1, 6)
    ]


def test_elsewhere_a_page_is_one_readable_line(
    stand_in: Callable[..., Sandbox], capsys: Any
) -> None:
    report({"datasets": ["movies"]}, variables(stand_in()))
    lines = capsys.readouterr().err.splitlines()
    pages = [line for line in lines if re.search(r"\bpage\b", line)]
    assert [re.findall(r"\d+", line)[:2] for line in pages] == [
        [str(page), str(20 * page)] for page in range(1, 6)
    ]
    assert all("movies" in line for line in pages)


def test_logs_are_as_loud_as_the_setting(
    stand_in: Callable[..., Sandbox], capsys: pytest.CaptureFixture[str]
) -> None:
    report({}, variables(stand_in(), LOG_LEVEL="warning"))
    assert capsys.readouterr().err == ""
