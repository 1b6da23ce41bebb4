"""The function as the stack of template.yaml sets it up: its event, its role, its metrics.

The stack is in moto, and so is the bucket that the function runs on here; TMDB is the stand-in.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from ingest import aws_secret
from policies import Call, allows, call_of
from runs import COMMITTED, DAY, Context, manifest_key, objects, report, statuses, variables
from stack import other_stack, usual_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.sandbox import Sandbox
    from stack import Stack
    from support import S3Server


@pytest.fixture(scope="module")
def stack(moto_server: S3Server) -> Stack:
    return usual_stack(moto_server, "tmdb-runs")


@pytest.fixture(scope="module")
def other(moto_server: S3Server) -> Stack:
    return other_stack(moto_server, "tmdb-other-runs")


def _environment(stack: Stack, sandbox: Sandbox) -> dict[str, str]:
    """The function's variables, and what they are on this machine."""
    name = stack.outputs["IngestFunctionName"]
    found = stack.client("lambda").get_function_configuration(FunctionName=name)
    given = {name: str(value) for name, value in found["Environment"]["Variables"].items()}
    here = {**stack.server.environment(given["BUCKET_NAME"]), **variables(sandbox)}
    del here["TMDB_ACCESS_TOKEN"]  # it comes from where the stack says
    return {
        **given,
        **here,
        "TRACING": "false",  # nothing takes traces here
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": stack.server.endpoint_url,
        "AWS_ENDPOINT_URL_SSM": stack.server.endpoint_url,
    }


@contextmanager
def _over_tls(stack: Stack) -> Iterator[None]:
    """Take the policy of the stack's bucket away meanwhile, if there is one.

    It denies what comes without TLS. Moto has no TLS, and takes every denial for one of everything.
    """
    if "RawBucketPolicy" not in stack.evaluation.resources():
        yield
        return
    s3, bucket = stack.client("s3"), stack.outputs["RawBucketName"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.delete_bucket_policy(Bucket=bucket)
    try:
        yield
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)


def _event(stack: Stack) -> Any:
    """The event of the schedule, its placeholders filled in as EventBridge Scheduler does."""
    placeholders = {
        "scheduled-time": f"{DAY}T06:00:00Z",
        "execution-id": "d32c5kddcf5bb8c3",
        "attempt-number": "1",
    }
    text = stack.schedule()["Target"]["Input"]
    filled = re.sub(r"<aws\.scheduler\.([a-z-]+)>", lambda match: placeholders[match[1]], text)
    return json.loads(filled)


@contextmanager
def _recorded() -> Iterator[list[Call]]:
    """Collect the calls that moto gets meanwhile."""
    from moto.moto_api import recorder  # noqa: PLC0415 - heavy, as moto itself

    calls: list[Call] = []
    record, writing = recorder._record_request, threading.Lock()

    def record_alone(*request: Any) -> None:
        with writing:  # else entries of two requests at once end up within each other
            record(*request)

    recorder.reset_recording()
    recorder.start_recording()
    try:
        with mock.patch.object(recorder, "_record_request", record_alone):
            yield calls
    finally:
        recorder.stop_recording()
    calls += [call_of(json.loads(line)) for line in recorder.download_recording().splitlines()]


def test_the_schedules_event_lands_the_day(stack: Stack, stand_in: Callable[..., Sandbox]) -> None:
    event = _event(stack)
    assert event == {
        "scheduled_time": "2026-11-20T06:00:00Z",
        "execution_id": "d32c5kddcf5bb8c3",
        "attempt": "1",
    }
    environ = _environment(stack, stand_in())
    with _over_tls(stack):
        body = report(event, environ, Context())
        again = report({**event, "execution_id": "another", "attempt": "2"}, environ, Context())
        assert objects(stack.server, stack.outputs["RawBucketName"]).keys() >= COMMITTED
    assert statuses(body) == {"movies": "landed", "series": "landed"}
    assert statuses(again) == {"movies": "skipped", "series": "skipped"}


RUNS: list[dict[str, Any]] = [
    {"date": "2026-11-01"},
    {"date": "2026-11-01"},  # again: what is there is replaced
    {"scheduled_time": "2026-11-02T06:00:00Z"},
    {"scheduled_time": "2026-11-02T06:00:00Z"},  # again: it is skipped
    {"scheduled_time": "2026-11-02T06:00:00Z", "force": True},
    {"date": "2026-11-03", "dry_run": True},
]


@pytest.mark.parametrize("name", ["stack", "other"])
def test_the_role_may_make_every_call_of_a_run_and_no_other(
    request: pytest.FixtureRequest, stand_in: Callable[..., Sandbox], name: str
) -> None:
    deployed: Stack = request.getfixturevalue(name)
    environ = _environment(deployed, stand_in())
    aws_secret._provider.cache_clear()  # so that this run reads the token, not one before
    with _over_tls(deployed):
        with _recorded() as calls:
            for event in RUNS:
                report(event, environ, Context())
        landed = _landed(deployed)
    granted = deployed.policies("IngestRole")
    assert [call for call in calls if not allows(granted, call)] == []

    of_s3 = [call for call in calls if call.action.startswith("s3:")]
    [of_token] = {call.action for call in calls} - {call.action for call in of_s3}
    assert of_token in {"secretsmanager:GetSecretValue", "ssm:GetParameter"}
    written = {call.resource for call in of_s3 if call.action == "s3:PutObject"}
    bucket = f"arn:aws:s3:::{deployed.outputs['RawBucketName']}"
    zone = deployed.evaluation.parameters["RawZonePath"] + "/"
    assert {f"{bucket}/{key}" for key in landed} <= written
    assert {call.action for call in of_s3} == {
        *("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket")
    }
    for call in of_s3:
        for elsewhere in _elsewhere(call, bucket, zone):
            assert not allows(granted, elsewhere), elsewhere


def _landed(stack: Stack) -> set[str]:
    """The keys of the runs' days in the stack's bucket."""
    found = objects(stack.server, stack.outputs["RawBucketName"])
    days = {key for key in found if re.search(r"/2026/11/0[12]/", key)}
    datasets = {key.rsplit("/", 5)[1] for key in days}
    assert {"Movies", "Series"} <= datasets
    assert {manifest_key(key) for key in days} <= days
    return days


def _elsewhere(call: Call, bucket: str, zone: str) -> Iterator[Call]:
    """``call`` on another prefix or bucket, and other actions on the same."""
    for other in ("", "raw/", zone.rstrip("/") + "-2/", zone.upper(), "x/" + zone):
        if call.action == "s3:ListBucket":
            prefix = call.context["s3:prefix"].removeprefix(zone)
            yield Call(call.action, call.resource, {"s3:prefix": other + prefix})
        else:
            yield Call(call.action, call.resource.replace(f"{bucket}/{zone}", f"{bucket}/{other}"))
    yield Call(call.action, call.resource.replace(bucket, bucket + "-2"), call.context)
    yield Call("s3:ListBucket", bucket)  # without a prefix it would list everything
    for action in ("s3:PutObjectAcl", "s3:GetObjectVersion", "s3:DeleteObjectVersion"):
        yield Call(action, call.resource)
    for action in ("s3:DeleteBucket", "s3:PutBucketPolicy", "s3:PutLifecycleConfiguration"):
        yield Call(action, bucket)


def test_the_metrics_that_are_watched_are_those_of_a_run(
    stack: Stack, stand_in: Callable[..., Sandbox], capsys: pytest.CaptureFixture[str]
) -> None:
    with _over_tls(stack):
        report({"date": "2026-11-04"}, _environment(stack, stand_in()), Context())
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counted = set()
    for line in printed:
        for group in line.get("_aws", {}).get("CloudWatchMetrics", []):
            [names] = group["Dimensions"]
            dimensions = tuple(sorted((name, line[name]) for name in names))
            counted |= {(group["Namespace"], each["Name"], dimensions) for each in group["Metrics"]}
    alarms = stack.evaluation.resources("AWS::CloudWatch::Alarm")
    for name, dataset in (("MoviesMissing", "movies"), ("SeriesMissing", "series")):
        metric = alarms[name]["Metrics"][1]["MetricStat"]["Metric"]
        given = tuple(sorted((each["Name"], each["Value"]) for each in metric["Dimensions"]))
        assert dict(given) == {"service": "ingest", "dataset": dataset}
        assert (metric["Namespace"], metric["MetricName"], given) in counted
    dashboard = stack.client("cloudwatch").get_dashboard(
        DashboardName=stack.outputs["DashboardName"]
    )
    searched = re.findall(
        r"SEARCH\('\{(\w+),service,dataset\} MetricName=\\\"(\w+)\\\"'", dashboard["DashboardBody"]
    )
    assert len(searched) == 8
    assert set(searched) == {
        (namespace, metric) for namespace, metric, _ in counted if namespace == "TmdbIngest"
    }
