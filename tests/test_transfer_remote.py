"""``ingest transfer`` and ``ingest follow``: executions in moto, shown until they end."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import handler
from ingest import aws_secret
from ingest.cli import remote
from stack import client
from stepfunctions import RESULTS, Context, definition, step_functions
from stores import command, contents, fill, lines, store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from ingest.storage.s3 import S3Store
    from stepfunctions import StepFunctions
    from support import S3Server

FILES = {f"in/{number:02}.txt": b"%d" % number for number in range(25)}


@pytest.fixture
def machines(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepFunctions]:
    for name, value in moto_server.environment("unused-lake").items():
        monkeypatch.setenv(name, value)
    moto_server.client().create_bucket(Bucket=RESULTS)
    with step_functions(moto_server, lambda event: handler.lambda_handler(event, Context())) as sf:
        # Instead of some seconds: until an execution has ended.
        waiting = SimpleNamespace(sleep=lambda _: sf.wait_for_an_end())
        monkeypatch.setattr(remote, "time", waiting)
        yield sf


@pytest.fixture
def source(moto_server: S3Server) -> S3Store:
    store = store_of(moto_server)
    fill(store, FILES)
    return store


@pytest.fixture
def target(moto_server: S3Server) -> S3Store:
    return store_of(moto_server)


def _machine(machines: StepFunctions) -> dict[str, str]:
    made = definition("transfer")
    made["States"]["Objects"]["ItemBatcher"]["MaxItemsPerBatch"] = 10
    made["States"]["Objects"]["MaxConcurrency"] = 2
    return {
        "TRANSFER_STATE_MACHINE_ARN": machines.machine("transfer", made),
        "AWS_ENDPOINT_URL_SFN": machines.server.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _transfer(
    machines: StepFunctions, source: S3Store, target: S3Store, *more: str, **environ: str
) -> Result:
    urls = (f"{source.url}/in", f"{target.url}/out/")
    return command(machines.server, "transfer", *urls, *more, **environ)


def test_a_remote_transfer_is_shown_until_it_ends(
    machines: StepFunctions, source: S3Store, target: S3Store
) -> None:
    done = _transfer(machines, source, target, "--remote", **_machine(machines))
    assert done.exit_code == 0
    shown = done.stderr.splitlines()
    assert shown[0].startswith("arn:aws:states:us-east-1:123456789012:execution:transfer")
    assert shown[-1].startswith("succeeded")
    assert "objects       25" in done.stdout
    assert contents(target) == {f"out/{key[3:]}": body for key, body in FILES.items()}
    again = command(machines.server, "follow", shown[0], AWS_ENDPOINT_URL_SFN=_sfn(machines))
    assert (again.exit_code, again.stdout) == (0, done.stdout)


def _sfn(machines: StepFunctions) -> str:
    return machines.server.endpoint_url


def test_as_json_each_line_is_an_object_and_the_last_one_the_summary(
    machines: StepFunctions, source: S3Store, target: S3Store
) -> None:
    done = _transfer(machines, source, target, "--remote", "--json", **_machine(machines))
    told = lines(done)
    assert told[-1]["summary"]["objects"] == 25
    assert told[-2]["status"] == "SUCCEEDED"
    assert told[-2]["items"]["succeeded"] == 3  # moto counts batches
    assert all(each["execution"].startswith("arn:") for each in told[:-1])


def test_an_execution_that_fails_says_why_and_what_to_do(
    machines: StepFunctions, source: S3Store, target: S3Store
) -> None:
    variables = _machine(machines)
    machines.function = _refusing
    failed = _transfer(machines, source, target, "--remote", **variables)
    assert failed.exit_code == 1
    assert "States.ExceedToleratedFailureThreshold" in failed.stderr
    assert "aws stepfunctions redrive-execution --execution-arn arn:" in failed.stderr

    machines.function = _leaving_out
    failed = _transfer(machines, source, target, "--remote", **variables)
    assert failed.exit_code == 1
    assert "Incomplete: 25 of 25 objects are not in" in failed.stderr
    assert "the same command again" in failed.stderr


def _refusing(event: dict[str, Any]) -> Any:
    raise handler.EventError(f"no {event['job']}")


def _leaving_out(event: dict[str, Any]) -> Any:
    if event["job"] == "copy-batch":
        return {"copied": 0, "skipped": 0, "bytes": 0}
    return handler.lambda_handler(event, Context())


def test_ctrl_c_leaves_it_running_and_says_how_to_look_again(
    machines: StepFunctions,
    source: S3Store,
    target: S3Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = threading.Event()

    def function(event: dict[str, Any]) -> Any:
        held.wait(60)
        return handler.lambda_handler(event, Context())

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    machines.function = function
    variables = _machine(machines)
    with monkeypatch.context() as patched:
        patched.setattr(remote, "time", SimpleNamespace(sleep=interrupt))
        done = _transfer(machines, source, target, "--remote", **variables)
    assert done.exit_code == 130
    told = done.stderr.splitlines()
    assert told[-1].endswith(f"Look again with: ingest follow {told[0]}")
    held.set()
    again = command(machines.server, "follow", told[0], AWS_ENDPOINT_URL_SFN=_sfn(machines))
    assert again.exit_code == 0
    assert len(contents(target)) == 25


NO_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:none"


@pytest.mark.parametrize(
    ("arn", "code", "told"),
    [
        ("", 2, "TRANSFER_STATE_MACHINE_ARN is not set"),
        ("transfer", 2, "it should be the ARN of a state machine"),
        (NO_MACHINE, 4, "StateMachineDoesNotExist"),
    ],
)
def test_a_state_machine_that_is_not_named_or_not_there_is_told(
    machines: StepFunctions, arn: str, code: int, told: str
) -> None:
    urls = ("s3://a-bucket/in/", "s3://b-bucket/out/")
    environ = {"AWS_ENDPOINT_URL_SFN": _sfn(machines), "TRANSFER_STATE_MACHINE_ARN": arn}
    done = command(machines.server, "transfer", *urls, "--remote", **environ)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr


def test_where_nothing_answers_it_is_told(
    moto_server: S3Server, source: S3Store, target: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.remote.executions._TRIES", 1)
    done = command(
        moto_server,
        *("transfer", source.url, f"{target.url}/out/", "--remote"),
        TRANSFER_STATE_MACHINE_ARN=NO_MACHINE,
        AWS_ENDPOINT_URL_SFN="http://127.0.0.1:1",
    )
    assert done.exit_code == 1
    assert "http://127.0.0.1:1" in done.stderr


@pytest.mark.parametrize("arn", ["none", "arn:aws:s3:::bucket"])
def test_what_is_no_execution_cannot_be_followed(moto_server: S3Server, arn: str) -> None:
    done = command(moto_server, "follow", arn)
    assert done.exit_code == 2
    assert "should be the ARN of an execution" in done.stderr


# On this machine


def test_a_local_transfer_tells_each_batch_and_is_repeatable(
    moto_server: S3Server, source: S3Store, target: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.remote.local.BATCH", 10)
    urls = (f"{source.url}/in/", f"{target.url}/out/")
    first = command(moto_server, "transfer", *urls)
    assert first.exit_code == 0
    assert first.stdout.splitlines()[:3] == [
        "batch 1: 10 copied, 0 there already; 10 B",
        "batch 2: 10 copied, 0 there already; 20 B",
        "batch 3: 5 copied, 0 there already; 10 B",
    ]
    again = lines(command(moto_server, "transfer", *urls, "--json"))
    assert [each["skipped"] for each in again[:-1]] == [10, 10, 5]
    assert [each["copied"] for each in again[:-1]] == [0, 0, 0]
    assert again[-1]["summary"]["objects"] == 25


def test_a_local_transfer_goes_to_another_store_through_this_machine(
    moto_server: S3Server, rclone_server: S3Server, source: S3Store
) -> None:
    elsewhere = store_of(rclone_server)
    key = rclone_server.access_key
    other = {
        "TARGET_ENDPOINT_URL": rclone_server.endpoint_url,
        "TARGET_ACCESS_KEY_ID": key.access_key_id,
        "TARGET_SECRET_ACCESS_KEY": key.secret_access_key,
    }
    urls = (f"{source.url}/in/", f"s3://{elsewhere.bucket}/out/")
    done = command(moto_server, "transfer", *urls, **other)
    assert done.exit_code == 0, done.output
    assert contents(elsewhere) == {f"out/{name[3:]}": body for name, body in FILES.items()}
    again = lines(command(moto_server, "transfer", *urls, "--json", **other))
    assert (again[0]["copied"], again[0]["skipped"]) == (0, 25)
    wrong = command(
        moto_server, "transfer", *urls, **{**other, "TARGET_SECRET_ACCESS_KEY": "wrong"}
    )
    assert wrong.exit_code == 3
    half = command(moto_server, "transfer", *urls, **{**other, "TARGET_ACCESS_KEY_ID": ""})
    assert half.exit_code == 2


def test_the_key_of_another_store_can_be_kept_by_aws(
    moto_server: S3Server, rclone_server: S3Server, source: S3Store
) -> None:
    elsewhere, key = store_of(rclone_server), rclone_server.access_key
    kept = {
        "TARGET_ACCESS_KEY_ID": key.access_key_id,
        "TARGET_SECRET_ACCESS_KEY": key.secret_access_key,
    }
    secrets = client(moto_server, "secretsmanager")
    found = secrets.create_secret(Name=elsewhere.bucket, SecretString=json.dumps(kept))
    other = {
        "TARGET_ENDPOINT_URL": rclone_server.endpoint_url,
        "TARGET_SECRET_ARN": found["ARN"],
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto_server.endpoint_url,
    }
    urls = (f"{source.url}/in/", f"s3://{elsewhere.bucket}/out/")
    done = command(moto_server, "transfer", *urls, **other)
    assert done.exit_code == 0, done.output
    assert len(contents(elsewhere)) == 25
    secrets.update_secret(SecretId=elsewhere.bucket, SecretString="not-json-" + kept.popitem()[1])
    aws_secret._provider.cache_clear()
    wrong = command(moto_server, "transfer", *urls, **other)
    assert wrong.exit_code == 2
    assert "has no key of a store" in wrong.stderr
    assert "not-json" not in wrong.output


@pytest.mark.parametrize(
    ("source_url", "target_url", "told"),
    [
        ("s3://a-bucket/x", "s3://a-bucket/x/y/", "cannot be copied into or over itself"),
        ("here", "s3://a-bucket/x/", "should be a URL"),
        ("s3://a-bucket/x", "ds3://b-bucket/x/", "both ends should be buckets of S3"),
    ],
)
def test_ends_that_make_no_sense_are_refused(
    moto_server: S3Server, source_url: str, target_url: str, told: str
) -> None:
    for more in ((), ("--remote",)):
        done = command(moto_server, "transfer", source_url, target_url, *more)
        assert done.exit_code == 2
        assert told in done.stderr


def test_a_bucket_that_is_not_there_is_told(moto_server: S3Server, source: S3Store) -> None:
    done = command(moto_server, "transfer", f"{source.url}/in/", "s3://nobody-made-this/x/")
    assert done.exit_code in {1, 4}
    assert "nobody-made-this" in done.stderr
    assert json.dumps(done.stdout) == '""'
