"""Step Functions for tests: moto's interpreter, with what it lacks added, and ours as the function.

Moto executes a definition of statemachine/ as it is but for what follows, each of which AWS does
otherwise. ``test_statemachine.py`` fails once moto has learned one of them.

* ``ItemBatcher`` is no word of its grammar: it is taken out, and the batches are made here.
* ``ListObjectsV2`` as an ``ItemReader`` reads one page: here it reads all.
* ``ToleratedFailurePercentage`` is read and not heeded: here a Map Run fails that exceeds it.
* ``RedriveExecution`` is unknown: here a new execution begins at the Map, with its input, and of
  the batches runs those that failed. (AWS goes on in the same execution.)
* ``ResultWriter`` writes a manifest of no results. Nothing of ours reads them.
* Paths in a ``ResultWriter`` are looked for in the results, not in the input: there are none.
* Its ``itemCounts`` count batches, and its ``executionCounts`` no failures.
* JSONata is never evaluated: the definitions are in JSONPath.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import unquote, urlsplit

from botocore import handlers
from botocore.awsrequest import AWSResponse
from moto import backends
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.botocore_stubber import MockRawResponse
from moto.core.config import default_user_config
from moto.core.serialize import TimestampSerializer
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response
from moto.stepfunctions.parser.api import ExecutionFailedEventDetails, HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_map.item_reader.eval import (
    resource_eval_s3,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import (
    distributed_iteration_component,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.utils.boto_client import boto_client_for
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication

from cloudformation import PSEUDO
from stack import client
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support import S3Server

FUNCTION = f"arn:aws:lambda:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:function:worker"
RESULTS = "results"
"""The bucket for what Maps write of their children."""
_ENDED_S = 300.0
_numbers = itertools.count()

Definition = dict[str, Any]


class Throttled(Exception):
    """Lambda has no room for another invocation."""


class TimedOut(Exception):
    """Lambda has ended the function: its time was up."""


class Context:
    """What Lambda tells a function of its invocation."""

    function_name = "worker"
    aws_request_id = "1"

    def __init__(self, remaining_ms: int = 900_000) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


def objects_in(bucket: str, prefix: str) -> dict[str, bytes]:
    """What moto's S3 has below a prefix, by the rest of the key."""
    keys = s3_backends[PSEUDO["AWS::AccountId"]]["aws"].buckets[bucket].keys
    return {key[len(prefix) :]: keys[key].value for key in keys if key.startswith(prefix)}


def definition(name: str) -> Definition:
    """One of statemachine/, as the stack fills it in."""
    text = (REPOSITORY / "statemachine" / f"{name}.asl.json").read_text(encoding="utf-8")
    filled = {"Partition": "aws", "FunctionArn": FUNCTION, "ResultBucket": RESULTS}
    for variable, value in filled.items():
        text = text.replace("${" + variable + "}", value)
    assert "${" not in text
    found: Definition = json.loads(text)
    return found


@dataclass
class MapRun:
    """What a Map was given, and the numbers of the batches that failed."""

    state: str
    children: int
    batches: list[Any]
    failed: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """An execution that is over."""

    arn: str
    status: str
    output: Any
    error: str | None
    cause: str | None
    entered: list[str]
    """The states of the parent, in order."""


@dataclass
class StepFunctions:
    """State machines in moto, whose tasks all call ``function`` with the event."""

    server: S3Server
    function: Callable[[dict[str, Any]], Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    """Each invocation's event, also of those that failed."""
    waits: list[float] = field(default_factory=list)
    """The seconds that each retry would have waited for."""
    runs: list[MapRun] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    """Of S3, by what they are charged as: LIST, COPY, PUT, GET, HEAD, DELETE."""
    _batchers: dict[str, Any] = field(default_factory=dict)
    _only: list[Any] | None = None
    _entered: dict[str, Any] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    _seen: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def client(self) -> Any:
        return client(self.server, "stepfunctions")

    def machine(self, name: str, made_of: Definition) -> str:
        """Make a state machine and return its ARN."""
        known = json.loads(json.dumps(made_of))
        self._batchers = {
            state: each.pop("ItemBatcher")
            for state, each in known["States"].items()
            if each["Type"] == "Map"
        }
        made = self.client.create_state_machine(
            name=_new(name),
            definition=json.dumps(known),
            roleArn="arn:aws:iam::123456789012:role/machine",
        )
        return str(made["stateMachineArn"])

    def run(self, machine: str, given: Mapping[str, Any]) -> Ended:
        """Execute, and return once it is over."""
        started = self.client.start_execution(
            stateMachineArn=machine, name=_new("run"), input=json.dumps(given)
        )
        return self.ended(started["executionArn"])

    def ended(self, arn: str) -> Ended:
        """Wait for the end of an execution."""
        with self._changed:
            assert self._changed.wait_for(lambda: arn in self._over, _ENDED_S)
        found = self.client.describe_execution(executionArn=arn)
        events = self.client.get_execution_history(executionArn=arn)["events"]
        entered = [
            each["stateEnteredEventDetails"]
            for each in events
            if "stateEnteredEventDetails" in each
        ]
        self._entered = {each["name"]: json.loads(each["input"]) for each in entered}
        return Ended(
            arn,
            found["status"],
            json.loads(found["output"]) if "output" in found else None,
            found.get("error"),
            found.get("cause"),
            [each["name"] for each in entered],
        )

    def wait_for_an_end(self) -> None:
        """Return once another execution is over than there were the last time."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._over) > self._seen, _ENDED_S)
            self._seen = len(self._over)

    def redrive(self, made_of: Definition) -> Ended:
        """Go on from the Map of the execution that ended last, with the children that failed."""
        run = self.runs[-1]
        assert run.failed
        self._only = [run.batches[number] for number in run.failed]
        again = {**made_of, "StartAt": run.state}
        return self.run(self.machine("again", again), self._entered[run.state])

    # What moto calls

    def over(self, arn: str) -> None:
        """Take note of the end of an execution."""
        with self._changed:
            self._over.add(arn)
            self._changed.notify_all()

    def invoke(self, payload: bytes, headers: dict[str, str]) -> bytes:
        """Answer an invocation as Lambda does."""
        event = json.loads(payload)
        self.events.append(event)
        try:
            return json.dumps(self.function(event)).encode()
        except Throttled:
            error = LambdaClientError("TooManyRequestsException", "Rate Exceeded.")
            error.code = 429
            raise error from None
        except TimedOut:
            kind, message = "Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 900.00 s"
        except Exception as error:  # noqa: BLE001 - as Lambda does
            kind, message = type(error).__name__, str(error)
        headers["x-amz-function-error"] = "Unhandled"
        return json.dumps({"errorType": kind, "errorMessage": message}).encode()

    def map_run(self, run: Callable[..., None], component: Any, env: Any, given: Any) -> None:
        """Cut the items into batches, run them, and count what failed."""
        state, items = env.states.get_input(), env.stack.pop()
        batches = _batches(self._batchers[given.state_name], state, items)
        if self._only is not None:
            batches, self._only = self._only, None
        this = MapRun(given.state_name, given.max_concurrency, batches)
        self.runs.append(this)
        env.stack.append(batches)
        run(component, env, given)
        this.failed = [number for number, each in enumerate(env.stack[-1]) if each is None]
        if len(this.failed) > len(batches) * given.tolerated_failure_percentage / 100:
            _raise_exceeded(env, len(this.failed), len(batches))


def _new(name: str) -> str:
    """A name that nothing else in moto has: it lives as long as this process does."""
    return f"{name}-{next(_numbers)}"


def _batches(batcher: Mapping[str, Any], state: Any, items: list[Any]) -> list[Any]:
    """What ItemBatcher makes of ``items``."""
    size = (
        batcher.get("MaxItemsPerBatch") or state[batcher["MaxItemsPerBatchPath"].removeprefix("$.")]
    )
    most = batcher.get("MaxInputBytesPerBatch", 262_144)
    shared = {
        name.removesuffix(".$"): state[value.removeprefix("$.")] if name.endswith(".$") else value
        for name, value in batcher["BatchInput"].items()
    }
    whole: list[list[Any]] = []
    length = 0
    for item in items:
        added = len(json.dumps(item)) + 1
        if not whole or len(whole[-1]) == size or length + added > most:
            whole.append([])
            length = len(json.dumps(shared)) + 32
        whole[-1].append(item)
        length += added
    return [{"BatchInput": shared, "Items": each} for each in whole]


def _raise_exceeded(env: Any, failed: int, of: int) -> None:
    kind = StatesErrorNameType.StatesExceedToleratedFailureThreshold
    details = ExecutionFailedEventDetails(error=kind.to_name(), cause=f"{failed} of {of} failed")
    raise FailureEventException(
        FailureEvent(
            env,
            StatesErrorName(typ=kind),
            HistoryEventType.ExecutionFailed,
            EventDetails(executionFailedEventDetails=details),
        )
    )


def _all_objects(env: Any, part: Any, credentials: Any) -> None:
    """Every page of a listing, its objects as Step Functions writes them."""
    s3 = boto_client_for(region=part.region, service="s3", state_credentials=credentials)
    pages = s3.get_paginator("list_objects_v2").paginate(**env.stack.pop())
    env.stack.append(
        [
            {
                "Etag": each["ETag"],
                "Key": each["Key"],
                "LastModified": int(each["LastModified"].timestamp()),
                "Size": each["Size"],
                "StorageClass": each["StorageClass"],
            }
            for page in pages
            for each in page.get("Contents", [])
        ]
    )


@contextmanager
def step_functions(
    server: S3Server, function: Callable[[dict[str, Any]], Any]
) -> Iterator[StepFunctions]:
    """Step Functions in ``server``, which is moto's own in this process."""
    found = StepFunctions(server, function)
    component = distributed_iteration_component.DistributedIterationComponent
    run, terminated = component._map_run, BaseExecutionWorkerCommunication.terminated
    object_response, bucket_response = S3Response.key_response, S3Response.bucket_response

    def map_run(self: Any, env: Any, eval_input: Any) -> None:
        found.map_run(run, self, env, eval_input)

    def invoke(*args: Any) -> bytes:
        *_, body, _, response_headers = args
        return found.invoke(body if isinstance(body, bytes) else body.encode(), response_headers)

    def over(self: Any) -> None:
        terminated(self)
        found.over(self.execution.exec_arn)

    def of_object(self: Any, request: Any, *args: Any) -> Any:
        copied = "x-amz-copy-source" in request.headers
        found.requests["COPY" if copied else request.method] += 1
        return object_response(self, request, *args)

    def of_bucket(self: Any, request: Any, *args: Any) -> Any:
        found.requests["LIST"] += request.method == "GET"
        return bucket_response(self, request, *args)

    config = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
    reader = resource_eval_s3.ResourceEvalS3
    with ExitStack() as patches:
        for patch in (
            mock.patch.dict("os.environ", {"MOTO_PORT": server.endpoint_url.rpartition(":")[2]}),
            mock.patch.dict(default_user_config, config),
            mock.patch.object(component, "_map_run", map_run),
            mock.patch.object(BaseExecutionWorkerCommunication, "terminated", over),
            mock.patch.object(LambdaSimpleBackend, "invoke", invoke),
            mock.patch.object(S3Response, "key_response", of_object),
            mock.patch.object(S3Response, "bucket_response", of_bucket),
            mock.patch.object(reader, "_handle_list_objects_v2", staticmethod(_all_objects)),
            mock.patch.object(retrier_decl, "time", SimpleNamespace(sleep=found.waits.append)),
            *_faster(),
        ):
            patches.enter_context(patch)
        yield found


@contextmanager
def copies_without_a_socket(machines: StepFunctions) -> Iterator[None]:
    """Let moto's S3 copy what boto3 asks for, without HTTP and the layers that read and write it.

    For many thousands of plain copies: three quarters of the time would go into those.
    """
    backend = s3_backends[PSEUDO["AWS::AccountId"]]["aws"]

    def copy(request: Any, **_: Any) -> AWSResponse:
        bucket, _, key = unquote(urlsplit(request.url).path.lstrip("/")).partition("/")
        origin = unquote(_text(request.headers["x-amz-copy-source"])).partition("/")
        found = backend.get_object(origin[0], origin[2])
        assert found
        assert _text(request.headers["x-amz-copy-source-if-match"]) == found.etag
        backend.copy_object(found, bucket, key)
        machines.requests["COPY"] += 1
        body = f"<CopyObjectResult><ETag>{found.etag}</ETag></CopyObjectResult>"
        return AWSResponse(request.url, 200, {}, MockRawResponse(body))  # type: ignore[arg-type]

    handler = ("before-send.s3.CopyObject", copy)
    handlers.BUILTIN_HANDLERS.append(handler)
    try:
        yield
    finally:
        handlers.BUILTIN_HANDLERS.remove(handler)


def _text(header: str | bytes) -> str:
    return header.decode() if isinstance(header, bytes) else header


def _faster() -> Iterator[AbstractContextManager[object]]:
    """What moto does anew for each request, and a third of its time goes into."""
    known = tuple(backends.list_of_moto_modules())
    yield mock.patch.object(backends, "list_of_moto_modules", mock.Mock(return_value=known))
    written = TimestampSerializer._convert_timestamp_to_str
    memory: dict[tuple[str, str], str] = {}

    def convert(self: Any, value: Any, form: str) -> str:
        if (str(value), form) not in memory:
            memory[str(value), form] = written(self, value, form)
        return memory[str(value), form]

    yield mock.patch.object(TimestampSerializer, "_convert_timestamp_to_str", convert)
