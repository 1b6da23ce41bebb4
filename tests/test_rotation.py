"""A run whose token AWS keeps: what is asked of AWS, and a token that is replaced meanwhile."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from ingest.sandbox import Fault, Sandbox
from lambdas import Function, invoked
from runs import SCHEDULED, files, main, objects, program, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox.replies import Reply
    from ingest.sandbox.server import SeenRequest
    from support import S3Server

OLD, NEW, NEWER = "eyJ.old.token", "eyJ.new.token", "eyJ.newer.token"
BOTO3 = {"boto3", "botocore"}

_numbers = itertools.count()


class Secret:
    """A secret of Secrets Manager, and the variables of a function that reads it."""

    def __init__(self, server: S3Server, token: str) -> None:
        self._client: Any = boto3.client(
            "secretsmanager",
            endpoint_url=server.endpoint_url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        name = f"tmdb-{os.getpid()}-{next(_numbers)}"
        self.arn = self._client.create_secret(Name=name, SecretString=token)["ARN"]
        self._server = server

    def put(self, token: str) -> None:
        self._client.put_secret_value(SecretId=self.arn, SecretString=token)

    def environ(self, sandbox: Sandbox, **more: str) -> dict[str, str]:
        own = {
            "TMDB_SECRET_ARN": self.arn,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self._server.endpoint_url,
        }
        environ = variables(sandbox, **self._server.environment(self._server.new_bucket()), **own)
        del environ["TMDB_ACCESS_TOKEN"]
        return {**environ, **more}


@pytest.fixture
def secret(moto_server: S3Server) -> Secret:
    return Secret(moto_server, OLD)


def accepting(*tokens: str) -> dict[str, Any]:
    return {"credentials": frozenset(tokens)}


def statuses_seen(sandbox: Sandbox) -> list[int | None]:
    return [request.status for request in sandbox.requests]


class Rotating(Sandbox):
    """A stand-in whose token is replaced, and the secret with it, when page 3 is asked for."""

    def __init__(self, secret: Secret) -> None:
        super().__init__(credentials=frozenset({OLD}))
        self._secret = secret

    def _honest_reply(self, request: SeenRequest, fault: Fault | None) -> Reply:
        if request.query["page"] == ["3"] and self._credentials == {OLD}:
            self._secret.put(NEW)
            self._credentials = frozenset({NEW})
        return super()._honest_reply(request, fault)


# What is asked of AWS


def test_a_run_signs_in_with_what_aws_keeps_and_asks_for_it_once(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(OLD, NEW))
    with Function(secret.environ(sandbox)) as function:
        first = function.invoke(SCHEDULED)
        secret.put(NEW)
        second = function.invoke({"date": "2026-11-01"})
    assert (first.error, second.error) == (None, None)
    assert statuses_seen(sandbox) == [200] * 20
    assert {request.headers["authorization"] for request in sandbox.requests} == {f"Bearer {OLD}"}


@pytest.mark.parametrize("again", [False, True], ids=["dry-run", "landed-already"])
def test_what_asks_tmdb_for_nothing_asks_aws_for_nothing_and_loads_no_boto3(
    stand_in: Callable[..., Sandbox], secret: Secret, *, again: bool
) -> None:
    sandbox = stand_in(**accepting(OLD))
    environ = secret.environ(sandbox)
    if again:
        assert invoked(environ, SCHEDULED).error is None
    away = {**environ, "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:1"}
    done = invoked(away, SCHEDULED if again else {"dry_run": True})
    assert done.error is None
    assert not BOTO3 & done.modules


def test_boto3_is_loaded_only_where_a_secret_is_read(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(OLD))
    environ = secret.environ(sandbox)
    assert invoked(environ, SCHEDULED).modules > BOTO3
    del environ["TMDB_SECRET_ARN"]
    done = invoked({**environ, "TMDB_ACCESS_TOKEN": OLD}, {"date": "2026-11-01"})
    assert done.error is None
    assert not BOTO3 & done.modules


def test_a_token_of_the_environment_wins_and_says_that_the_secret_is_not_read(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(NEW))
    done = invoked(secret.environ(sandbox, TMDB_ACCESS_TOKEN=NEW), SCHEDULED)
    assert done.error is None
    (warning,) = (line for line in done.logs if line["level"] == "WARNING")
    assert warning["message"] == (
        f"TMDB_ACCESS_TOKEN or TMDB_API_KEY is set: the secret {secret.arn} is not read"
    )
    assert not BOTO3 & done.modules


def test_by_hand_a_secret_is_read_as_well_and_its_failure_has_an_exit_code(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(OLD))
    environ = secret.environ(sandbox)
    del environ["BUCKET_NAME"]
    assert main(environ).code == 0
    assert len(files()) == 4
    done = main({**environ, "TMDB_SECRET_ARN": "no-such-secret", "AWS_REGION": "us-east-1"})
    assert done.code == 2
    assert "cannot read the secret no-such-secret: ResourceNotFoundException" in done.error


# A token that is replaced


def test_a_token_replaced_between_two_invocations_is_read_anew_after_a_401(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(OLD))
    with Function(secret.environ(sandbox)) as function:
        assert function.invoke(SCHEDULED).error is None
        secret.put(NEW)
        sandbox._credentials = frozenset({NEW})
        before = len(sandbox.requests)
        done = function.invoke({"date": "2026-11-01"})
        third = function.invoke({"date": "2026-11-02"})
    assert (done.error, third.error) == (None, None)
    tokens = [request.headers["authorization"] for request in sandbox.requests[before:]]
    # Of ten that start together, some were on their way when the first was refused.
    assert 1 <= tokens.count(f"Bearer {OLD}") <= 10
    assert tokens.count(f"Bearer {NEW}") == 20
    retries = sum(done.measured(name)["Retries"] for name in ("movies", "series"))
    assert retries == tokens.count(f"Bearer {OLD}")
    (warning,) = (line for line in done.logs if line["level"] == "WARNING")
    assert "HTTP 401" in warning["message"]
    assert "read anew" in warning["message"]


def test_a_token_replaced_in_the_middle_of_a_run_is_read_anew_and_both_datasets_land(
    moto_server: S3Server, secret: Secret
) -> None:
    with Rotating(secret) as sandbox:
        environ = secret.environ(sandbox)
        done = invoked(environ, SCHEDULED)
    assert done.error is None
    assert len(objects(moto_server, environ["BUCKET_NAME"])) == 4
    assert 401 in statuses_seen(sandbox)
    assert statuses_seen(sandbox).count(200) == 10


def test_a_new_token_that_is_refused_too_ends_the_run(
    moto_server: S3Server, stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(OLD))
    environ = secret.environ(sandbox)
    with Function(environ) as function:
        function.invoke(SCHEDULED)
        secret.put(NEW)
        sandbox._credentials = frozenset({NEWER})
        before = len(sandbox.requests)
        done = function.invoke({"date": "2026-11-01"})
        asked = statuses_seen(sandbox)[before:]
        # And a later one, when everything is right again, finds its way.
        secret.put(NEWER)
        last = function.invoke({"date": "2026-11-02"})
    assert done.error
    assert done.error.startswith("CredentialsRefused: ")
    assert "HTTP 401" in done.error
    assert f"check the one in the secret {secret.arn}" in done.error
    # All that start together with either token; none of them twice with the same one.
    assert set(asked) == {401}
    assert len(asked) <= 20
    assert last.error is None
    assert len(objects(moto_server, environ["BUCKET_NAME"])) == 8


def test_the_same_token_read_anew_is_not_sent_again(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(NEW))
    done = invoked(secret.environ(sandbox), {"datasets": ["movies"], "limit": 20})
    assert done.error
    assert "CredentialsRefused" in done.error
    assert statuses_seen(sandbox) == [401]


def test_a_secret_that_cannot_be_read_anew_ends_the_run_with_that(
    stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    sandbox = stand_in(**accepting(OLD))
    with Function(secret.environ(sandbox)) as function:
        function.invoke(SCHEDULED)
        secret.put("no token at all")
        sandbox._credentials = frozenset({NEW})
        done = function.invoke({"date": "2026-11-01"})
    assert done.error
    assert "has no credential of TMDB" in done.error


def test_a_program_with_a_secret_loads_boto3_after_its_start(secret: Secret) -> None:
    code = "import handler, sys; print(sorted({'boto3', 'botocore'} & set(sys.modules)))"
    assert program({"TMDB_SECRET_ARN": secret.arn}, "-c", code).out == "[]\n"
