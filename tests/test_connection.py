"""Which store is asked, and how: endpoint, addressing style and credentials, from all sides."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ingest.connecting import bucket_name, connection
from ingest.errors import SettingsError, UsageError
from ingest.settings import AccessKey
from ingest.storage.api import api_of
from ingest.storage.connection import Clients, Connection
from runs import files
from stores import command, command_environment, contents, store_of, write
from tinys3 import TinyS3, certify, serve

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

KEY = AccessKey("TESTACCESSKEY", "test-secret-key")
LARGE = 17 << 20
FILES = {"a": b"1", "dir/b c": b"2", "large": os.urandom(LARGE)}


def write_config(*lines: str) -> None:
    with open(os.environ["AWS_CONFIG_FILE"], "w", encoding="utf-8") as file:  # noqa: PTH123 - short
        file.write("\n".join(lines))


def keys_of(server: S3Server) -> list[str]:
    key = server.access_key
    return [
        f"aws_access_key_id = {key.access_key_id}",
        f"aws_secret_access_key = {key.secret_access_key}",
    ]


# The addressing style


@pytest.mark.parametrize(
    ("endpoint_url", "provider", "asked", "path_style"),
    [
        (None, None, None, False),
        (None, None, True, True),
        ("https://s3.eu-west-1.amazonaws.com", None, None, False),
        ("http://127.0.0.1:9000", "aws", None, True),
        ("http://127.0.0.1:9000", None, None, True),
        ("https://store.example", None, None, True),
        ("https://store.example", None, False, False),
        ("https://sfo3.digitaloceanspaces.com", None, None, True),
        ("https://sfo3.digitaloceanspaces.com", None, False, False),
    ],
)
def test_the_style_is_the_users_or_else_the_providers(
    endpoint_url: str | None,
    provider: str | None,
    asked: bool | None,  # noqa: FBT001 - a parameter
    path_style: bool,  # noqa: FBT001 - as above
) -> None:
    at = Connection(endpoint_url, "eu-west-1", KEY, provider, path_style=asked)
    clients = Clients(at)
    assert clients.is_path_style("lake") == path_style
    link = clients.client().generate_presigned_url("get_object", {"Bucket": "lake", "Key": "k"})
    assert ("//lake." not in link) == path_style
    assert clients.is_path_style("lake.of.dots")


@pytest.fixture
def virtual(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of a store that takes the first label of its host's name for the bucket.

    Its names resolve through a proxy alone, which is the server itself.
    """
    monkeypatch.setenv("http_proxy", moto_server.endpoint_url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return "http://store.invalid"


def test_a_store_of_virtual_hosts_alone_is_used_when_asked(
    moto_server: S3Server, virtual: str, tmp_path: Path
) -> None:
    here, store = write(tmp_path / "here", FILES), store_of(moto_server)
    style = ("--addressing-style", "virtual")
    for words in (
        ("upload", here, f"{store.url}/x"),
        ("cp", f"{store.url}/x/a", f"{store.url}//odd"),
        ("verify", here, f"{store.url}/x"),
        ("sync", f"{store.url}/x", tmp_path / "made"),
        ("mv", f"{store.url}/x/large", f"{store.url}/moved"),
        ("rm", f"{store.url}//odd"),
    ):
        told = command(moto_server, *words, *style, endpoint_url=virtual)
        assert told.exit_code == 0, told.output
    assert files(tmp_path / "made") == FILES
    assert contents(store) == {"moved": FILES["large"], "x/a": b"1", "x/dir/b c": b"2"}
    plain = command(moto_server, "ls", store.url, endpoint_url=virtual)
    assert plain.exit_code == 4


# The profile


def test_a_profile_says_which_store_it_is_of(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"endpoint_url = {s3_server.endpoint_url}/"
    write_config(
        *("[profile plain]", endpoint, "region = us-east-1", *keys_of(s3_server)),
        *("[profile service]", "services = mine", "region = us-east-1", *keys_of(s3_server)),
        *("[services mine]", "s3 =", f"  {endpoint}"),
    )
    for profile in ("plain", "service"):
        # One is larger than a part, for what goes another way.
        here, store = write(tmp_path / "here", FILES), store_of(s3_server)
        for words in (("upload", here, store.url), ("verify", here, store.url)):
            told = command(None, *words, "--profile", profile)
            assert told.exit_code == 0, told.output
        monkeypatch.setenv("AWS_PROFILE", profile)
        assert command(None, "ls", store.url).stdout.count("\n") == 3
        monkeypatch.delenv("AWS_PROFILE")


def test_what_is_said_elsewhere_wins_over_the_profile(
    rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = "endpoint_url = http://127.0.0.1:1"
    write_config("[profile mine]", nobody, "region = eu-west-1", *keys_of(rclone_server))
    bucket = rclone_server.new_bucket()
    url = f"s3://{bucket}"
    named = ("--endpoint-url", rclone_server.endpoint_url, "--region", "us-east-1")
    assert command(None, "ls", url, "--profile", "mine", *named).exit_code == 0
    monkeypatch.setenv("ENDPOINT_URL", rclone_server.endpoint_url)
    assert command(None, "ls", url, "--profile", "mine").exit_code == 0
    monkeypatch.setenv("AWS_PROFILE", "mine")
    environ = command_environment(rclone_server)
    assert command(None, "ls", url, **environ).exit_code == 0


def test_with_keys_of_the_environment_no_profile_says_where_the_store_is() -> None:
    write_config(
        "[default]", "endpoint_url = http://127.0.0.1:1", "s3 =", "  addressing_style=path"
    )
    clients = Clients(Connection(None, "eu-west-1", KEY))
    assert clients.connection.endpoint_url is None
    assert clients.client().meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
    assert not clients.is_path_style("lake")


@pytest.mark.parametrize(("style", "path_style"), [("virtual", False), ("path", True)])
def test_a_profile_says_the_style(style: str, path_style: bool) -> None:  # noqa: FBT001
    write_config(
        *("[profile mine]", "endpoint_url = https://store.example"),
        *("s3 =", f"  addressing_style = {style}"),
    )
    assert Clients(Connection(profile="mine")).is_path_style("lake") == path_style
    asked = Connection(profile="mine", path_style=not path_style)
    assert Clients(asked).is_path_style("lake") != path_style


@pytest.mark.parametrize(
    "url", ["", "store", "store:9000", "http://", "http://store:port", "http://a b", "ftp://store"]
)
def test_an_endpoint_that_is_none_is_an_error_before_anything_is_asked(url: str) -> None:
    clients = Clients(Connection(url, "us-east-1", KEY))
    with pytest.raises(SettingsError, match="the endpoint "):
        api_of(clients, "bucket")
    with pytest.raises(SettingsError, match="the endpoint "):
        clients.client()


def test_a_profile_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SettingsError, match="nobody"):
        _ = Clients(Connection(profile="nobody")).connection


# Certificates


def test_one_variable_names_an_authority_to_all_that_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    write(tmp_path, {"file": b"content"})
    with serve(TinyS3(), certificate) as url:
        # a connection of our own, boto3
        for words in (
            ["upload", "file", "s3://data/k"],
            ["ls", "s3://data"],
            ["cat", "s3://data/k"],
        ):
            told = command(None, *words, **secure(url))
            assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("days", "name", "trusted", "says", "hint"),
    [
        (1, "127.0.0.1", False, "its authority is not known here", "SSL_CERT_FILE"),
        (-1, "127.0.0.1", True, "it has expired", "renewed"),
        (1, "127.0.0.2", True, "it is for another name", "a host name"),
    ],
)
def test_a_certificate_that_is_not_trusted_says_why_and_what_to_do(  # noqa: PLR0913, PLR0917
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    name: str,
    trusted: bool,  # noqa: FBT001 - a parameter
    says: str,
    hint: str,
) -> None:
    certificate = certify(tmp_path, days=days, name=name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    write(tmp_path, {"file": b"content"})
    with serve(TinyS3(), certificate) as url:
        for words in (["upload", "file", "s3://data/k"], ["buckets"]):
            told = command(None, *words, **secure(url))
            assert told.exit_code == 1
            assert f"the certificate is not trusted: {says} (" in told.stderr
            assert hint in told.stderr.partition(says)[2]


def test_https_where_plain_http_is_spoken(tmp_path: Path) -> None:
    write(tmp_path, {"file": b"content"})
    with serve(TinyS3()) as url:
        for words in (["upload", "file", "s3://data/k"], ["buckets"]):
            told = command(None, *words, **secure(url.replace("http:", "https:")))
            assert told.exit_code == 1
            assert "no TLS is spoken there (begin the endpoint with http://" in told.stderr


def secure(url: str) -> dict[str, str]:
    key = {"AWS_ACCESS_KEY_ID": KEY.access_key_id, "AWS_SECRET_ACCESS_KEY": KEY.secret_access_key}
    return {**key, "ENDPOINT_URL": url, "REGION_NAME": "us-east-1"}


# What a caller says


def test_an_argument_is_called_as_the_caller_calls_it() -> None:
    with pytest.raises(UsageError, match=r"^endpoint_url holds 'h:1'"):
        connection(endpoint_url="h:1")
    with pytest.raises(UsageError, match=r"^--region holds 'a b'"):
        connection(region="a b", spelled=lambda name: f"--{name}")


@pytest.mark.parametrize("name", ["", "a", "ab", "a b", "a/b", "-ab", "ab.", "x" * 256, "ção"])
def test_what_is_no_name_of_a_bucket(name: str) -> None:
    with pytest.raises(UsageError, match="bucket's name"):
        bucket_name(name)


@pytest.mark.parametrize("name", ["abc", "a.b_c-D9", "x" * 255])
def test_what_is_a_name_of_a_bucket(name: str) -> None:
    assert bucket_name(name) == name
