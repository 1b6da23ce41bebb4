"""The credential of TMDB that AWS keeps: reading it, keeping it in mind, all that goes wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import boto3
import pytest

from ingest import aws_secret
from ingest.errors import CredentialsRefused, IngestError, SecretUnavailable, SettingsError
from ingest.settings import AccessKey, KeptSecret, load
from ingest.signin import SignIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support import S3Server

TOKEN = "eyJhbGciOi.the-first-token.end"
OTHER = "eyJhbGciOi.another-token.end"
KEY = "0123456789abcdef0123456789abcdef"
MARK = "5ec2e7ed"

_numbers = itertools.count()


def _client(server: S3Server, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=server.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    )


class Keeper:
    """One of the two services that keep a secret."""

    def __init__(self, server: S3Server, service: str) -> None:
        self.service = service
        self.client = _client(server, service)
        self._server = server

    def keep(self, text: str | bytes, name: str | None = None) -> KeptSecret:
        """Keep ``text`` under a new name, or instead of what is kept under ``name``."""
        new = name is None
        name = name or f"/tmdb/{os.getpid()}/{next(_numbers)}"
        if self.service == "ssm":
            self.client.put_parameter(Name=name, Value=text, Type="SecureString", Overwrite=not new)
        else:
            value = {"SecretBinary" if isinstance(text, bytes) else "SecretString": text}
            if new:
                self.client.create_secret(Name=name, **value)
            else:
                self.client.put_secret_value(SecretId=name, **value)
        return self.kept(name)

    def kept(self, name: str) -> KeptSecret:
        is_ssm = self.service == "ssm"
        return KeptSecret(
            variable="TMDB_PARAMETER_NAME" if is_ssm else "TMDB_SECRET_ARN",
            service="ssm" if is_ssm else "secretsmanager",
            name=name,
            endpoint_url=self._server.endpoint_url,
            region="us-east-1",
            access_key=AccessKey("testing", "testing"),
        )

    def arn(self, name: str) -> str:
        if self.service == "ssm":
            return str(self.client.get_parameter(Name=name)["Parameter"]["ARN"])
        return str(self.client.describe_secret(SecretId=name)["ARN"])


@pytest.fixture(params=["secretsmanager", "ssm"])
def keeper(request: pytest.FixtureRequest, moto_server: S3Server) -> Keeper:
    return Keeper(moto_server, request.param)


def failure(kept: KeptSecret, *, anew: bool = False) -> IngestError:
    """What reading ``kept`` fails with: one line that names it, with nothing chained to it."""
    with pytest.raises(IngestError) as caught:
        aws_secret.read(kept, anew=anew)
    assert len(str(caught.value).splitlines()) == 1
    assert kept.name in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value


# What may be kept


@pytest.mark.parametrize(
    ("text", "credential"),
    [
        (TOKEN, {"token": TOKEN}),
        (f"  {TOKEN}\n", {"token": TOKEN}),
        (json.dumps({"TMDB_ACCESS_TOKEN": TOKEN}), {"token": TOKEN}),
        (json.dumps({"TMDB_API_KEY": KEY, "note": 7}, indent=2), {"key": KEY}),
        (json.dumps({"API_KEY": KEY}), {"key": KEY}),
        (
            json.dumps({"TMDB_ACCESS_TOKEN": TOKEN, "TMDB_API_KEY": KEY}),
            {"token": TOKEN, "key": KEY},
        ),
        (json.dumps({"TMDB_ACCESS_TOKEN": "", "TMDB_API_KEY": KEY}), {"key": KEY}),
    ],
)
def test_a_token_alone_or_json_with_the_names_of_the_settings_may_be_kept(
    keeper: Keeper, text: str, credential: dict[str, str]
) -> None:
    found = aws_secret.read(keeper.keep(text))
    assert found == SignIn(**credential, hint=found.hint)


def test_it_is_found_by_its_arn_as_well(keeper: Keeper) -> None:
    kept = keeper.keep(TOKEN)
    assert aws_secret.read(replace(kept, name=keeper.arn(kept.name))).token == TOKEN


def test_a_binary_secret_may_hold_the_same_text(moto_server: S3Server) -> None:
    assert (
        aws_secret.read(Keeper(moto_server, "secretsmanager").keep(TOKEN.encode())).token == TOKEN
    )


_BEGINS_WITH_BRACE = json.dumps({"TMDB_ACCESS_TOKEN": MARK})[:-2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(" \n", "it is empty", id="empty"),
        pytest.param(_BEGINS_WITH_BRACE, "nor whole JSON", id="cut-short"),
        pytest.param("[" * 4000, "nor whole JSON", id="nested"),
        pytest.param(json.dumps([MARK]), "without TMDB_ACCESS_TOKEN", id="list"),
        pytest.param(json.dumps(MARK), "without TMDB_ACCESS_TOKEN", id="string"),
        pytest.param(json.dumps({"token": MARK}), "without TMDB_ACCESS_TOKEN", id="other-name"),
        pytest.param(json.dumps({"TMDB_ACCESS_TOKEN": 7}), "without TMDB_ACCESS", id="number"),
        pytest.param(MARK * 4, "this is a v3 key", id="v3-key-alone"),
        pytest.param(
            json.dumps({"TMDB_ACCESS_TOKEN": MARK * 4}), "this is a v3 key", id="v3-key-as-token"
        ),
        pytest.param(
            json.dumps({"TMDB_API_KEY": f"eyJ.{MARK}"}), "this is a v4 access", id="token-as-key"
        ),
        pytest.param(f"eyJ {MARK}", "printable ASCII without spaces", id="two-words"),
        pytest.param(f"eyJ\n{MARK}: header", "printable ASCII without", id="two-lines"),
    ],
)
def test_what_is_kept_but_no_credential_is_described_and_not_shown(
    keeper: Keeper, text: str, says: str
) -> None:
    error = failure(keeper.keep(text))
    assert isinstance(error, SettingsError)
    assert says in str(error)
    assert 'store the v4 access token alone, or JSON such as {"TMDB_API_KEY": "..."}' in str(error)
    assert MARK not in str(error)


def test_bytes_that_are_no_text_are_described(moto_server: S3Server) -> None:
    error = failure(Keeper(moto_server, "secretsmanager").keep(b"\xff\x00"))
    assert isinstance(error, SettingsError)
    assert "neither UTF-8 text" in str(error)


# Keeping it in mind


def test_it_is_asked_for_once_until_it_is_wanted_anew(keeper: Keeper) -> None:
    kept = keeper.keep(TOKEN)
    assert aws_secret.read(kept).token == TOKEN
    keeper.keep(OTHER, kept.name)
    assert aws_secret.read(kept).token == TOKEN
    assert aws_secret.read(kept, anew=True).token == OTHER
    assert aws_secret.read(kept).token == OTHER


def test_it_is_kept_in_mind_for_an_hour(keeper: Keeper) -> None:
    kept = keeper.keep(TOKEN)
    aws_secret.read(kept)
    (value,) = aws_secret._provider(kept).store.values()
    left = value.ttl - datetime.now()  # noqa: DTZ005 - Powertools', which has no time zone either
    assert timedelta(minutes=55) < left <= timedelta(hours=1)


def test_what_was_wrong_is_not_kept_in_mind(keeper: Keeper) -> None:
    kept = keeper.keep("not a token")
    failure(kept)
    keeper.keep(TOKEN, kept.name)
    assert aws_secret.read(kept).token == TOKEN


# What AWS refuses


class RefusingAws:
    """An endpoint of AWS that answers everything with one error."""

    def __init__(self, code: str, status: int) -> None:
        self.asked: list[str] = []
        refusing = self
        body = json.dumps({"__type": code, "Message": "Not\n  for you."}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                refusing.asked.append(self.headers["X-Amz-Target"])
                self.send_response_only(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("code", "status", "kind", "hint"),
    [
        ("AccessDeniedException", 400, CredentialsRefused, "allow {action} on it"),
        ("DecryptionFailure", 400, CredentialsRefused, "kms:Decrypt"),
        ("UnrecognizedClientException", 400, CredentialsRefused, "a key pair of AWS"),
        ("ExpiredTokenException", 400, CredentialsRefused, "a key pair of AWS"),
        ("InvalidSignatureException", 400, CredentialsRefused, "a key pair of AWS"),
        ("ResourceNotFoundException", 400, SettingsError, "check {variable}"),
        ("ParameterNotFound", 400, SettingsError, "check {variable}"),
        ("InvalidRequestException", 400, SettingsError, "check {variable}"),
        ("ValidationException", 400, SettingsError, "check {variable}"),
        ("ThrottlingException", 400, SecretUnavailable, ""),
        ("InternalServiceError", 500, SecretUnavailable, ""),
        ("SomethingNew", 418, SecretUnavailable, ""),
    ],
)
def test_what_aws_refuses_is_told_with_its_words_and_what_to_do(
    keeper: Keeper, code: str, status: int, kind: type[IngestError], hint: str
) -> None:
    with RefusingAws(code, status) as aws:
        error = failure(replace(keeper.kept("/the/name"), endpoint_url=aws.url))
    assert type(error) is kind
    assert f"/the/name: {code}: Not for you." in str(error)
    actions = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}
    variables = {"ssm": "TMDB_PARAMETER_NAME", "secretsmanager": "TMDB_SECRET_ARN"}
    wanted = hint.format(action=actions[keeper.service], variable=variables[keeper.service])
    assert wanted in str(error)
    assert (kind.exit_code, error.retryable) == {
        CredentialsRefused: (3, False),
        SettingsError: (2, False),
        SecretUnavailable: (1, True),
    }[kind]


def test_nothing_of_that_name_is_told_by_a_real_server_too(keeper: Keeper) -> None:
    error = failure(keeper.kept("/no/such/name"))
    assert isinstance(error, SettingsError)
    assert "NotFound" in str(error)


def test_a_failure_that_passes_is_tried_again(keeper: Keeper) -> None:
    with RefusingAws("InternalServiceError", 500) as aws:
        failure(replace(keeper.kept("/the/name"), endpoint_url=aws.url))
    assert len(aws.asked) == 2


# What keeps AWS from being reached


def test_no_connection_is_a_failure_that_may_pass(keeper: Keeper) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = failure(replace(keeper.kept("/name"), endpoint_url=f"http://127.0.0.1:{port}"))
    assert isinstance(error, SecretUnavailable)
    assert f"http://127.0.0.1:{port}" in str(error)


def test_a_server_that_never_answers_is_not_waited_for(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_secret, "_READ_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        error = failure(replace(keeper.kept("/name"), endpoint_url=url))
    assert isinstance(error, SecretUnavailable)
    assert "Read timeout" in str(error)


def test_all_waits_for_aws_together_are_a_part_of_what_landing_is_left(keeper: Keeper) -> None:
    config = aws_secret._provider(keeper.kept("/waits")).client.meta.config
    waits = config.connect_timeout + config.read_timeout
    assert waits * config.retries["total_max_attempts"] <= 20


def test_without_a_region_it_says_how_to_give_one(keeper: Keeper) -> None:
    error = failure(replace(keeper.kept("/name"), region=None))
    assert isinstance(error, SettingsError)
    assert "set AWS_REGION, or name it by its ARN" in str(error)


def test_without_credentials_it_says_which(keeper: Keeper) -> None:
    error = failure(replace(keeper.kept("/name"), access_key=None))
    assert isinstance(error, SettingsError)
    assert "a key pair of AWS, or AWS_PROFILE" in str(error)


def test_a_profile_that_does_not_exist_is_named(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    error = failure(replace(keeper.kept("/of/nobody"), access_key=None))
    assert isinstance(error, SettingsError)
    assert "(nobody)" in str(error)
    assert "check AWS_PROFILE" in str(error)


# Where AWS is


@contextlib.contextmanager
def _variables(monkeypatch: pytest.MonkeyPatch, **environ: str) -> Iterator[KeptSecret]:
    with monkeypatch.context() as patched:
        for name, value in environ.items():
            patched.setenv(name, value)
        kept = load().kept_secret
        assert kept
        yield kept


@pytest.mark.parametrize("of_store", ["ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize(
    ("name", "host"),
    [("TMDB_SECRET_ARN", "secretsmanager"), ("TMDB_PARAMETER_NAME", "ssm")],
)
def test_a_store_elsewhere_is_never_asked_for_a_secret(
    monkeypatch: pytest.MonkeyPatch, of_store: str, name: str, host: str
) -> None:
    environ = {of_store: "https://sfo3.digitaloceanspaces.com", "REGION_NAME": "sfo3"}
    environ |= {"AWS_REGION": "us-east-1", name: f"tmdb/{of_store}"}
    with _variables(monkeypatch, **environ) as kept:
        client = aws_secret._provider(kept).client
    assert client.meta.endpoint_url == f"https://{host}.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("TMDB_SECRET_ARN", "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        ("TMDB_PARAMETER_NAME", "AWS_ENDPOINT_URL_SSM"),
    ],
)
def test_a_profile_of_aws_reads_what_the_key_pair_of_a_store_could_not(
    monkeypatch: pytest.MonkeyPatch,
    moto_server: S3Server,
    write_profile: Callable[[], None],
    name: str,
    endpoint: str,
) -> None:
    service = "ssm" if name == "TMDB_PARAMETER_NAME" else "secretsmanager"
    kept = Keeper(moto_server, service).keep(TOKEN)
    write_profile()
    store = {"ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY": "A", "AWS_SECRET_KEY": "B"}
    environ = {name: kept.name, endpoint: moto_server.endpoint_url, "AWS_PROFILE": "aws"}
    with _variables(monkeypatch, AWS_REGION="us-east-1", **store, **environ) as found:
        assert aws_secret.read(found).token == TOKEN


@pytest.fixture
def write_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[], None]:
    def write() -> None:
        file = tmp_path / "credentials"
        file.write_text("[aws]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    return write
