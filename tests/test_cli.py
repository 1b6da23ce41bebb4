"""The command ``ingest``, as a person or a script runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from faultproxy import FaultProxy, Rule, Stall, StallAnswer
from ingest.cli import cli
from runs import child_environment, files
from stores import (
    command,
    command_environment,
    contents,
    fill,
    program,
    store_of,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from ingest.storage.s3 import S3Store
    from support import S3Server

COMMANDS = (
    "run buckets mb rb ls upload download sync cp mv rm cat presign verify cleanup doctor".split()
)
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


def lines(result: Result) -> list[dict[str, Any]]:
    """What ``--json`` wrote: every line an object, the last one the summary."""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(isinstance(each, dict) for each in found)
    assert ["summary" in each for each in found] == [False] * (len(found) - 1) + [True]
    return found


def placed(root: str, contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{root}{key}": content for key, content in contents.items()}


# Help


def test_help_lists_every_command() -> None:
    told = command(None, "--help")
    assert told.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in told.stdout, name
    assert set(cli.commands) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_of_a_command_lists_its_options_and_says_what_each_is_for(name: str) -> None:
    told = command(None, name, "--help")
    assert told.exit_code == 0
    for parameter in cli.commands[name].params:
        assert all(option in told.stdout for option in parameter.opts if option.startswith("--"))
        if isinstance(parameter, click.Option) and parameter.name != "storage_class":
            assert parameter.help or isinstance(parameter.type, click.Choice) or parameter.metavar


@pytest.mark.parametrize("name", TRANSFERS)
def test_the_common_options_are_those_of_every_transfer(name: str) -> None:
    has = {option for parameter in cli.commands[name].params for option in parameter.opts}
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


# What is told


def told_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Operations without what tells a plan from what was done."""
    return [
        {name: value for name, value in each.items() if name != "status"}
        for each in found[:-1]
        if each["status"] in {"planned", "done"}
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["upload", "{here}", "{store}/to"], id="upload"),
        pytest.param(["upload", "{here}/a.txt", "{store}/to/"], id="upload-one"),
        pytest.param(["download", "{store}/from", "{made}"], id="download"),
        pytest.param(["download", "{store}/from/k", "{made}"], id="download-one"),
        pytest.param(["sync", "{here}", "{store}/from", "--delete"], id="sync-up"),
        pytest.param(["sync", "{store}/from", "{here}", "--delete"], id="sync-down"),
        pytest.param(["sync", "{store}/from", "{store}/to", "--delete"], id="sync-copy"),
        pytest.param(["cp", "{store}/from/k", "{store}/to/"], id="cp"),
        pytest.param(["cp", "--recursive", "{here}", "{store}/to"], id="cp-recursive"),
        pytest.param(["mv", "{here}/a.txt", "{store}/to/"], id="mv"),
        pytest.param(["mv", "--recursive", "{store}/from", "{made}"], id="mv-recursive"),
        pytest.param(["rm", "{store}/from/k"], id="rm"),
        pytest.param(["rm", "--recursive", "{store}/from"], id="rm-recursive"),
    ],
)
def test_a_dry_run_says_exactly_what_is_then_done_and_touches_nothing(
    moto_server: S3Server, here: Path, tmp_path: Path, arguments: list[str]
) -> None:
    store = store_of(moto_server)
    there = {"from/k": b"1", "from/l/m": b"2", "from/n": b"3", "to/old": b"4", "to/same": b"5"}
    fill(store, there)
    made = tmp_path / "made"
    words = [word.format(here=here, store=store.url, made=made) for word in arguments]
    words += ["--concurrency", "1", "--json"]
    planned = command(moto_server, *words, "--dry-run")
    assert planned.exit_code == 0, planned.stderr
    assert contents(store) == there
    assert files(here) == FILES
    assert not made.exists()
    done = command(moto_server, *words)
    assert done.exit_code == 0, done.stderr
    assert told_of(lines(planned)) == told_of(lines(done))
    assert {each["status"] for each in lines(planned)[:-1]} == {"planned"}
    assert lines(planned)[-1]["summary"]["planned"] == lines(done)[-1]["summary"]["done"] > 0


def test_json_is_all_there_is_on_stdout(server: S3Server, store: S3Store, here: Path) -> None:
    (here / "link").symlink_to("a.txt")
    done = command(server, "upload", here, store.url, "--json")
    *operations, last = lines(done)
    assert done.exit_code == 0
    (skipped,) = [each for each in operations if each["status"] == "skipped"]
    assert "not followed" in skipped["reason"]
    sent = [each for each in operations if each["status"] == "done"]
    assert {each["target"] for each in sent} == {f"{store.url}/{key}" for key in FILES}
    assert all(each["operation"] == "upload" for each in sent)
    summary = last["summary"]
    assert (summary["done"], summary["skipped"], summary["failed"]) == (4, 1, 0)
    assert summary["bytes"] == sum(map(len, FILES.values()))


def test_json_tells_failures_and_ends_with_the_summary_all_the_same(
    moto_server: S3Server, here: Path, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"bad//key": b"", "good": b""})
    some = command(moto_server, "download", store.url, tmp_path / "made", "--json")
    assert some.exit_code == 1
    (failed,) = [each for each in lines(some)[:-1] if each["status"] == "failed"]
    assert "bad//key" in failed["error"]
    missing = command(moto_server, "sync", here, "s3://no-such-bucket-here", "--json")
    assert missing.exit_code == 4
    assert lines(missing)[-1]["summary"]["done"] == 0
    assert len(missing.stderr.splitlines()) == 1


def test_json_of_names_that_are_no_utf8(moto_server: S3Server, tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(root)  # noqa: PTH102 - a name of bytes
    for name in (b"/ok", b"/\xfe"):
        with open(root + name, "wb"):  # noqa: PTH123 - as above
            pass
    store = store_of(moto_server)
    done = command(moto_server, "upload", os.fsdecode(root), store.url, "--json")
    assert done.exit_code == 1
    assert sorted(each["status"] for each in lines(done)[:-1]) == ["done", "failed"]
    assert command(moto_server, "upload", os.fsdecode(root), store.url).exit_code == 1
    assert set(contents(store)) == {"ok"}


def test_quiet_shows_failures_alone(moto_server: S3Server, here: Path, tmp_path: Path) -> None:
    store = store_of(moto_server)
    fill(store, {"bad//key": b"", "good": b""})
    quiet = command(moto_server, "upload", here, f"{store.url}/to", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    failing = command(moto_server, "download", store.url, tmp_path / "made", "--quiet")
    assert (failing.exit_code, failing.stdout) == (1, "")
    (line,) = failing.stderr.splitlines()
    assert "bad//key" in line


# Options


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["--exclude", "*", "--include", "*.csv"], {"dir/b.csv"}),
        (["--include", "*.csv", "--exclude", "*"], set()),
        (["--include", "*.csv"], {*FILES}),
        (["--exclude", "dir/*", "--include", "dir/d*", "--exclude", "*/c"], {*FILES} - {
            "dir/b.csv", "dir/deeper/c"}),
        (["--exclude=dir/*", "--json", "--include=dir/b*"], {*FILES} - {"dir/deeper/c"}),
    ],
)  # fmt: skip
def test_the_last_rule_that_matches_wins(
    moto_server: S3Server, here: Path, rules: list[str], expected: set[str]
) -> None:
    store = store_of(moto_server)
    assert command(moto_server, "upload", here, store.url, *rules).exit_code == 0
    assert set(contents(store)) == expected


@pytest.mark.parametrize("name", ["upload", "sync", "cp", "mv"])
def test_what_objects_are_written_with(moto_server: S3Server, here: Path, name: str) -> None:
    store = store_of(moto_server)
    words = "--content-type text/x-me --metadata Made-By=me --metadata to=a=b --sse AES256 "
    words += "--storage-class STANDARD_IA --acl public-read"
    recursive = ["--recursive"] if name in {"cp", "mv"} else []
    assert command(moto_server, name, here, store.url, *recursive, *words.split()).exit_code == 0
    head = store.clients.client().head_object(Bucket=store.bucket, Key="a.txt")
    assert (head["ContentType"], head["StorageClass"]) == ("text/x-me", "STANDARD_IA")
    assert head["Metadata"]["made-by"] == "me"
    assert head["Metadata"]["to"] == "a=b"
    assert head["ServerSideEncryption"] == "AES256"


def test_a_copy_is_written_with_what_is_asked_for(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"1"})
    done = command(
        moto_server, "cp", f"{store.url}/a", f"{store.url}/b", "--content-type", "text/x-me"
    )
    assert (done.exit_code, store.head("b").content_type) == (0, "text/x-me")


@pytest.mark.parametrize("verb", ["upload", "download", "cp", "mv", "sync", "cp-objects"])
def test_without_overwrite_one_that_is_there_stays(
    server: S3Server, store: S3Store, here: Path, tmp_path: Path, verb: str
) -> None:
    fill(store, {"a.txt": b"there", "b.txt": b"other"})
    write(tmp_path / "to", {"a.txt": b"there"})
    source: str | Path = here / "a.txt"
    target = f"{store.url}/a.txt"
    if verb == "download":
        source, target = f"{store.url}/b.txt", str(tmp_path / "to/a.txt")
    elif verb == "cp-objects":
        source, verb = f"{store.url}/b.txt", "cp"
    elif verb == "sync":
        source, target = here, store.url
    done = command(server, verb, source, target, "--no-overwrite")
    assert done.exit_code == 0, done.stderr
    assert "it is there already" in done.stdout
    assert contents(store)["a.txt"] == b"there"
    assert (tmp_path / "to/a.txt").read_bytes() == b"there"
    assert (here / "a.txt").read_bytes() == b"one"


def test_links_and_empty_directories_go_along_when_asked(
    moto_server: S3Server, here: Path, tmp_path: Path
) -> None:
    (here / "link").symlink_to("a.txt")
    (here / "empty").mkdir()
    store = store_of(moto_server)
    plain = command(moto_server, "upload", here, store.url)
    assert "skipped: link" in plain.stdout
    assert contents(store) == FILES
    command(moto_server, "upload", here, store.url, "--follow-symlinks", "--empty-dirs")
    assert contents(store) == {**FILES, "link": b"one", "empty/": b""}
    command(moto_server, "download", store.url, tmp_path / "made", "--empty-dirs")
    assert (tmp_path / "made/empty").is_dir()


def test_a_rate_limit_is_kept(moto_server: S3Server, tmp_path: Path) -> None:
    root = write(tmp_path / "here", {f"f{number}": b"x" * 500 for number in range(4)})
    store = store_of(moto_server)
    start = time.monotonic()
    assert command(moto_server, "upload", root, store.url, "--limit-rate", "2K").exit_code == 0
    assert time.monotonic() - start > 3 * 500 / 2048
    start = time.monotonic()
    assert command(moto_server, "download", store.url, "made", "--limit-rate=2KiB").exit_code == 0
    assert time.monotonic() - start > 3 * 500 / 2048


def test_a_rate_limit_is_kept_for_a_large_file(moto_server: S3Server, tmp_path: Path) -> None:
    root = write(tmp_path / "here", {"large": os.urandom(LARGE)})
    store = store_of(moto_server)
    start = time.monotonic()
    assert command(moto_server, "upload", root, store.url, "--limit-rate", "8M").exit_code == 0
    assert time.monotonic() - start > 1.9


def test_the_command_line_wins_over_the_environment(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    done = command(
        moto_server,
        *("upload", here, store.url, "--endpoint-url", moto_server.endpoint_url + "/"),
        endpoint_url="not a url",
    )
    assert done.exit_code == 0, done.stderr
    assert contents(store) == FILES


def test_a_profile_is_used(rclone_server: S3Server, here: Path, tmp_path: Path) -> None:
    key = rclone_server.access_key
    (tmp_path / "no-aws-credentials").write_text(
        f"[mine]\naws_access_key_id={key.access_key_id}\n"
        f"aws_secret_access_key={key.secret_access_key}\n"
    )
    store = store_of(rclone_server)
    wrong = {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "wrong"}
    words = ["upload", str(here), store.url, "--region", "us-east-1"]
    assert command(rclone_server, *words, **wrong).exit_code == 3
    assert command(rclone_server, *words, "--profile", "mine", **wrong).exit_code == 0
    assert contents(store) == FILES


# Without arguments


def test_upload_without_arguments_takes_a_directory_of_downloads_to_a_directory(
    server: S3Server, store: S3Store
) -> None:
    write(Path("downloads/my dir"), FILES)
    write(Path("downloads/other"), {"not": b"this"})
    for target in ("my-target-dir", "my-target-dir/"):
        done = command(
            server,
            "upload",
            TARGET_BUCKET=store.bucket,
            TARGET_DIR=target,
            SOURCE_LOCAL_DIR="my dir",
        )
        assert done.exit_code == 0, done.stderr
        assert contents(store) == placed("my-target-dir/", FILES)


def test_download_without_arguments_brings_a_directory_to_downloads(
    server: S3Server, store: S3Store
) -> None:
    fill(store, {**placed("my-dir/", FILES), "my-dir2/x": b"sibling", "other/y": b""})
    for source in ("my-dir", "my-dir/"):
        done = command(server, "download", SOURCE_BUCKET=store.bucket, SOURCE_DIR=source)
        assert done.exit_code == 0, done.stderr
        assert files(Path("downloads")) == placed("my-dir/", FILES)


@pytest.mark.parametrize("verb", ["upload", "download"])
def test_without_arguments_what_is_missing_in_the_environment_is_named(
    moto_server: S3Server, verb: str
) -> None:
    done = command(moto_server, verb)
    assert done.exit_code == 2
    names = {"upload": "TARGET_BUCKET SOURCE_LOCAL_DIR", "download": "SOURCE_BUCKET SOURCE_DIR"}
    assert all(name in done.stderr for name in names[verb].split())
    assert not Path("downloads").exists()
    assert command(moto_server, verb, "one").exit_code == 2


# On a terminal, and in a pipe


def test_progress_on_a_terminal_and_plain_lines_without_one(
    moto_server: S3Server, here: Path
) -> None:
    store = store_of(moto_server)
    end, terminal = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                block = os.read(end, 4096)
            except OSError:
                return
            if not block:
                return
            seen.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "upload", here, store.url],
        env=child_environment(command_environment(moto_server) | {"TERM": "xterm"}),
        stdout=subprocess.PIPE,
        stderr=terminal,
        check=False,
    )
    os.close(terminal)
    reader.join()
    os.close(end)
    shown = b"".join(seen).decode()
    assert done.returncode == 0, shown
    assert "files" in shown
    assert "4 uploaded" in shown
    assert "\x1b" in shown
    piped = command(moto_server, "upload", here, store.url)
    assert len(piped.stdout.splitlines()) == len(FILES)
    assert "\x1b" not in piped.output


def test_a_reader_that_goes_away_is_no_error_to_show(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"large": b"line\n" * 1_000_000})
    with program(moto_server, "cat", f"{store.url}/large") as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == "line\n"
        running.stdout.close()
        assert running.stderr.read() == ""


# Ctrl-C


def interrupted(running: subprocess.Popen[str], reached: Callable[[], None]) -> tuple[str, str]:
    """Press Ctrl-C once ``reached`` returns; return what was told."""
    try:
        reached()
        start = time.monotonic()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=10)
        took = time.monotonic() - start
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert took < 2
    return out, err


@pytest.mark.parametrize("size", [100, LARGE], ids=["small", "large"])
def test_ctrl_c_ends_an_upload(moto_server: S3Server, tmp_path: Path, size: int) -> None:
    root = write(tmp_path / "here", {"a": b"x", "stalls": os.urandom(size)})
    store = store_of(moto_server)
    with FaultProxy(moto_server.endpoint_url) as proxy:
        stall = Stall(threading.Event(), after=10)
        proxy.rules = [Rule(stall, "PUT", path="/stalls", times=None)]
        running = program(moto_server, "upload", root, store.url, endpoint_url=proxy.endpoint_url)
        with running:
            out, err = interrupted(
                running,
                lambda: proxy.wait_until(
                    lambda: (
                        any(each.body_size for each in proxy.seen("PUT", "/stalls"))
                        and any(each.status for each in proxy.seen("PUT", "/a"))
                    )
                ),
            )
    assert "left to do" in err
    assert contents(store) == {"a": b"x"}
    assert "Exception" not in out + err


@pytest.mark.parametrize("size", [100_000, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("json_too", [False, True])
def test_ctrl_c_ends_a_download_and_leaves_nothing_partial(
    moto_server: S3Server,
    tmp_path: Path,
    size: int,
    json_too: bool,  # noqa: FBT001 - a parameter
) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"x", "stalls": os.urandom(size)})
    target = write(tmp_path / "made", {"stalls": b"old"})
    with FaultProxy(moto_server.endpoint_url) as proxy:
        stall = StallAnswer(threading.Event(), after=50_000)
        proxy.rules = [Rule(stall, "GET", path="/stalls", times=None)]
        words = ["download", store.url, str(target), *(["--json"] if json_too else [])]
        with program(moto_server, *words, endpoint_url=proxy.endpoint_url) as running:
            out, _ = interrupted(
                running,
                lambda: proxy.wait_until(
                    lambda: any(each.status for each in proxy.seen("GET", "/stalls"))
                ),
            )
    assert files(target).items() - {("a", b"x")} == {("stalls", b"old")}
    if json_too:
        found = [json.loads(line) for line in out.splitlines()]
        assert found[-1]["interrupted"] is True
        assert "summary" in found[-1]


@pytest.mark.parametrize("words", [["ls"], ["cat"], ["rm", "--recursive"], ["verify", "here"]])
def test_ctrl_c_ends_whatever_waits_for_the_store(
    moto_server: S3Server, here: Path, words: list[str]
) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"x"})
    url = f"{store.url}/a" if words == ["cat"] else store.url
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(StallAnswer(threading.Event()), times=None)]
        with program(moto_server, *words, url, endpoint_url=proxy.endpoint_url) as running:
            interrupted(running, lambda: proxy.wait_until(lambda: bool(proxy.seen())))
    assert set(contents(store)) == {"a"}
    assert here.exists()
