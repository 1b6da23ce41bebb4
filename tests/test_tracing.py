"""Traces: subsegments that really reach a daemon of X-Ray, and nothing unless they are wanted."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ingest.sandbox import Fault
from lambdas import invoked
from runs import SCHEDULED, program, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.sandbox import Sandbox
    from support import S3Server

TRACE = "1-5759e988-bd862e3fe1be46a994272793"
SEGMENT_OF_LAMBDA = "53995c3f42cd8ad8"
HEADER = f"Root={TRACE};Parent={SEGMENT_OF_LAMBDA};Sampled=1"


class Daemon:
    """What Lambda has beside each function to take subsegments, one datagram each."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0)

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a function that Lambda traces."""
        host, port = self.socket.getsockname()
        return {
            "TRACING": "true",
            "LAMBDA_TASK_ROOT": "/var/task",
            "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}",
            "_X_AMZN_TRACE_ID": HEADER,
        }

    def received(self) -> list[dict[str, Any]]:
        """What has come, whose sender has ended: on loopback nothing is still on its way."""
        found = []
        while True:
            try:
                header, document = self.socket.recv(65_536).decode().split("\n", 1)
            except BlockingIOError:
                return found
            assert json.loads(header) == {"format": "json", "version": 1}
            found.append(json.loads(document))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.socket.close()


@pytest.fixture
def lake(rclone_server: S3Server) -> dict[str, str]:
    return rclone_server.environment(rclone_server.new_bucket())


def test_a_traced_run_sends_the_run_and_the_steps_of_each_dataset(
    stand_in: Callable[..., Sandbox], lake: dict[str, str], daemon: Daemon
) -> None:
    done = invoked(variables(stand_in(), **lake, **daemon.environ), SCHEDULED)
    assert done.body
    segments = {segment["name"]: segment for segment in daemon.received()}
    steps = [f"{step} {name}" for step in ("fetch", "land") for name in ("movies", "series")]
    assert sorted(segments) == sorted(["run", *steps])
    assert {segment["trace_id"] for segment in segments.values()} == {TRACE}
    run = segments.pop("run")
    assert run["parent_id"] == SEGMENT_OF_LAMBDA
    for name, segment in segments.items():
        assert segment["parent_id"] == run["id"]
        dataset = name.rpartition(" ")[2]
        assert segment["annotations"] == {"dataset": dataset, "partition": "2026-11-20"}
        assert not segment["in_progress"]
        assert run["start_time"] <= segment["start_time"] <= segment["end_time"] <= run["end_time"]
    assert {line["xray_trace_id"] for line in done.logs} == {TRACE}


def test_a_step_that_fails_is_a_fault_of_its_own_subsegment_and_of_the_run(
    stand_in: Callable[..., Sandbox], lake: dict[str, str], daemon: Daemon
) -> None:
    sandbox = stand_in(faults=[Fault("404", path="/discover/tv")])
    assert invoked(variables(sandbox, **lake, **daemon.environ), SCHEDULED).error
    segments = {segment["name"]: segment for segment in daemon.received()}
    assert sorted(segments) == ["fetch movies", "fetch series", "land movies", "run"]
    assert [name for name, each in sorted(segments.items()) if each.get("fault")] == [
        *("fetch series", "run")
    ]
    (exception,) = segments["fetch series"]["cause"]["exceptions"]
    assert exception["type"] == "TmdbRefused"
    assert "HTTP 404" in exception["message"]


def test_a_key_that_travels_in_the_url_is_in_no_segment(
    stand_in: Callable[..., Sandbox], lake: dict[str, str], daemon: Daemon
) -> None:
    key = "5ec2e7ed" * 4
    faults = [Fault("500", times=2), Fault("404", path="/discover/tv"), Fault("dropped", times=2)]
    environ = {**variables(stand_in(faults=faults)), **lake, **daemon.environ}
    del environ["TMDB_ACCESS_TOKEN"]
    assert invoked({**environ, "TMDB_API_KEY": key}, SCHEDULED).error
    sent = json.dumps(daemon.received())
    assert "fetch movies" in sent
    assert key not in sent
    assert "api_key" not in sent


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(
            {"_X_AMZN_TRACE_ID": HEADER.replace("Sampled=1", "Sampled=0")}, id="unsampled"
        ),
        pytest.param({"_X_AMZN_TRACE_ID": ""}, id="no-trace"),
        pytest.param({"AWS_SAM_LOCAL": "true"}, id="sam-local"),
    ],
)
def test_a_run_that_lambda_does_not_trace_sends_nothing_and_lands(
    stand_in: Callable[..., Sandbox], lake: dict[str, str], daemon: Daemon, changed: dict[str, str]
) -> None:
    environ = {**variables(stand_in(), **lake), **daemon.environ, **changed}
    done = program(environ | {"AWS_LAMBDA_FUNCTION_NAME": "tmdb-ingest"}, "-c", RUN)
    assert done.code == 0, done.err
    assert daemon.received() == []


RUN = "import handler; handler.lambda_handler({}, None)"
LOADED = "; import sys; print('aws_xray_sdk' in sys.modules)"


@pytest.mark.parametrize(
    ("changed", "loaded"),
    [
        pytest.param({}, "True", id="traced"),
        pytest.param({"TRACING": "false"}, "False", id="off"),
        pytest.param({"TRACING": ""}, "False", id="not-set"),
        pytest.param({"AWS_LAMBDA_FUNCTION_NAME": ""}, "False", id="by-hand"),
    ],
)
def test_the_library_of_x_ray_is_loaded_only_in_lambda_where_it_is_wanted(
    stand_in: Callable[..., Sandbox],
    lake: dict[str, str],
    daemon: Daemon,
    changed: dict[str, str],
    loaded: str,
) -> None:
    environ = {**variables(stand_in(), **lake), **daemon.environ}
    environ |= {"AWS_LAMBDA_FUNCTION_NAME": "tmdb-ingest", **changed}
    done = program(environ, "-c", RUN + LOADED)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == loaded
    assert bool(daemon.received()) == (loaded == "True")
