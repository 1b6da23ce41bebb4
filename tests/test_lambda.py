"""The function as Lambda runs it: the built package under AWS's own runtime client.

``runtime_api`` is Lambda's side of it. The package is built as ``sam build`` builds it, for the
Python of these tests, and sees no other module than its own, the runtime client and the standard
library.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from accounts import Account, body, built, lines
from faultproxy import Before, FaultProxy, Rule
from images import in_image, why_no_image
from ingest.sandbox import Fault
from lifecycles import MANIFEST, SOON_S, committed
from runs import COMMITTED, MOVIES, SCHEDULED, manifest, manifest_key, statuses
from runtime_api import COMMAND, PYTHON, TRACE, InitFailed
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.sandbox import Sandbox
    from support import S3Server

pytestmark = [
    pytest.mark.skipif(
        find_spec("awslambdaric") is None, reason="awslambdaric is not installed here"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="the package is for Linux"),
]

BOTH_LANDED = {"movies": "landed", "series": "landed"}
BOTH_SKIPPED = {"movies": "skipped", "series": "skipped"}
MOVIES_ONLY = {**SCHEDULED, "datasets": ["movies"]}


@pytest.fixture
def account(
    tmp_path_factory: pytest.TempPathFactory,
    stand_in: Callable[..., Sandbox],
    rclone_server: S3Server,
) -> Iterator[Callable[..., Account]]:
    """Make accounts: ``account(faults=[...])`` has a TMDB with faults."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with ExitStack() as stack:
        yield lambda **tmdb: Account(built(root), stand_in(**tmdb), rclone_server, stack)


# Where it runs


def test_the_function_finds_only_its_package_the_runtime_client_and_the_standard_library(
    account: Callable[..., Account],
) -> None:
    ours = account()
    code = """
import importlib.util, json, sys
named = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}
print(json.dumps([sys.path, {name: spec and spec.origin for name, spec in named.items()}]))
"""
    shipped, others = ("handler", "ingest", "requests", "boto3"), ("pytest", "moto", "rich", "pip")
    done = subprocess.run(
        [PYTHON, "-S", "-c", code, "awslambdaric", *shipped, *others],
        env=ours.environment(),
        cwd=ours.package,
        capture_output=True,
        check=True,
    )
    path, origins = json.loads(done.stdout)
    assert path[:2] == ["", str(ours.runtime)]
    assert all(entry.startswith(sys.base_prefix) and "site-" not in entry for entry in path[2:])
    assert Path(origins["awslambdaric"]).is_relative_to(ours.runtime)
    for name in shipped:
        assert Path(origins[name]).is_relative_to(ours.package)
    for name in others:
        assert find_spec(name)
        assert origins[name] is None


def test_nothing_is_written_but_below_tmp(account: Callable[..., Account], tmp_path: Path) -> None:
    if reason := why_no_image():
        pytest.skip(f"this machine mounts no file system for a test: {reason}")
    ours, root = account(), tmp_path / "root"
    root.mkdir()
    command = in_image(COMMAND, root, ours.package, ours.runtime)
    elsewhere = ours.function(command, LOCAL_DIR="copy").invoke(SCHEDULED)
    assert elsewhere.payload["errorType"] == "StoreError"
    assert "Read-only file system" in elsewhere.payload["errorMessage"]
    assert ours.lake() == {}
    function = ours.function(command, LOCAL_DIR="/tmp/copy")  # noqa: S108 - the image's own
    assert statuses(body(function.invoke(SCHEDULED))) == BOTH_LANDED
    assert committed(ours.lake()) == ours.lake().keys() == COMMITTED
    assert function.errors == ""


# What it answers


def test_one_process_answers_event_after_event(account: Callable[..., Account]) -> None:
    ours = account()
    function = ours.function()
    first = function.invoke(SCHEDULED)
    assert statuses(body(first)) == BOTH_LANDED
    landed = ours.lake()
    assert committed(landed) == landed.keys() == COMMITTED
    assert manifest(landed, MOVIES)["run_id"] == body(first)["run_id"]
    asked = len(ours.sandbox.requests)
    again = function.invoke(SCHEDULED)
    assert statuses(body(again)) == BOTH_SKIPPED
    assert body(again)["run_id"] != body(first)["run_id"]
    planned = function.invoke({"dry_run": True, "date": "2026-11-21"})
    assert statuses(body(planned)) == {"movies": "planned", "series": "planned"}
    assert len(ours.sandbox.requests) == asked
    assert ours.lake() == landed
    other = function.invoke({"date": "2026-11-21", "datasets": ["series"], "limit": 5})
    assert statuses(body(other)) == {"series": "landed"}
    assert len(committed(ours.lake())) == len(COMMITTED) + 2


def test_each_line_of_the_log_is_json_and_tells_its_request(
    account: Callable[..., Account],
) -> None:
    ours = account()
    function = ours.function()
    for event in (SCHEDULED, {"date": "2026-11-21", "limit": 5}, {"no": "event"}):
        outcome = function.invoke(event)
        told = [line for line in lines(outcome) if "_aws" not in line]  # those are metrics
        ids = {line.get("function_request_id") or line.get("requestId") for line in told}
        assert ids == {outcome.request_id}
        messages = [line.get("message") for line in told]
        assert len(messages) == len(set(messages))
    assert function.errors == ""


def test_metrics_are_lines_of_the_log_in_the_embedded_metric_format(
    account: Callable[..., Account],
) -> None:
    function = account().function()
    for number in range(2):
        outcome = function.invoke(SCHEDULED)
        measured: dict[str, float] = {}
        for line in lines(outcome):
            for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
                assert directive["Namespace"]
                assert all(name in line for names in directive["Dimensions"] for name in names)
                for metric in directive["Metrics"]:
                    (value,) = line[metric["Name"]]
                    measured[metric["Name"]] = measured.get(metric["Name"], 0) + value
        assert measured.get("ColdStart", 0) == (1 if number == 0 else 0)
        assert measured["RecordsLanded"] == (200 if number == 0 else 0)
        assert measured["PartitionsLanded"] == 2


def test_the_token_is_read_from_secrets_manager(
    account: Callable[..., Account], moto_server: S3Server
) -> None:
    token = "eyJhbGciOi.kept-by-aws.end"
    kept = boto3.client(
        "secretsmanager",
        endpoint_url=moto_server.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    ).create_secret(Name=f"lambda-{os.getpid()}", SecretString=token)
    ours = account(credentials=frozenset({token}))
    function = ours.function(
        TMDB_ACCESS_TOKEN="",
        TMDB_SECRET_ARN=kept["ARN"],
        AWS_ENDPOINT_URL_SECRETS_MANAGER=moto_server.endpoint_url,
    )
    outcome = function.invoke(SCHEDULED)
    assert statuses(body(outcome)) == BOTH_LANDED
    assert token not in outcome.log


def test_a_traced_run_reaches_the_daemon_of_x_ray(account: Callable[..., Account]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(SOON_S)
        address = f"127.0.0.1:{daemon.getsockname()[1]}"
        function = account().function(TRACING="true", AWS_XRAY_DAEMON_ADDRESS=address)
        assert statuses(body(function.invoke(SCHEDULED))) == BOTH_LANDED
        segment = json.loads(daemon.recv(65_536).partition(b"\n")[2])
    assert segment["trace_id"] == TRACE


@dataclass(frozen=True)
class Failing:
    """What goes wrong, and the error that is to be told."""

    kind: str
    words: str
    event: Mapping[str, Any] = field(default_factory=lambda: SCHEDULED)
    settings: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


@pytest.mark.parametrize(
    "failing",
    [
        Failing("EventError", "films", event={"datasets": ["films"]}),
        Failing("SettingsError", "TMDB_RATE holds '51'", settings={"TMDB_RATE": "51"}),
        Failing("RunFailed", "s3://nobodys", settings={"BUCKET_NAME": "nobodys"}),
        Failing("CredentialsRefused", "HTTP 401", faults=(Fault("401"),)),
        Failing("RunFailed", "series: ", faults=(Fault("404", path="/tv"),)),
    ],
    ids=lambda failing: failing.words,
)
def test_an_error_is_told_as_lambda_expects_and_the_process_lives_on(
    account: Callable[..., Account], failing: Failing
) -> None:
    ours = account(faults=failing.faults)
    function = ours.function(**failing.settings)
    for _ in range(2):
        outcome = function.invoke(failing.event)
        assert outcome.kind == "error"
        told = outcome.payload
        assert told["errorType"] == failing.kind
        assert failing.words in told["errorMessage"]
        assert "\n" not in told["errorMessage"]
        assert told["requestId"] == outcome.request_id
        assert any("lambda_handler" in frame for frame in told["stackTrace"])
        assert lines(outcome)[-1]["errorType"] == failing.kind
        for secret in ours.secrets:
            assert secret not in outcome.log
            assert secret not in json.dumps(told)


def test_a_package_that_lacks_a_module_fails_to_start(
    account: Callable[..., Account], tmp_path: Path
) -> None:
    ours = account()
    ours.package = tmp_path / "half"
    ours.package.mkdir()
    (ours.package / "handler.py").write_bytes((REPOSITORY / "handler.py").read_bytes())
    with pytest.raises(InitFailed) as caught:
        ours.function().wait_ready()
    assert caught.value.payload["errorType"] == "Runtime.ImportModuleError"
    assert "No module named" in caught.value.payload["errorMessage"]


# When its time is up, or it is killed


def test_an_event_that_tmdb_leaves_no_time_for_fails_before_its_deadline(
    account: Callable[..., Account],
) -> None:
    ours = account(faults=[Fault("hang", path="/discover/tv", times=1)])
    function = ours.function()
    outcome = function.invoke(SCHEDULED, timeout_s=6)
    assert outcome.kind == "error"  # and not a timeout
    assert "series" in outcome.payload["errorMessage"]
    assert committed(ours.lake()) == ours.lake().keys() == {MOVIES, manifest_key(MOVIES)}
    again = function.invoke(SCHEDULED)
    assert statuses(body(again)) == {"movies": "skipped", "series": "landed"}
    assert committed(ours.lake()) == ours.lake().keys() == COMMITTED


def _check_completed(ours: Account) -> None:
    """Assert that the lake has movies without a manifest, and that the same event lands them."""
    assert ours.lake().keys() == {MOVIES}
    assert statuses(body(ours.function().invoke(MOVIES_ONLY))) == {"movies": "landed"}
    assert committed(ours.lake()) == ours.lake().keys() == {MOVIES, manifest_key(MOVIES)}


def test_an_event_that_lambda_cut_short_is_completed_by_the_next_try(
    account: Callable[..., Account],
) -> None:
    ours, over = account(), threading.Event()

    def hold() -> None:  # and keep it from the server, which else might list what it has half got
        over.wait(SOON_S)
        raise ConnectionAbortedError

    with FaultProxy(ours.server.endpoint_url, [Rule(Before(hold), "PUT", MANIFEST)]) as proxy:
        function = ours.function(ENDPOINT_URL=proxy.endpoint_url)
        assert function.invoke(MOVIES_ONLY, timeout_s=4).kind == "timeout"
        over.set()
    _check_completed(ours)


def test_a_process_killed_between_object_and_manifest_is_followed_by_one_that_completes(
    account: Callable[..., Account],
) -> None:
    ours = account()

    def kill() -> None:
        function.kill()
        raise ConnectionAbortedError

    fatal = Rule(Before(kill), "PUT", MANIFEST)
    with FaultProxy(ours.server.endpoint_url, [fatal]) as proxy:
        function = ours.function(ENDPOINT_URL=proxy.endpoint_url)
        assert function.invoke(MOVIES_ONLY).kind == "exit"
    _check_completed(ours)


def test_of_two_at_once_the_one_that_lost_lands_with_its_second_try(
    account: Callable[..., Account],
) -> None:
    ours, go = account(), threading.Event()
    held = Rule(Before(lambda: go.wait(SOON_S)), "PUT", MANIFEST)
    with FaultProxy(ours.server.endpoint_url, [held]) as proxy, ThreadPoolExecutor() as threads:
        function = ours.function(ENDPOINT_URL=proxy.endpoint_url)
        lost = threads.submit(function.invoke, {**MOVIES_ONLY, "limit": 3})
        proxy.wait_until(lambda: any(seen.failed_by for seen in proxy.requests))
        won = ours.function().invoke({**MOVIES_ONLY, "limit": 4})
        go.set()
        assert statuses(body(won)) == {"movies": "landed"}
        error = lost.result(SOON_S).payload["errorMessage"]
        assert "was written by another run at the same time" in error
        _check_completed(ours)
