"""The command ``ingest``, as a person or a script runs it: its help, and where things go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from runs import child_environment, files
from stores import ALL_COMMANDS, command, contents, fill, lines, placed, store_of, write

if TYPE_CHECKING:
    from ingest.storage.s3 import S3Store
    from support import S3Server


COMMANDS = (
    "run purge buckets mb rb ls upload download sync cp mv rm cat presign verify cleanup doctor "
    "jobs tapes backfill transfer follow"
).split()
TRANSFERS = "upload download sync cp mv".split()
COMMON = (
    "--dry-run --json --quiet --include --exclude --concurrency --limit-rate --follow-symlinks "
    "--content-type --metadata --storage-class --sse --sse-kms-key-id --acl --no-overwrite "
    "--endpoint-url --provider --profile --region --empty-dirs --keep-partial"
).split()
FILES = {"a.txt": b"one", "dir/b.csv": b"two,2", "dir/deeper/c": b"", " é+%20'\"": b"x" * 3000}
LARGE = 17 << 20


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


# Help


def test_help_lists_every_command() -> None:
    told = command(None, "--help")
    assert told.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in told.stdout, name
    assert set(ALL_COMMANDS) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(ALL_COMMANDS))
def test_help_of_a_command_lists_its_options_and_says_what_each_is_for(name: str) -> None:
    told = command(None, name, "--help")
    assert told.exit_code == 0
    for parameter in ALL_COMMANDS[name].params:
        assert all(option in told.stdout for option in parameter.opts if option.startswith("--"))
        if isinstance(parameter, click.Option) and parameter.name != "storage_class":
            assert parameter.help or isinstance(parameter.type, click.Choice) or parameter.metavar


@pytest.mark.parametrize("name", TRANSFERS)
def test_the_common_options_are_those_of_every_transfer(name: str) -> None:
    has = {option for parameter in ALL_COMMANDS[name].params for option in parameter.opts}
    assert has >= set(COMMON)


def test_it_starts_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "--version"],
        env=child_environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ingest")


# Where things go


@pytest.mark.parametrize("end", ["", "/"])
def test_a_directory_goes_up_and_comes_down(
    server: S3Server, store: S3Store, here: Path, tmp_path: Path, end: str
) -> None:
    up = command(server, "upload", f"{here}{end}", f"{store.url}/to{end}")
    assert up.exit_code == 0, up.stderr
    assert contents(store) == placed("to/", FILES)
    assert f"upload {here}/a.txt -> {store.url}/to/a.txt" in up.stdout
    assert "4 uploaded" in up.stderr
    down = command(server, "download", f"{store.url}/to{end}", f"{tmp_path}/made{end}")
    assert down.exit_code == 0, down.stderr
    assert files(tmp_path / "made") == FILES


@pytest.mark.parametrize(
    ("target", "key"),
    [("", "a.txt"), ("/", "a.txt"), ("/x", "x"), ("/dir/", "dir/a.txt"), ("//x", "/x")],
)
def test_one_file_goes_to_the_key_or_into_the_directory_that_is_named(
    moto_server: S3Server, here: Path, target: str, key: str
) -> None:
    for verb in ("upload", "cp"):
        store = store_of(moto_server)
        assert command(moto_server, verb, here / "a.txt", store.url + target).exit_code == 0
        assert contents(store) == {key: b"one"}


@pytest.mark.parametrize(("target", "path"), [("x", "x"), ("there/", "there/k"), (".", "k")])
def test_one_object_comes_to_the_path_or_into_the_directory_that_is_named(
    server: S3Server, store: S3Store, target: str, path: str
) -> None:
    fill(store, {"dir/k": b"content", "dir/k2": b""})
    for verb in ("download", "cp"):
        assert command(server, verb, f"{store.url}/dir/k", target).exit_code == 0
        assert Path(path).read_bytes() == b"content"
        Path(path).unlink()


def test_what_is_an_object_and_a_directory_is_chosen_by_the_slash(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"object", "a/b": b"below"})
    command(moto_server, "download", f"{store.url}/a", tmp_path / "one")
    command(moto_server, "download", f"{store.url}/a/", tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == b"object"
    assert files(tmp_path / "other") == {"b": b"below"}


def test_copies_and_moves_of_one_and_of_many(server: S3Server, store: S3Store) -> None:
    fill(store, {"a": b"1", "dir/b": b"2", "dir/c/d": b"3", "dir2/e": b"4"})
    other = store_of(server)
    assert command(server, "cp", f"{store.url}/a", f"{other.url}/x/").exit_code == 0
    assert command(server, "cp", "--recursive", f"{store.url}/dir", f"{other.url}/y").exit_code == 0
    assert contents(other) == {"x/a": b"1", "y/b": b"2", "y/c/d": b"3"}
    assert command(server, "mv", f"{store.url}/a", f"{store.url}/z").exit_code == 0
    assert command(server, "mv", "--recursive", f"{store.url}/dir/", other.url).exit_code == 0
    assert contents(store) == {"z": b"1", "dir2/e": b"4"}
    assert set(contents(other)) == {"x/a", "y/b", "y/c/d", "b", "c/d"}


def test_a_sync_goes_every_way_and_the_second_time_does_nothing(
    server: S3Server, store: S3Store, here: Path, tmp_path: Path
) -> None:
    other, made = store_of(server), tmp_path / "made"
    ways = [(here, f"{store.url}/p"), (f"{store.url}/p", other.url), (other.url, made)]
    for source, target in ways:
        for expected in (4, 0):
            done = command(server, "sync", source, target, "--delete", "--json")
            assert done.exit_code == 0, done.stderr
            assert lines(done)[-1]["summary"]["done"] == expected
    assert files(made) == FILES


def test_a_sync_deletes_only_what_it_may(server: S3Server, store: S3Store, here: Path) -> None:
    fill(store, {"old1": b"", "old2": b""})
    told = command(server, "sync", here, store.url, "--delete", "--max-delete", "1")
    assert told.exit_code == 1
    assert "--max-delete" in told.stderr
    assert set(contents(store)) == {*FILES, "old1", "old2"}
    assert command(server, "sync", here, store.url, "--delete", "--max-delete", "2").exit_code == 0
    assert contents(store) == FILES


# Looking, and deleting


def test_a_list_shows_one_level_or_all(server: S3Server, store: S3Store) -> None:
    fill(store, {"a.txt": b"one", "dir/b c": b"", "dir/d/e": b"", "dir2/f": b""})

    def names(*arguments: str) -> list[str]:
        told = command(server, "ls", "--json", *arguments)
        assert told.exit_code == 0, told.stderr
        return [json.loads(line)["key"] for line in told.stdout.splitlines()]

    assert names(store.url) == ["a.txt", "dir/", "dir2/"]
    assert names(f"{store.url}/dir/") == names(f"{store.url}/dir") == ["dir/b c", "dir/d/"]
    assert names(f"{store.url}/dir", "--recursive") == ["dir/b c", "dir/d/e"]
    assert names(f"{store.url}/a.txt") == ["a.txt"]
    plain = command(server, "ls", store.url)
    assert "             3  a.txt" in plain.stdout
    assert "DIR  dir/" in plain.stdout


def test_a_list_of_names_that_a_terminal_would_obey_is_escaped(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"a\x1b[31mb": b""})
    told = command(moto_server, "ls", store.url)
    assert "a\\x1b[31mb\n" in told.stdout
    assert len(told.stdout.splitlines()) == 1


@pytest.mark.parametrize("key", ["plain", "odd//key ç"])
def test_cat_writes_exactly_the_bytes(moto_server: S3Server, key: str) -> None:
    content = os.urandom(3 << 20) + b"\r\n\x00\xff"
    store = store_of(moto_server)
    fill(store, {key: content})
    assert command(moto_server, "cat", f"{store.url}/{key}").stdout_bytes == content


def test_a_delete_is_of_one_or_of_what_is_below(server: S3Server, store: S3Store) -> None:
    fill(store, {"a": b"", "dir/b": b"", "dir/c.txt": b"", "dir2/d": b"", "e": b""})
    assert command(server, "rm", f"{store.url}/a").exit_code == 0
    assert set(contents(store)) == {"dir/b", "dir/c.txt", "dir2/d", "e"}
    some = command(server, "rm", "--recursive", f"{store.url}/dir", "--exclude", "*.txt")
    assert some.exit_code == 0
    assert set(contents(store)) == {"dir/c.txt", "dir2/d", "e"}
    assert command(server, "rm", "--recursive", store.url).exit_code == 0
    assert contents(store) == {}


def test_verify_compares_two_files_too(server: S3Server, store: S3Store, here: Path) -> None:
    fill(store, {"x/a.txt": b"one", "x/b": b"two"})
    for ends in (
        (here / "a.txt", f"{store.url}/x/"),
        (here / "a.txt", f"{store.url}/x/a.txt"),
        (f"{store.url}/x/a.txt", here),
        (f"{store.url}/x/a.txt", f"{store.url}/x/a.txt"),
    ):
        told = command(server, "verify", *ends)
        assert told.exit_code == 0, told.stderr
        assert "1 verified" in told.stderr
    for target, says in (("b", "the contents differ"), ("none", "it is not in the destination")):
        told = command(server, "verify", here / "a.txt", f"{store.url}/x/{target}")
        assert told.exit_code == 1
        assert f"{here}/a.txt -> {store.url}/x/{target}: {says}" in told.stderr


def test_verify_names_what_is_missing_where_it_would_be(
    server: S3Server, store: S3Store, here: Path, tmp_path: Path
) -> None:
    fill(store, placed("x/", FILES) | placed("y/", {"other": b""}))
    (here / "a.txt").unlink()
    write(tmp_path / "one", {"more": b""})
    told = command(server, "verify", tmp_path / "one", f"{store.url}/y")
    lines = told.stderr.splitlines()
    start = f"failed: verify {tmp_path}/one"
    assert f"{start}/more -> {store.url}/y/more: it is not in the destination" in lines
    assert f"{start}/other -> {store.url}/y/other: it is not in the source" in lines
    told = command(server, "verify", f"{store.url}/y", f"{store.url}/x")
    assert f"{store.url}/x/a.txt: it is not in the source" in told.stderr
    assert f"{store.url}/x/other: it is not in the destination" in told.stderr


def test_verify_says_what_differs(server: S3Server, store: S3Store, here: Path) -> None:
    command(server, "upload", here, store.url)
    same = command(server, "verify", here, store.url)
    assert same.exit_code == 0
    assert "4 verified" in same.stderr
    fill(store, {"a.txt": b"ONE", "more": b""})
    for ends in ((here, store.url), (store.url, here)):
        differs = command(server, "verify", *ends)
        assert differs.exit_code == 1
        assert "a.txt: the contents differ" in differs.stderr
        assert "more" in differs.stderr
    assert command(server, "verify", here, store.url, "--exclude", "*").exit_code == 0


def test_buckets_are_made_and_removed(server: S3Server) -> None:
    name = f"{server.new_bucket()}-more"
    for words, operation, status in (
        (["mb"], "make", "done"),
        (["mb"], "make", "skipped"),
        (["rb"], "remove", "done"),
    ):
        done = command(server, *words, f"s3://{name}", "--json")
        assert done.exit_code == 0, done.stderr
        told, last = lines(done)
        assert (told["operation"], told["status"]) == (operation, status)
        assert told["target"] == f"s3://{name}"
        assert last["summary"]["done"] == (status == "done")
    made = command(server, "mb", f"s3://{name}")
    assert (made.stdout, made.stderr[:7]) == (f"make s3://{name}\n", "1 made ")
    command(server, "upload", __file__, f"s3://{name}", "--quiet")
    full = command(server, "rb", f"s3://{name}")
    assert (full.exit_code, "rb --force" in full.stderr) == (1, True)
    gone = command(server, "rb", "--force", f"s3://{name}", "--quiet")
    assert (gone.exit_code, gone.output) == (0, "")
    listed = command(server, "buckets", "--json").stdout.splitlines()
    assert name not in {json.loads(line)["name"] for line in listed}
