"""A key or a token of TMDB, and a secret of S3, are in nothing that a run shows or keeps.

Each failure is had by hand and in Lambda, with a credential of the environment and with one that
AWS keeps; all that is printed, logged by anyone, counted, answered or raised is searched for it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import os
import socket
import threading
import traceback
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import pytest

from ingest import aws_secret
from ingest.sandbox import SANDBOX_TOKEN, Fault
from runs import (
    HANDLER,
    Context,
    Ended,
    WatchedBucket,
    answer,
    files,
    main,
    objects,
    program,
    variables,
)
from test_bad_input import TMDB_FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.sandbox import Sandbox
    from support import S3Server


@dataclass(frozen=True)
class Secret:
    """A credential with a mark that is searched for; also a part of it alone gives it away."""

    name: str
    value: str
    mark: str
    of_aws: Mapping[str, str] = field(default_factory=dict)
    """Where AWS keeps it; the variables that say so stand instead of the credential's own."""

    @property
    def environ(self) -> dict[str, str]:
        own = self.of_aws or {self.name: self.value}
        return {**own, "LOG_LEVEL": "DEBUG", "TMDB_RATE": "50"}

    @property
    def kept_text(self) -> str:
        """What AWS keeps: a token alone, a key as JSON."""
        return json.dumps({self.name: self.value}) if self.name == "TMDB_API_KEY" else self.value

    def is_in(self, text: str) -> bool:
        disguises = (self.mark, quote(self.mark), base64.b64encode(self.mark.encode()).decode())
        return any(each.casefold() in text.casefold() for each in disguises)


KEY = Secret("TMDB_API_KEY", "5ec2e7ed" * 4, "5ec2e7ed")
TOKEN = Secret("TMDB_ACCESS_TOKEN", "eyJhbGciOi.MARKED-secret_0.end", "MARKED-secret_0")


def put_instead(server: S3Server, secret: Secret, text: str) -> None:
    """Have AWS keep ``text`` where it keeps ``secret``."""
    service = "ssm" if "TMDB_PARAMETER_NAME" in secret.of_aws else "secretsmanager"
    client: Any = boto3.client(
        service,
        endpoint_url=server.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    )
    name = secret.of_aws.get("TMDB_PARAMETER_NAME") or secret.of_aws["TMDB_SECRET_ARN"]
    if service == "ssm":
        client.put_parameter(Name=name, Value=text, Type="SecureString", Overwrite=True)
        return
    try:
        client.put_secret_value(SecretId=name, SecretString=text)
    except client.exceptions.ResourceNotFoundException:
        client.create_secret(Name=name, SecretString=text)


@pytest.fixture(scope="session")
def kept(moto_server: S3Server) -> Mapping[str, Secret]:
    """The same two, kept by AWS: the key in Secrets Manager, the token in Systems Manager."""
    name, url = f"/marked/{os.getpid()}", moto_server.endpoint_url
    secret = {"TMDB_SECRET_ARN": name, "AWS_ENDPOINT_URL_SECRETS_MANAGER": url}
    parameter = {"TMDB_PARAMETER_NAME": name, "AWS_ENDPOINT_URL_SSM": url}
    found = {
        "kept key": replace(KEY, of_aws={**secret, "AWS_REGION": "us-east-1"}),
        "kept token": replace(TOKEN, of_aws={**parameter, "AWS_REGION": "us-east-1"}),
    }
    for each in found.values():
        put_instead(moto_server, each, each.kept_text)
    return found


everywhere = pytest.mark.parametrize(
    "secret", ["key", "token", "kept key", "kept token"], indirect=True
)
by_aws = pytest.mark.parametrize("secret", ["kept key", "kept token"], indirect=True)


@pytest.fixture(params=["key", "token", "kept key"])
def secret(request: pytest.FixtureRequest, kept: Mapping[str, Secret]) -> Secret:
    """A credential in each of the places where it may be."""
    # What AWS keeps is read with a profile, so that the store has its key pair for itself.
    profile = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(profile)
    found = {"key": KEY, "token": TOKEN, **kept}
    return found[request.param]


class Everything(logging.Handler):
    """All that any library logs, formatted with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.text.write(f"{self.format(record)}\n{record.__dict__}\n")


@contextlib.contextmanager
def overheard() -> Iterator[io.StringIO]:
    """Collect what is printed and, at DEBUG, what is logged by anyone."""
    listening, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    try:
        with (
            contextlib.redirect_stdout(listening.text),
            contextlib.redirect_stderr(listening.text),
        ):
            yield listening.text
    finally:
        root.removeHandler(listening)
        root.setLevel(level)


def chain(error: BaseException | None) -> str:
    """All that an exception and those behind it hold."""
    told = []
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        told += [str(each), repr(each), repr(vars(each)), *traceback.format_exception(each)]
        waiting += [each.__cause__, each.__context__, *getattr(each, "causes", ())]
    return "\n".join(told)


@pytest.fixture
def shown(rclone_server: S3Server) -> Callable[..., str]:
    """All that runs through ``lambda_handler`` say, by hand and in Lambda; see ``said``."""
    lake = rclone_server.environment(rclone_server.new_bucket())
    # Under its older names, so that what AWS keeps is read with the same key pair in both cases.
    lake["AWS_ACCESS_KEY"] = lake.pop("AWS_ACCESS_KEY_ID")
    lake["AWS_SECRET_KEY"] = lake.pop("AWS_SECRET_ACCESS_KEY")

    def both(environ: dict[str, str], **options: Any) -> str:
        in_lambda = {**lake, **environ, "AWS_LAMBDA_FUNCTION_NAME": "tmdb-ingest"}
        text = said(in_lambda, **options)
        assert '"_aws":' in text
        assert '"service":"ingest"' in text
        return said(environ, **options) + text

    return both


def said(
    environ: dict[str, str], *, fails: bool, context: Any = None, contains: str = "/discover/"
) -> str:
    """All that a run through ``lambda_handler`` says: logs, output, answer or exception."""
    told = ""
    event = {"datasets": ["movies"]} if fails else {}
    with overheard() as heard:
        try:
            told = json.dumps(answer(event, environ, context))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is searched
            told = chain(error)
            assert fails, told
        else:
            assert not fails
    assert contains in heard.getvalue() + told
    return heard.getvalue() + told


# A run that goes well


@everywhere
def test_a_run_that_lands_shows_and_keeps_no_credential(
    shown: Callable[..., str],
    stand_in: Callable[..., Sandbox],
    rclone_server: S3Server,
    secret: Secret,
) -> None:
    aws_secret._provider.cache_clear()  # so that what AWS answers is among what is searched
    sandbox = stand_in(credentials=frozenset({secret.value}))
    bucket = rclone_server.new_bucket()
    lake = rclone_server.environment(bucket)
    environ = {"TMDB_BASE_URL": sandbox.base_url, "LOCAL_DIR": "copy", **lake, **secret.environ}
    text = shown(environ, fails=False)
    kept = {**objects(rclone_server, bucket), **files(Path("copy"))}
    assert len(kept) == 4
    assert not secret.is_in(text)
    assert not any(secret.is_in(body.decode()) for body in kept.values())
    assert rclone_server.access_key.secret_access_key not in text
    assert {request.status for request in sandbox.requests} == {200}


@everywhere
def test_logs_of_a_real_lambda_at_debug_show_no_credential(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, secret: Secret
) -> None:
    sandbox = stand_in(
        credentials=frozenset({secret.value}), faults=[Fault("500", times=1), Fault("404", page=3)]
    )
    environ = {
        **rclone_server.environment(rclone_server.new_bucket()),
        **secret.environ,
        "TMDB_BASE_URL": sandbox.base_url,
        "AWS_LAMBDA_FUNCTION_NAME": "ingest",
    }
    code = (
        "import handler, logging; logging.basicConfig(level=10); handler.lambda_handler({}, None)"
    )
    done = program(environ, "-c", code)
    assert done.code == 1
    assert "HTTP 404" in done.err
    assert "urllib3" in done.err
    assert not secret.is_in(done.out + done.err)


# A run that fails


@pytest.mark.parametrize(("fault", "code", "says"), TMDB_FAILURES)
def test_no_failure_of_tmdb_shows_the_credential(  # noqa: PLR0913, PLR0917 - a table of values
    shown: Callable[..., str],
    stand_in: Callable[..., Sandbox],
    secret: Secret,
    fault: Fault,
    code: int,
    says: str,
) -> None:
    del code, says
    environ = {"TMDB_BASE_URL": stand_in(faults=[fault]).base_url, **secret.environ}
    assert not secret.is_in(shown(environ, fails=True))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/3", "https://127.0.0.1:1/3"])
def test_no_failure_of_the_network_shows_the_credential(
    shown: Callable[..., str], secret: Secret, url: str
) -> None:
    assert not secret.is_in(shown({"TMDB_BASE_URL": url, **secret.environ}, fails=True))


def test_a_host_that_nobody_knows_does_not_show_the_credential(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch, secret: Secret
) -> None:
    known = socket.getaddrinfo

    def unknown(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "tmdb.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    url = {"TMDB_BASE_URL": "http://tmdb.invalid/3"}
    assert not secret.is_in(shown({**url, **secret.environ}, fails=True))


def test_tls_that_fails_does_not_show_the_credential(
    shown: Callable[..., str], stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    url = stand_in().base_url.replace("http:", "https:")
    assert not secret.is_in(shown({"TMDB_BASE_URL": url, **secret.environ}, fails=True))


def test_a_deadline_that_passes_does_not_show_the_credential(
    shown: Callable[..., str], stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    environ = {"TMDB_BASE_URL": stand_in(faults=[Fault("hang")]).base_url, **secret.environ}
    context = Context(millis=300)
    text = shown(environ, fails=True, context=context, contains="for this run")
    assert not secret.is_in(text)


def test_a_proxy_that_fails_does_not_show_the_credential(
    shown: Callable[..., str], secret: Secret
) -> None:
    here = "127.0.0.1"
    environ = {"HTTP_PROXY": f"http://{here}:1", "NO_PROXY": here, "no_proxy": here}
    url = {"TMDB_BASE_URL": "http://tmdb.invalid/3"}
    assert not secret.is_in(shown({**environ, **url, **secret.environ}, fails=True))


def test_a_disk_that_fails_does_not_show_the_credential(
    shown: Callable[..., str], stand_in: Callable[..., Sandbox], secret: Secret
) -> None:
    environ = {"TMDB_BASE_URL": stand_in().base_url, "LOCAL_DIR": "/proc/no", **secret.environ}
    assert not secret.is_in(shown(environ, fails=True))


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_a_bucket_that_fails_shows_neither_credential(
    shown: Callable[..., str],
    stand_in: Callable[..., Sandbox],
    rclone_server: S3Server,
    secret: Secret,
    code: str,
) -> None:
    with WatchedBucket(
        rclone_server, lambda method, _: code if method == "PUT" else None
    ) as bucket:
        environ = {"TMDB_BASE_URL": stand_in().base_url, **bucket.environment, **secret.environ}
        text = shown(environ, fails=True)
    assert code in text
    assert not secret.is_in(text)
    assert rclone_server.access_key.secret_access_key not in text


# A server that gives back what it was sent


@pytest.fixture(params=["status_message", "errors", "html", "redirect", "results", "record"])
def echo(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that puts what it was asked, with all headers, into its answers of one kind."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = f"{self.path} {self.headers.get('Authorization')}"
            body: object = {
                "status_message": {"status_code": 7, "status_message": said},
                "errors": {"errors": [said, said]},
                "results": {"results": said, "total_pages": 1, "total_results": 1},
                "record": {"results": [{"id": said}], "total_pages": 1, "total_results": 1},
            }.get(request.param, f"<html>{said}</html>")
            text = body if isinstance(body, str) else json.dumps(body)
            status = {"redirect": 302, "results": 200, "record": 200}.get(request.param, 403)
            self.send_response_only(status, said if status != 200 else "OK")
            self.send_header("Location", f"http://127.0.0.1:1{self.path}")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/3"
    server.shutdown()
    server.server_close()


def test_a_server_that_echoes_the_credential_does_not_get_it_shown(
    shown: Callable[..., str], echo: str, secret: Secret
) -> None:
    assert not secret.is_in(shown({"TMDB_BASE_URL": echo, **secret.environ}, fails=True))


# What AWS keeps, and is of no use

OF_NO_USE = [
    pytest.param(f'{{"TMDB_ACCESS_TOKEN": "{TOKEN.value}"', TOKEN, id="json-cut-short"),
    pytest.param(f'{{"token": "{TOKEN.value}"}}', TOKEN, id="another-name"),
    pytest.param(f'["{TOKEN.value}"]', TOKEN, id="list"),
    pytest.param(f"{TOKEN.value} {TOKEN.value}", TOKEN, id="two-tokens"),
    pytest.param(KEY.value, KEY, id="key-alone"),
    pytest.param(f'{{"TMDB_ACCESS_TOKEN": "{KEY.value}"}}', KEY, id="key-as-token"),
    pytest.param(f'{{"TMDB_API_KEY": "{TOKEN.value}"}}', TOKEN, id="token-as-key"),
]


@pytest.mark.parametrize(("text", "held"), OF_NO_USE)
@by_aws
def test_what_aws_keeps_but_is_no_credential_is_not_shown(
    shown: Callable[..., str], moto_server: S3Server, secret: Secret, text: str, held: Secret
) -> None:
    put_instead(moto_server, secret, text)
    aws_secret._provider.cache_clear()
    try:
        environ = {"TMDB_BASE_URL": "http://127.0.0.1:1/3", **secret.environ}
        told = shown(environ, fails=True, contains="has no credential of TMDB")
    finally:
        put_instead(moto_server, secret, secret.kept_text)
    assert not held.is_in(told)
    assert not secret.is_in(told)


@by_aws
def test_neither_a_refused_credential_nor_the_one_after_it_is_shown(
    shown: Callable[..., str],
    stand_in: Callable[..., Sandbox],
    moto_server: S3Server,
    secret: Secret,
) -> None:
    aws_secret._provider.cache_clear()
    # The first run keeps in mind what it reads; the next finds it refused, and replaced in vain.
    sandbox = stand_in(credentials=frozenset({secret.value}))
    environ = {"TMDB_BASE_URL": sandbox.base_url, **secret.environ}
    told = said(environ, fails=False)
    other = Secret(TOKEN.name, "eyJhbGciOi.REPLACED-secret.end", "REPLACED-secret")
    put_instead(moto_server, secret, other.value)
    sandbox._credentials = frozenset({"eyJ.neither"})
    try:
        told += said(environ, fails=True, contains="read anew")
        told += shown(environ, fails=True, contains="HTTP 401")
    finally:
        put_instead(moto_server, secret, secret.kept_text)
    assert not secret.is_in(told)
    assert not other.is_in(told)


# Settings

IN_THE_WRONG_PLACE = [
    pytest.param({"TMDB_ACCESS_TOKEN": KEY.value}, KEY, id="key-as-token"),
    pytest.param({"TMDB_API_KEY": TOKEN.value}, TOKEN, id="token-as-key"),
    pytest.param({"API_KEY": TOKEN.value}, TOKEN, id="token-as-older-key"),
    pytest.param({"TMDB_API_KEY": f"{KEY.value}0"}, KEY, id="key-too-long"),
    pytest.param({"TMDB_ACCESS_TOKEN": f"{TOKEN.value}\n{TOKEN.value}"}, TOKEN, id="two-lines"),
    pytest.param({"TMDB_ACCESS_TOKEN": f"Bearer {TOKEN.value}"}, TOKEN, id="with-bearer"),
    pytest.param({"TMDB_API_KEY_FILE": KEY.value}, KEY, id="key-as-file"),
    pytest.param({"TMDB_ACCESS_TOKEN_FILE": TOKEN.value}, TOKEN, id="token-as-file"),
    pytest.param(
        {"TMDB_BASE_URL": f"https://tmdb.invalid/3?api_key={KEY.value}"}, KEY, id="key-in-url"
    ),
    pytest.param(
        {"TMDB_BASE_URL": f"https://me:{KEY.value}@tmdb.invalid/3"}, KEY, id="password-in-url"
    ),
    pytest.param(
        {"ENDPOINT_URL": f"https://me:{KEY.value}@s3.invalid"}, KEY, id="password-in-endpoint"
    ),
    pytest.param({"TMDB_SECRET_ARN": TOKEN.value}, TOKEN, id="token-as-arn"),
    pytest.param({"TMDB_PARAMETER_NAME": KEY.value}, KEY, id="key-as-parameter"),
    pytest.param(
        {"TMDB_PARAMETER_NAME": f'{{"TMDB_API_KEY":"{KEY.value}"}}'}, KEY, id="json-as-parameter"
    ),
    pytest.param(
        {"AWS_ENDPOINT_URL_SSM": f"https://me:{KEY.value}@ssm.invalid"}, KEY, id="password-for-aws"
    ),
    pytest.param({"AWS_SECRET_ACCESS_KEY": KEY.value}, KEY, id="half-a-key-pair"),
    pytest.param({"AWS_SECRET_ACCESS_KEY_FILE": KEY.value}, KEY, id="secret-as-file"),
    pytest.param({"AWS_SECRET_ACCESS_KEY_FILE": f"x/{KEY.value}"}, KEY, id="secret-with-slash"),
]


@pytest.mark.parametrize(("environ", "secret"), IN_THE_WRONG_PLACE)
def test_a_setting_that_is_refused_does_not_show_a_secret(
    environ: dict[str, str], secret: Secret
) -> None:
    done = main({**environ, "LOG_LEVEL": "DEBUG"})
    assert done.code == 2
    assert next(iter(environ)) in done.error
    assert not secret.is_in(done.out + done.err)


def test_a_refused_setting_of_a_program_shows_no_secret_either() -> None:
    done: Ended = program({"TMDB_API_KEY": TOKEN.value}, HANDLER)
    assert done.code == 2
    assert not TOKEN.is_in(done.out + done.err)


def test_a_secret_can_come_from_a_file_and_is_shown_nowhere(
    shown: Callable[..., str], stand_in: Callable[..., Sandbox]
) -> None:
    Path("key").write_text(f"{KEY.value}\n")
    sandbox = stand_in(credentials=frozenset({KEY.value}))
    environ = variables(sandbox, TMDB_API_KEY_FILE="key", LOG_LEVEL="DEBUG")
    assert environ.pop("TMDB_ACCESS_TOKEN") == SANDBOX_TOKEN
    assert not KEY.is_in(shown(environ, fails=False))
    assert len(files()) == 4
