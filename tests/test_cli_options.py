"""The options of the command, and what it takes from the environment instead of arguments."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faultproxy import Before, FaultProxy, Rule, StallAnswer
from runs import files
from stores import command, contents, fill, placed, store_of, write

if TYPE_CHECKING:
    from ingest.storage.s3 import S3Store
    from support import S3Server


FILES = {"a.txt": b"one", "dir/b.csv": b"two,2", "dir/deeper/c": b"", " é+%20'\"": b"x" * 3000}
LARGE = 17 << 20


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


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
    same = command(moto_server, "verify", tmp_path / "made", store.url, "--empty-dirs")
    assert same.exit_code == 0, same.stdout
    assert "made/empty/ -> " in same.stdout


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
    bucket = {"upload": "TARGET_BUCKET", "download": "SOURCE_BUCKET"}[verb]
    some = command(moto_server, verb, **{bucket: "bucket"})
    assert (some.exit_code, bucket in some.stderr) == (2, False)
    assert command(moto_server, verb, "one").exit_code == 2


@pytest.mark.parametrize("more", [[], ["--fail-fast"]])
@pytest.mark.parametrize("verb", ["upload", "download"])
def test_one_that_fails_keeps_the_others_from_going_only_where_that_is_asked(
    moto_server: S3Server, tmp_path: Path, verb: str, more: list[str]
) -> None:
    store, here = store_of(moto_server), tmp_path / "here"
    names = [f"{number:03}" for number in range(300)]
    if verb == "upload":
        write(here, dict.fromkeys(names, b"1"))
        (here / "000").unlink()
        (here / "000").symlink_to("nowhere")
        words = [str(here), store.url, "--follow-symlinks"]
    else:
        fill(store, {"000": b"1"}, sha256="0" * 64)
        fill(store, dict.fromkeys(names[1:], b"1"))
        words = [store.url, str(here)]
    done = command(moto_server, verb, *words, "--concurrency", "1", *more)
    arrived = contents(store) if verb == "upload" else files(here)
    assert done.exit_code == 1
    assert "000" in done.stderr
    assert done.stderr.count("failed: ") == 1
    assert (len(arrived) < 200) if more else (set(names[1:]) <= arrived.keys())
    assert not any(name.endswith(".partial") for name in arrived)


@pytest.mark.parametrize(
    ("more", "kept"), [([], True), (["--keep-partial"], True), (["--no-keep-partial"], False)]
)
def test_a_first_failure_ends_what_is_under_way_and_keeps_it_to_go_on_from(
    moto_server: S3Server, tmp_path: Path, more: list[str], *, kept: bool
) -> None:
    store, here = store_of(moto_server), tmp_path / "here"
    fill(store, {"large": os.urandom(LARGE * 2)})
    fill(store, {"wrong": b"1"}, sha256="0" * 64)
    stall = StallAnswer(threading.Event(), after=500)
    with FaultProxy(moto_server.endpoint_url) as proxy:

        def under_way() -> None:
            proxy.wait_until(lambda: any(each.stat().st_blocks for each in here.glob(".*.partial")))

        proxy.rules = [
            Rule(Before(under_way), "GET", "/wrong"),
            Rule(stall, "GET", "/large", skip=2, times=None),
        ]
        done = command(
            *(moto_server, "download", store.url, here, "--fail-fast", *more),
            endpoint_url=proxy.endpoint_url,
        )
        stall.release.set()
    assert (done.exit_code, done.stderr.count("failed: ")) == (1, 1)
    assert [path.name.split(".")[1] for path in here.iterdir()] == (["large"] if kept else [])
