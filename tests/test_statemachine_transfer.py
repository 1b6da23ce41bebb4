"""statemachine/transfer.asl.json, executed: moto's interpreter, its S3, and our handler."""

from __future__ import annotations

import threading
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from moto.s3.models import s3_backends

import handler
import scalemodel
from ingest.remote import copying
from ingest.remote.ends import _clients
from stepfunctions import (
    RESULTS,
    Context,
    Throttled,
    TimedOut,
    copies_without_a_socket,
    definition,
    objects_in,
    step_functions,
)
from stores import command, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stepfunctions import Definition, StepFunctions
    from support import S3Server

Event = dict[str, Any]


def _definition(size: int = 1_000) -> Definition:
    """The definition, with batches of ``size`` objects and few children at once.

    Hundreds of threads that share one processor with all of S3 only get into each other's way.
    """
    made = definition("transfer")
    made["States"]["Objects"]["ItemBatcher"]["MaxItemsPerBatch"] = size
    made["States"]["Objects"]["MaxConcurrency"] = 2
    return made


class Function:
    """Our handler, in whose way something may be put, batch by batch."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Callable[[Event], Any]]] = {}
        """By the first key of a batch: what is called before each attempt, one after the other."""
        self.remaining_ms = 900_000

    def __call__(self, event: Event) -> Any:
        faults = self.faults.get(event["items"][0]["Key"] if "items" in event else event["job"])
        if faults:
            faults.pop(0)(event)
        return handler.lambda_handler(event, Context(self.remaining_ms))


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def machines(
    moto_server: S3Server, function: Function, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StepFunctions]:
    for name, value in moto_server.environment("unused-lake").items():
        monkeypatch.setenv(name, value)
    moto_server.client().create_bucket(Bucket=RESULTS)
    with step_functions(moto_server, function) as found:
        yield found


@pytest.fixture
def ends(moto_server: S3Server) -> dict[str, dict[str, str]]:
    return {
        "source": {"bucket": moto_server.new_bucket(), "prefix": "in/"},
        "target": {"bucket": moto_server.new_bucket(), "prefix": "out/"},
    }


def _fill(ends: dict[str, dict[str, str]], count: int) -> dict[str, bytes]:
    """Put objects where moto keeps them; what they are is returned, below the prefix."""
    contents = {f"{n // 1000:02}/{n:05}": b"%d" % n for n in range(count)}
    backend = s3_backends["123456789012"]["aws"]
    for key, content in contents.items():
        backend.put_object(ends["source"]["bucket"], f"in/{key}", content)
    return contents


def _arrived(ends: dict[str, dict[str, str]]) -> dict[str, bytes]:
    return objects_in(ends["target"]["bucket"], "out/")


def _raises(error: type[Exception], *arguments: str) -> Callable[[Event], None]:
    def fault(_: Event) -> None:
        raise error(*arguments)

    return fault


def _done_and_then(error: type[Exception]) -> Callable[[Event], None]:
    """The batch is copied, and the invocation fails all the same."""

    def fault(event: Event) -> None:
        handler.lambda_handler(event, Context())
        raise error

    return fault


def _done_by_half(error: type[Exception]) -> Callable[[Event], None]:
    def fault(event: Event) -> None:
        half = event["items"][: len(event["items"]) // 2]
        handler.lambda_handler({**event, "items": half}, Context())
        raise error

    return fault


def test_twenty_thousand_objects_end_complete_whatever_happens_to_the_children(
    machines: StepFunctions, function: Function, ends: dict[str, dict[str, str]]
) -> None:
    contents = _fill(ends, 20_000)
    function.faults = {
        "in/00/00000": [_raises(Throttled), _raises(Throttled)],
        "in/03/03000": [_raises(MemoryError)],
        "in/07/07000": [_done_and_then(TimedOut)],
        "in/11/11000": [_done_by_half(RuntimeError)],
        "in/19/19000": [_raises(ConnectionError)] * 4,
        "summary": [_raises(Throttled)],
    }
    failures = sum(map(len, function.faults.values()))
    _clients.cache_clear()  # boto3 takes what is put in its way with a new client
    with copies_without_a_socket(machines):
        end = machines.run(machines.machine("transfer", _definition()), ends)
    _clients.cache_clear()
    assert (end.status, end.error) == ("SUCCEEDED", None)
    told = (end.output["objects"], end.output["missing"], end.output["different"])
    assert told == (20_000, 0, 0)
    assert end.output["complete"] is True
    assert end.output["target"] == f"s3://{ends['target']['bucket']}/out/"
    assert _arrived(ends) == contents
    assert end.entered == ["Ends", "Objects", "Verify", "Verified", "Summary"]
    # As docs/scale.md reckons, and an invocation more for each that failed.
    expected = scalemodel.transfer(20_000)
    children = len(machines.runs[0].batches)
    assert children == expected.children
    assert len(machines.events) == expected.invocations + failures
    assert len(end.entered) + children == expected.transitions
    # Two of those that failed had looked for what is there before, and one after that as well.
    s3 = machines.requests
    assert s3["COPY"] == 20_000
    assert 0 <= s3["COPY"] + s3["LIST"] + s3["PUT"] - expected.writes <= 2 * 3
    assert 0 <= s3["GET"] + s3["HEAD"] - expected.reads <= 2 * 3
    assert len(machines.waits) == failures
    # Full jitter: from nothing up to what the backoff says.
    assert all(0 <= wait <= 120 for wait in machines.waits)
    assert len(set(machines.waits)) == failures


def test_a_transfer_of_ten_thousand_takes_what_is_reckoned(
    machines: StepFunctions, ends: dict[str, dict[str, str]]
) -> None:
    """Where nothing fails it is just what docs/scale.md says."""
    contents = _fill(ends, 10_000)
    _clients.cache_clear()  # boto3 takes what is put in its way with a new client
    with copies_without_a_socket(machines):
        end = machines.run(machines.machine("transfer", _definition()), ends)
    _clients.cache_clear()
    assert _arrived(ends) == contents
    expected = scalemodel.transfer(10_000)
    children = len(machines.runs[0].batches)
    assert children == expected.children
    assert len(machines.events) == expected.invocations
    assert len(end.entered) + children == expected.transitions
    s3 = machines.requests
    assert s3["COPY"] == 10_000
    assert s3["COPY"] + s3["LIST"] + s3["PUT"] == expected.writes
    assert s3["GET"] + s3["HEAD"] == expected.reads


def test_children_that_failed_run_again_when_the_execution_is_redriven(
    machines: StepFunctions, function: Function, ends: dict[str, dict[str, str]]
) -> None:
    contents = _fill(ends, 100)
    made = _definition(10)
    # What no repetition changes is not repeated: an attempt each.
    refused = [_raises(handler.EventError, "no")]
    function.faults = {"in/00/00020": list(refused), "in/00/00050": list(refused)}
    end = machines.run(machines.machine("transfer", made), ends)
    assert (end.status, end.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    assert end.entered == ["Ends", "Objects"]  # not caught, or it could not be redriven here
    assert machines.waits == []
    assert len(_arrived(ends)) == 80
    machines.events.clear()
    again = machines.redrive(made)
    assert again.status == "SUCCEEDED"
    assert again.entered == ["Objects", "Verify", "Verified", "Summary"]
    first = [event["items"][0]["Key"] for event in machines.events if "items" in event]
    assert sorted(first) == ["in/00/00020", "in/00/00050"]
    assert _arrived(ends) == contents


def test_what_a_tolerated_child_left_out_is_named_and_copied_by_the_next(
    machines: StepFunctions, function: Function, ends: dict[str, dict[str, str]]
) -> None:
    contents = _fill(ends, 100)
    machine = machines.machine("transfer", _definition(4))
    function.faults = {"in/00/00080": [_raises(handler.EventError, "no")]}
    end = machines.run(machine, ends)
    assert (end.status, end.error) == ("FAILED", "Incomplete")
    assert end.entered[-2:] == ["Verify", "NotComplete"]
    assert "4 of 100 objects" in str(end.cause)
    assert "in/00/00080" in str(end.cause)
    machines.events.clear()
    end = machines.run(machine, ends)
    assert end.status == "SUCCEEDED"
    assert _arrived(ends) == contents


def test_objects_that_are_there_already_are_not_copied_again(
    machines: StepFunctions, ends: dict[str, dict[str, str]]
) -> None:
    _fill(ends, 60)
    machine = machines.machine("transfer", _definition(20))
    assert machines.run(machine, ends).status == "SUCCEEDED"
    before = {key: each.last_modified for key, each in _versions(ends).items()}
    backend = s3_backends["123456789012"]["aws"]
    backend.put_object(ends["target"]["bucket"], "out/00/00007", b"other")
    backend.put_object(ends["source"]["bucket"], "in/more", b"new")
    assert machines.run(machine, ends).status == "SUCCEEDED"
    after = {key: each.last_modified for key, each in _versions(ends).items()}
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed == {"out/00/00007", "out/more"}
    assert _arrived(ends)["00/00007"] == b"7"


def _versions(ends: dict[str, dict[str, str]]) -> dict[str, Any]:
    bucket = s3_backends["123456789012"]["aws"].buckets[ends["target"]["bucket"]]
    return {key: bucket.keys[key] for key in bucket.keys}


def test_a_child_that_does_not_answer_in_time_is_begun_again(
    machines: StepFunctions, function: Function, ends: dict[str, dict[str, str]]
) -> None:
    contents = _fill(ends, 20)
    made = _definition(10)
    made["States"]["Objects"]["ItemProcessor"]["States"]["Copy"]["TimeoutSeconds"] = 1
    released = threading.Event()
    function.faults = {"in/00/00010": [lambda _: released.wait(60)]}
    end = machines.run(machines.machine("transfer", made), ends)
    released.set()
    assert end.status == "SUCCEEDED"
    assert len(machines.waits) >= 1  # those of the machine it runs on are no concern here
    assert _arrived(ends) == contents


def test_two_long_listings_are_compared_in_several_invocations(
    machines: StepFunctions,
    function: Function,
    ends: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _fill(ends, 100)
    monkeypatch.setattr(copying, "_COMPARED_AT_ONCE", 30)
    machine = machines.machine("transfer", _definition(50))
    function.faults = {"summary": [lambda _: setattr(function, "remaining_ms", 0)]}
    end = machines.run(machine, ends)
    assert end.status == "SUCCEEDED"
    assert end.output["objects"] == 100
    assert end.output["bytes"] == sum(len(b"%d" % n) for n in range(100))
    assert [event["job"] for event in machines.events].count("summary") == 4
    assert end.entered[2:] == ["Verify", "Verified"] * 4 + ["Summary"]


def test_a_bucket_that_is_not_there_ends_in_a_clear_failure(
    machines: StepFunctions, ends: dict[str, dict[str, str]]
) -> None:
    _fill(ends, 10)
    ends["target"]["bucket"] = "nobody-made-this"
    end = machines.run(machines.machine("transfer", _definition(5)), ends)
    assert (end.status, end.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")


def test_here_and_there_land_the_same_bytes_under_the_same_keys(
    machines: StepFunctions, moto_server: S3Server, ends: dict[str, dict[str, str]]
) -> None:
    contents = _fill(ends, 30)
    s3 = moto_server.client()
    bucket = ends["source"]["bucket"]
    s3.put_object(
        Bucket=bucket, Key="in/a b/ü+.csv", Body=b"x", ContentType="text/csv", Metadata={"a": "1"}
    )
    assert machines.run(machines.machine("transfer", _definition(7)), ends).status == "SUCCEEDED"
    url = f"s3://{ends['target']['bucket']}/here/"
    done = command(moto_server, "transfer", "--local", f"s3://{bucket}/in/", url, "--json")
    assert done.exit_code == 0
    summary = lines(done)[-1]["summary"]
    assert (summary["objects"], summary["missing"]) == (31, 0)
    here = objects_in(ends["target"]["bucket"], "here/")
    assert here == _arrived(ends) == {**contents, "a b/ü+.csv": b"x"}
    heads = [
        s3.head_object(Bucket=ends["target"]["bucket"], Key=f"{prefix}a b/ü+.csv")
        for prefix in ("here/", "out/")
    ]
    for head in heads:
        assert (head["ContentType"], head["Metadata"]) == ("text/csv", {"a": "1"})


def test_a_machine_that_is_given_too_much_says_so(machines: StepFunctions) -> None:
    end = machines.run(machines.machine("transfer", _definition(5)), {"source": "s3://a/"})
    assert end.status == "FAILED"
    assert end.error == "States.Runtime"


def test_batches_keep_within_what_a_child_can_be_given(
    machines: StepFunctions, ends: dict[str, dict[str, str]]
) -> None:
    backend = s3_backends["123456789012"]["aws"]
    for n in range(300):
        backend.put_object(ends["source"]["bucket"], f"in/{n:03}{'k' * 900}", b"")
    assert machines.run(machines.machine("transfer", _definition()), ends).status == "SUCCEEDED"
    [run] = machines.runs
    assert len(run.batches) > 1
    items = list(chain.from_iterable(batch["Items"] for batch in run.batches))
    assert len(items) == 300
