"""Both state machines: what holds for either, and what moto's interpreter lacks."""

from __future__ import annotations

import json
import re
from inspect import getsource
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from moto.stepfunctions.parser.asl.component.state.exec.state_map.item_reader.eval import (
    resource_eval_s3,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import (
    distributed_iteration_component,
)

import ingest.errors
from stepfunctions import RESULTS, definition, step_functions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepfunctions import Definition, StepFunctions
    from support import S3Server

BOTH = ("backfill", "transfer")


@pytest.fixture
def machines(moto_server: S3Server) -> Iterator[StepFunctions]:
    moto_server.client().create_bucket(Bucket=RESULTS)
    with step_functions(moto_server, lambda event: event) as found:
        yield found


def _tasks(part: Any) -> dict[str, dict[str, Any]]:
    """Every task of a definition, also of children, by its name."""
    found = {}
    for name, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, dict):
            if value.get("Type") == "Task":
                found[name] = value
            found |= _tasks(value)
    return found


# What is said


@pytest.mark.parametrize("name", BOTH)
def test_every_task_is_repeated_with_backoff_and_jitter_but_what_no_repetition_changes(
    name: str,
) -> None:
    for task in _tasks(definition(name)).values():
        never, *others = task["Retry"]
        assert never["MaxAttempts"] == 0
        assert {"EventError", "SettingsError", "CredentialsRefused"} <= set(never["ErrorEquals"])
        assert others[-1]["ErrorEquals"] == ["States.ALL"]
        for retrier in others:
            assert retrier["JitterStrategy"] == "FULL"
            assert retrier["MaxAttempts"] >= 3
            assert retrier["BackoffRate"] >= 1
            longest = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** retrier["MaxAttempts"]
            assert retrier.get("MaxDelaySeconds", longest) <= 120


@pytest.mark.parametrize("name", BOTH)
def test_errors_of_ours_are_called_as_they_are(name: str) -> None:
    """Step Functions tells errors by the names of their classes."""
    ours = {
        error
        for task in _tasks(definition(name)).values()
        for retrier in task["Retry"]
        for error in retrier["ErrorEquals"]
        if not re.match(r"(Lambda|Sandbox|States)\.", error)
    }
    assert {"DeadlineExceeded", "EventError"} < ours
    assert all(issubclass(getattr(ingest.errors, each), ingest.errors.IngestError) for each in ours)
    never = {each for each in ours if each != "DeadlineExceeded"}
    assert not any(getattr(ingest.errors, each).retryable for each in never)


@pytest.mark.parametrize("name", BOTH)
def test_what_fails_outside_of_the_map_ends_with_its_own_error_and_cause(name: str) -> None:
    states = definition(name)["States"]
    for state in states.values():
        if state["Type"] == "Task":
            [catcher] = state["Catch"]
            end = states[catcher["Next"]]
            assert (end["Type"], catcher["ErrorEquals"]) == ("Fail", ["States.ALL"])
            assert end["ErrorPath"] == catcher["ResultPath"] + ".Error"
            assert end["CausePath"] == catcher["ResultPath"] + ".Cause"
    [mapped] = [state for state in states.values() if state["Type"] == "Map"]
    # A state that was left by a Catch is not the one that a redrive goes on from.
    assert "Catch" not in mapped
    assert mapped["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert 0 < mapped["ToleratedFailurePercentage"] < 50


# What the interpreter lacks: each of these that fails can be left out of stepfunctions.py


def _map_over(bucket: str, **more: Any) -> Definition:
    """Each object of a bucket, or what ``more`` says instead, through a child that does nothing."""
    return {
        "StartAt": "All",
        "States": {
            "All": {
                "Type": "Map",
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:listObjectsV2",
                    "Parameters": {"Bucket": bucket},
                },
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "One",
                    "States": {"One": {"Type": "Pass", "End": True}},
                },
                "MaxConcurrency": 1,
                "End": True,
                **more,
            }
        },
    }


def test_it_has_no_item_batcher(machines: StepFunctions) -> None:
    made = _map_over("any", ItemBatcher={"MaxItemsPerBatch": 2})
    with pytest.raises(ClientError, match="ItemBatcher"):
        machines.client.create_state_machine(
            name="batcher", definition=json.dumps(made), roleArn="arn:aws:iam::123456789012:role/r"
        )


def test_it_reads_one_page_of_a_listing() -> None:
    source = getsource(resource_eval_s3)
    assert "paginator" not in source
    assert "ContinuationToken" not in source


def test_it_does_not_heed_tolerated_failures() -> None:
    assert "ExceedToleratedFailure" not in getsource(distributed_iteration_component)


def test_it_does_not_redrive(machines: StepFunctions) -> None:
    arn = "arn:aws:states:us-east-1:123456789012:execution:none:none"
    with pytest.raises(ClientError) as told:
        machines.client.redrive_execution(executionArn=arn)
    assert "ExecutionDoesNotExist" not in str(told.value)


def test_it_writes_no_results(machines: StepFunctions, moto_server: S3Server) -> None:
    bucket = moto_server.new_bucket()
    writer = {
        "Resource": "arn:aws:states:::s3:putObject",
        "Parameters": {"Bucket": bucket, "Prefix": "runs"},
    }
    made = _map_over(bucket, ResultWriter=writer)
    reader = made["States"]["All"].pop("ItemReader")
    assert reader["Parameters"] == {"Bucket": bucket}
    made["States"]["All"]["ItemReader"] = {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket": bucket, "Key": "items"},
    }
    s3 = moto_server.client()
    s3.put_object(Bucket=bucket, Key="items", Body=b"[1, 2]")
    made["States"]["All"]["ItemBatcher"] = {"MaxItemsPerBatch": 1, "BatchInput": {}}
    end = machines.run(machines.machine("writer", made), {})
    assert end.status == "SUCCEEDED"
    details = end.output["ResultWriterDetails"]
    body = s3.get_object(Bucket=bucket, Key=details["Key"])["Body"].read()
    assert json.loads(body)["ResultFiles"] == {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
