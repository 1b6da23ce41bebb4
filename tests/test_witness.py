"""Other tools as witnesses: they read what we wrote, byte for byte, and we read what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runs import child_environment, files
from stores import command, contents, store_of, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import S3Server

    Told = Callable[..., str]

NAMES = (
    "plain.txt",
    "a b/c d",
    " leading",
    "trailing ",
    "plus+plus",
    "per%20cent",
    "100%",
    "quote'\"`",
    "amp&hash#q?x=1",
    "star*",
    "brack[et]",
    "brace{a,b}",
    "back\\slash",
    "colon:semi;",
    "$HOME",
    "composed \u00e9",
    "decomposed e\u0301",
    "\U0001f600/\u6f22\u5b57",
    "\u202ertl",
    "-dash",
    "--option",
    "...",
    "..dots",
    "dot.",
    "UPPER",
    "upper",
    "x" * 240,
    "\uff0e\uff0e",
)
FILES = {name: name.encode() for name in NAMES} | {"empty": b"", "large": os.urandom(17 << 20)}
CONTROLS = {"tab\there": b"1", "\x01": b"2", "delete\x7f": b"3"}
"""Names that XML cannot carry, at which s5cmd ends."""
PICTURES = {0x2400 + code: code for code in range(32)} | {0x2421: 0x7F}
"""Characters that rclone shows for those that a terminal would obey."""


def told(program: str, environ: dict[str, str], *words: str | Path) -> str:
    """What a development tool says; the test is skipped where it is not installed."""
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        pytest.skip(f"{program} is not installed beside this Python")
    done = subprocess.run(
        [path, *words],
        env=child_environment(environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def rclone(server: S3Server) -> Told:
    """Run rclone, to which ``there:`` is the server."""
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": server.endpoint_url,
        "ACCESS_KEY_ID": server.access_key.access_key_id,
        "SECRET_ACCESS_KEY": server.access_key.secret_access_key,
        "FORCE_PATH_STYLE": "true",
    }
    environ = {f"RCLONE_CONFIG_THERE_{name}": value for name, value in remote.items()}
    environ |= {"RCLONE_CONFIG": os.devnull, "RCLONE_NO_UNICODE_NORMALIZATION": "true"}
    return lambda *words: told("rclone", environ, *words)


@pytest.fixture
def s5cmd(server: S3Server) -> Told:
    """Run s5cmd against the server."""
    environ = {
        "AWS_ACCESS_KEY_ID": server.access_key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.access_key.secret_access_key,
        "AWS_REGION": "us-east-1",
        "S3_ENDPOINT_URL": server.endpoint_url,
    }
    return lambda *words: told("s5cmd", environ, *words)


def sizes(found: dict[str, bytes]) -> dict[str, int]:
    return {name: len(content) for name, content in found.items()}


def test_rclone_reads_what_we_wrote(server: S3Server, rclone: Told, tmp_path: Path) -> None:
    here, store = write(tmp_path / "here", FILES | CONTROLS), store_of(server)
    assert command(server, "upload", here, f"{store.url}/to").exit_code == 0
    there = f"there:{store.bucket}/to"
    listed = json.loads(rclone("lsjson", "-R", "--files-only", there))
    names = {each["Path"].translate(PICTURES): each["Size"] for each in listed}
    assert names == sizes(files(here))
    rclone("copy", there, tmp_path / "theirs")
    assert files(tmp_path / "theirs") == files(here)
    rclone("check", "--download", here, there)


def test_we_read_what_rclone_wrote(server: S3Server, rclone: Told, tmp_path: Path) -> None:
    here, store = write(tmp_path / "here", FILES | CONTROLS), store_of(server)
    rclone("copy", here, f"there:{store.bucket}/from")
    read_back(server, store.url, here, tmp_path / "ours")
    assert sizes(contents(store)) == {f"from/{key}": n for key, n in sizes(files(here)).items()}


def test_s5cmd_reads_what_we_wrote(server: S3Server, s5cmd: Told, tmp_path: Path) -> None:
    here, store = write(tmp_path / "here", FILES), store_of(server)
    assert command(server, "upload", here, f"{store.url}/to").exit_code == 0
    lines = s5cmd("--json", "ls", f"{store.url}/to/*").splitlines()
    listed = {each["key"]: each.get("size", 0) for each in map(json.loads, lines)}
    start = f"{store.url}/to/"
    assert {key.removeprefix(start): size for key, size in listed.items()} == sizes(files(here))
    s5cmd("cp", f"{store.url}/to/*", f"{tmp_path}/theirs/")
    assert files(tmp_path / "theirs") == files(here)


def test_we_read_what_s5cmd_wrote(server: S3Server, s5cmd: Told, tmp_path: Path) -> None:
    # On disk rclone's server lists a control character as its picture, once it has forgotten what
    # it was given.
    odd = {} if server.name == "rclone on disk" else CONTROLS
    here, store = write(tmp_path / "here", FILES | odd), store_of(server)
    s5cmd("cp", f"{here}/", f"{store.url}/from/")
    read_back(server, store.url, here, tmp_path / "ours")


def read_back(server: S3Server, url: str, here: Path, ours: Path) -> None:
    """Download what somebody else uploaded below ``from``, and find nothing more to do."""
    done = command(server, "download", f"{url}/from", ours)
    assert done.exit_code == 0, done.stderr
    assert files(ours) == files(here)
    assert command(server, "verify", ours, f"{url}/from").exit_code == 0
    for mode in ("size-mtime", "size", "checksum"):
        for ends in ((here, f"{url}/from"), (f"{url}/from", ours)):
            again = command(server, "sync", *ends, "--compare", mode)
            assert (again.exit_code, again.stdout) == (0, ""), again.output
