"""What tests of transfers share: one more server, stores, trees, and a way to fill them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ingest.cli import cli
from ingest.settings import AccessKey
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from runs import child_environment
from support import S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from click.testing import Result

    from ingest.storage.sending import Writing

SERVERS = ("rclone_server", "rclone_on_disk", "moto_server")
OLD = 1_600_000_000
"""A time, in seconds, well before anything that a test uploads."""


@pytest.fixture(scope="session")
def rclone_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """``rclone serve s3`` of a directory: it refuses what that cannot hold."""
    key = AccessKey("TESTACCESSKEY", "test-secret-key")
    command = [
        *(Path(sys.executable).with_name("rclone"), "serve", "s3", "--config", os.devnull),
        *(tmp_path_factory.mktemp("served"), "--addr", "127.0.0.1:0"),
        *("--auth-key", f"{key.access_key_id},{key.secret_access_key}"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        line = next(line for line in server.stderr if "Starting s3 server on" in line)
        yield S3Server("rclone on disk", line.split("[")[1].split("]")[0].rstrip("/"), key)
        server.terminate()
        server.stderr.close()


def clients_of(server: S3Server, endpoint_url: str | None = None) -> Clients:
    """Our clients of ``server``, or of a proxy before it."""
    return Clients(Connection(endpoint_url or server.endpoint_url, "us-east-1", server.access_key))


def store_of(
    server: S3Server,
    bucket: str | None = None,
    *,
    endpoint_url: str | None = None,
    writing: Writing | None = None,
) -> S3Store:
    """The store of ``bucket``, by default a new one."""
    return S3Store(bucket or server.new_bucket(), clients_of(server, endpoint_url), writing)


def fill(store: S3Store, contents: Mapping[str, bytes], **metadata: str) -> None:
    """Put objects with boto3, as somebody else would."""
    for key, content in contents.items():
        store.clients.client().put_object(
            Bucket=store.bucket, Key=key, Body=content, Metadata=metadata
        )


def contents(store: S3Store) -> dict[str, bytes]:
    """Every object, in the order of the listing."""
    return {entry.key: store.read(entry.key) for entry in store.list()}


def write(root: Path, files: Mapping[str, bytes], time: float | None = OLD) -> Path:
    """Write files below ``root``, with this time; None for now."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if time is not None:
            os.utime(path, (time, time))
    return root


def command(
    server: S3Server | None, *arguments: str | Path, endpoint_url: str | None = None, **more: str
) -> Result:
    """What ``ingest ARGUMENTS`` does, in this process, with ``server`` in the environment."""
    environ = command_environment(server, endpoint_url) if server else {}
    words = [str(argument) for argument in arguments]
    result = CliRunner(catch_exceptions=False).invoke(cli, words, env={**environ, **more})
    assert "Traceback" not in result.output
    return result


def command_environment(server: S3Server, endpoint_url: str | None = None) -> dict[str, str]:
    """The variables with which the command reaches ``server``, or a proxy before it."""
    environ = server.environment("unused")
    del environ["BUCKET_NAME"]
    return {**environ, "ENDPOINT_URL": endpoint_url or server.endpoint_url}


def program(
    server: S3Server, *arguments: str | Path, endpoint_url: str | None = None
) -> subprocess.Popen[str]:
    """Start ``python -m ingest ARGUMENTS``, which heeds Ctrl-C wherever it is started from."""
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "ingest", *arguments],
        env=child_environment(command_environment(server, endpoint_url)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
