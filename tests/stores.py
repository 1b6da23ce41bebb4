"""What tests of transfers share: one more server, stores, trees, and a way to fill them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
from click.testing import CliRunner

from ingest.cli.group import cli
from ingest.storage.connection import Clients, Connection
from ingest.storage.s3 import S3Store
from runs import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from click.testing import Result

    from ingest.storage.sending import Writing
    from support import S3Server

SERVERS = ("rclone_server", "rclone_on_disk", "moto_server")
OLD = 1_600_000_000
"""A time, in seconds, well before anything that a test uploads."""


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


def _all_commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: each for name, each in found.items() if each}


ALL_COMMANDS = _all_commands()


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
    server: S3Server,
    *arguments: str | Path,
    endpoint_url: str | None = None,
    stdin: int | None = None,
) -> subprocess.Popen[str]:
    """Start ``python -m ingest ARGUMENTS``, which heeds Ctrl-C wherever it is started from."""
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "ingest", *arguments],
        env=child_environment(command_environment(server, endpoint_url)),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(result: Result) -> list[dict[str, Any]]:
    """What ``--json`` wrote: every line an object, the last one the summary."""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(isinstance(each, dict) for each in found)
    assert ["summary" in each for each in found] == [False] * (len(found) - 1) + [True]
    return found


def placed(root: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """``contents`` below the prefix ``root``."""
    return {f"{root}{key}": content for key, content in contents.items()}
