"""Executions of Step Functions: start one, and see how far it is until it ends."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingest.errors import CredentialsRefused, ExecutionFailed, NotFound, SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.settings.remote import StateMachines

_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 15.0
_CONNECT_S, _READ_S, _TRIES = 5, 30, 5
_ARN = re.compile(
    r"arn:aws[a-z-]*:states:[a-z0-9-]+:[0-9]{12}:execution:[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+"
)
_STRANGERS = frozenset(
    "AccessDeniedException ExpiredTokenException InvalidSignatureException "
    "MissingAuthenticationToken UnrecognizedClientException".split()
)
_MISSING = frozenset("ExecutionDoesNotExist StateMachineDoesNotExist".split())
_REDRIVEN = "States.ExceedToleratedFailureThreshold"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an execution is. ``items`` counts what its Map was given, by status.

    ``status`` is RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED; ``output`` and ``error`` say
    how it ended.
    """

    status: str
    items: Mapping[str, int] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    cause: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status != "RUNNING"


class Executions:
    """Step Functions, in the region of an ARN; boto3 loads with the first of them."""

    def __init__(self, arn: str, endpoint_url: str | None = None) -> None:
        """Make the client. Raises ``SettingsError`` where credentials are not to be had."""
        with _translated("use Step Functions"):
            self._client = _client(arn.split(":")[3], endpoint_url)

    def start(self, state_machine: str, given: Mapping[str, Any]) -> str:
        """Start an execution with the input ``given``, and return its ARN."""
        # With a name, a request that is sent again, since no answer came, starts no second one.
        name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(4)}"
        with _translated(f"start {state_machine}"):
            started = self._client.start_execution(
                stateMachineArn=state_machine,
                name=name,
                input=json.dumps(given, ensure_ascii=False),
            )
        return str(started["executionArn"])

    def look(self, execution: str) -> Progress:
        """Return how far an execution is."""
        with _translated(f"look at {execution}"):
            found = self._client.describe_execution(executionArn=execution)
            runs = self._client.list_map_runs(executionArn=execution)["mapRuns"]
            counts = {}
            if runs:
                newest = max(runs, key=lambda each: each["startDate"])
                run = self._client.describe_map_run(mapRunArn=newest["mapRunArn"])
                counts = {name: count for name, count in run["itemCounts"].items() if count}
        return Progress(
            found["status"],
            counts,
            json.loads(found.get("output") or "{}"),
            found.get("error"),
            found.get("cause"),
        )

    def follow(self, execution: str, pause: Callable[[float], object]) -> Iterator[Progress]:
        """Yield how far an execution is each time that has changed, until it has ended.

        ``pause`` is called with the seconds to wait before the next look.
        """
        before, wait_s = None, _FIRST_WAIT_S
        while True:
            now = self.look(execution)
            if now != before:
                yield now
            if now.has_ended:
                return
            before = now
            pause(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 1.5)


def machine_of(machines: StateMachines, kind: str) -> str:
    """Return the ARN of the state machine for ``kind``, backfill or transfer.

    Raises ``SettingsError`` where no setting has it.
    """
    found = machines.backfill if kind == "backfill" else machines.transfer
    if not found:
        raise SettingsError(
            f"{kind.upper()}_STATE_MACHINE_ARN is not set; it should be the ARN of the state "
            f"machine to start",
            hint=f"it is the output {kind.title()}StateMachineArn of a stack with LargeJobs=true",
        )
    return found


def checked_execution(arn: str) -> str:
    """Return ``arn``. Raises ``UsageError`` where it is no execution's."""
    if not _ARN.fullmatch(arn):
        raise UsageError(f"{arn!r} should be the ARN of an execution, as it was shown at its start")
    return arn


def failure(execution: str, end: Progress) -> ExecutionFailed:
    """Return the error that says how an execution has ended that did not succeed."""
    told = ": ".join(filter(None, (end.error, _message(end.cause))))
    hint = "the same command again does what is missing"
    if end.error == _REDRIVEN:
        hint = f"what failed again: aws stepfunctions redrive-execution --execution-arn {execution}"
    return ExecutionFailed(f"{execution} has {end.status}{': ' if told else ''}{told}", hint=hint)


def _message(cause: str | None) -> str:
    """Return what the function has said, where the cause is what Lambda makes of it."""
    try:
        found = json.loads(cause or "")
    except ValueError:
        return cause or ""
    said = found.get("errorMessage") if isinstance(found, dict) else None
    return said if isinstance(said, str) else cause or ""


def _client(region: str, endpoint_url: str | None) -> Any:  # noqa: ANN401 - boto3 has no types
    import boto3  # noqa: PLC0415 - heavy, and this alone needs it
    from botocore.config import Config  # noqa: PLC0415 - as above

    options: dict[str, Any] = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"mode": "standard", "total_max_attempts": _TRIES},
        # AWS_ENDPOINT_URL is where the lake is, which need not be at AWS at all.
        "ignore_configured_endpoint_urls": True,
    }
    session: Any = boto3.Session(region_name=region)
    return session.client("stepfunctions", endpoint_url=endpoint_url, config=Config(**options))


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise what boto3 raises as errors of ours."""
    from botocore import exceptions  # noqa: PLC0415 - as above

    try:
        yield
    except exceptions.ClientError as error:
        answer = error.response.get("Error", {})
        code, said = answer.get("Code", ""), " ".join(answer.get("Message", "").split())
        told = f"cannot {what}: {code}: {said}"
        if code in _STRANGERS:
            raise CredentialsRefused(told, hint="check the keys, and what they allow") from None
        if code in _MISSING:
            raise NotFound(told) from None
        raise ExecutionFailed(told) from None
    except (exceptions.NoCredentialsError, exceptions.ProfileNotFound) as error:
        keys = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise SettingsError(f"cannot {what}: {error}", hint=keys) from None
    except exceptions.BotoCoreError as error:
        raise ExecutionFailed(f"cannot {what}: {error}") from None
