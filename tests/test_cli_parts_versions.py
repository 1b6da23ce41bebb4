"""Parts and versions of objects: ``cat --offset``, ``ls --versions``, ``cat --version-id``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stores import command, fill, store_of

if TYPE_CHECKING:
    from ingest.storage.s3 import S3Store
    from support import S3Server

CONTENT = bytes(range(48, 91))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), CONTENT),
        (("--offset", "8", "--length", "5"), CONTENT[8:13]),
        (("--offset", "40"), CONTENT[40:]),
        (("--offset", "40", "--length", "99"), CONTENT[40:]),
        (("--length", "1"), CONTENT[:1]),
        (("--offset", "99"), b""),
        (("--length", "0"), b""),
    ],
)
def test_a_part_of_an_object_is_written(
    server: S3Server, store: S3Store, words: tuple[str, ...], shown: bytes
) -> None:
    fill(store, {"a": CONTENT})
    done = command(server, "cat", f"{store.url}/a", *words)
    assert (done.exit_code, done.stdout_bytes) == (0, shown)


@pytest.mark.parametrize("words", [("--offset", "-1"), ("--length", "-1"), ("--offset", "x")])
def test_a_part_that_cannot_be_is_told(moto_server: S3Server, words: tuple[str, str]) -> None:
    assert command(moto_server, "cat", "s3://bucket/a", *words).exit_code == 2


def test_a_part_of_what_is_not_there_is_not_found(server: S3Server, store: S3Store) -> None:
    said = command(server, "cat", f"{store.url}/none", "--offset", "1")
    assert said.exit_code == 4
    assert f"{store.url}/none" in said.stderr


@pytest.fixture
def versions(moto_server: S3Server) -> S3Store:
    """A bucket in which an object was written, replaced and deleted, beside another."""
    store = store_of(moto_server)
    client = store.clients.client()
    client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    for content in (b"old", b"new!"):
        fill(store, {"a": content})
    fill(store, {"ab": b"", "a/b": b""})
    client.delete_object(Bucket=store.bucket, Key="a")
    return store


def test_every_version_is_listed_and_can_be_read(moto_server: S3Server, versions: S3Store) -> None:
    shown = command(moto_server, "ls", "--versions", "--json", f"{versions.url}/a")
    found = [json.loads(line) for line in shown.stdout.splitlines()]
    assert {each["key"] for each in found} == {"a", "a/b"}
    of_a = {each["size"]: each for each in found if each["key"] == "a"}
    assert {size: each["latest"] for size, each in of_a.items()} == {3: False, 4: False, 0: True}
    assert of_a[0]["type"] == "delete marker"
    words = ("cat", f"{versions.url}/a", "--version-id", of_a[3]["version_id"])
    assert command(moto_server, *words).stdout == "old"
    assert command(moto_server, *words, "--offset", "1").stdout == "ld"
    assert command(moto_server, "cat", f"{versions.url}/a").exit_code == 4


def test_versions_are_shown_one_a_line(moto_server: S3Server, versions: S3Store) -> None:
    shown = command(moto_server, "ls", "--versions", versions.url).stdout.splitlines()
    assert sorted(line.split()[-2:] for line in shown) == [
        ["latest", "a"],
        ["latest", "a/b"],
        ["latest", "ab"],
        ["older", "a"],
        ["older", "a"],
    ]
    assert sum(" deleted " in line for line in shown) == 1


def test_of_nothing_there_are_no_versions(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    assert command(moto_server, "ls", "--versions", store.url).exit_code == 0
    assert command(moto_server, "ls", "--versions", f"{store.url}/none").exit_code == 4


def test_a_store_that_lists_no_versions_says_so(rclone_server: S3Server) -> None:
    store = store_of(rclone_server)
    said = command(rclone_server, "ls", "--versions", store.url)
    assert said.exit_code == 1
    assert (
        f"{store.url} at {rclone_server.endpoint_url}: the store lists no versions" in said.stderr
    )
