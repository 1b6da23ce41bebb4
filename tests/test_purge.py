"""TMDB's data is deleted when its time has come: just that, every version of it, and in order."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultproxy import Answer, Before, FaultProxy, Rule, StallAnswer
from ingest.purge import Days
from ingest.storage import versions
from runs import (
    COMMITTED,
    DAY,
    LAKE,
    MOVIES,
    SERIES,
    WatchedBucket,
    answer,
    child_environment,
    files,
    manifest_key,
    objects,
    variables,
)
from stores import command, fill, store_of, write
from tinys3 import Answer as Reply
from tinys3 import Asked, TinyS3, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.testing import Result

    from ingest.sandbox import Sandbox
    from ingest.storage.s3 import S3Store
    from support import S3Server

DAYS = (DAY, "2026-11-19")
ZONE = "raw/TMDB/JSON"
FOREIGN = (
    # Beside the zone, though it begins the same.
    f"{ZONE}2/Movies/2026/11/20/movies_2026-11-20.json",
    "raw/TMDB/Movies/2026/11/20/movies_2026-11-20.json",
    f"backup/{MOVIES}",
    # In it, in no partition.
    f"{ZONE}/_manifest.json",
    f"{ZONE}/movies_2026-11-20.json",
    f"{ZONE}/Books/2026/11/20/movies_2026-11-20.json",
    f"{ZONE}/Movies/2026/13/40/movies_2026-13-40.json",
    f"{ZONE}/Movies/2026/11/20/old/movies_2026-11-20.json",
    f"{ZONE}/test/Movies/2026/11/20/_manifest.json",
    # In one, and of no run.
    f"{MOVIES}.bak",
    f"{ZONE}/Movies/2026/11/20/notes.txt",
    f"{ZONE}/Movies/2026/11/20/movies_2026-11-19.json",
    f"{ZONE}/Movies/2026/11/20/series_2026-11-20.json",
    f"{ZONE}/Movies/2026/11/20/_manifest.json.old",
)


def partition(day: str = DAY) -> dict[str, bytes]:
    """Objects under the keys that a run has for ``day``."""
    slashed = day.replace("-", "/")
    return {key.replace("2026/11/20", slashed).replace(DAY, day): b"{}" for key in COMMITTED}


def purge(server: S3Server, bucket: str, *words: str, url: str | None = None) -> Result:
    return command(server, "purge", *words, endpoint_url=url, BUCKET_NAME=bucket)


def lines(told: Result) -> list[str]:
    """What is told, in an order: of what is deleted side by side any may be the first."""
    return sorted(told.stdout.splitlines())


def targets(told: Result) -> list[str]:
    """The keys that a dry run names, in order."""
    would = [line for line in told.stdout.splitlines() if line.startswith("would delete ")]
    return [ZONE + line.split(" (")[0].partition(ZONE)[2] for line in would]


def remaining(store: S3Store) -> list[tuple[str, bytes | None]]:
    """Every version of every object, and of delete markers None."""
    client = store.clients.client()
    page: Any = client.list_object_versions(Bucket=store.bucket)
    found = [
        (each["Key"], client.get_object(**_of(store, each))["Body"].read())
        for each in page.get("Versions", ())
    ]
    return sorted(found) + [(each["Key"], None) for each in page.get("DeleteMarkers", ())]


def _of(store: S3Store, version: Mapping[str, Any]) -> dict[str, Any]:
    return {"Bucket": store.bucket, "Key": version["Key"], "VersionId": version["VersionId"]}


def versioned(server: S3Server) -> S3Store:
    """A bucket that keeps versions, with three of ``MOVIES`` and a deleted ``SERIES``."""
    store = store_of(server)
    enabled: Any = {"Status": "Enabled"}
    store.clients.client().put_bucket_versioning(
        Bucket=store.bucket, VersioningConfiguration=enabled
    )
    for number in b"123":
        fill(store, dict.fromkeys(partition(), bytes([number])))
    store.clients.client().delete_object(Bucket=store.bucket, Key=SERIES)
    return store


# What runs landed


@pytest.fixture(params=["directory", "rclone", "moto"])
def lake(request: pytest.FixtureRequest) -> tuple[dict[str, str], Callable[[], dict[str, bytes]]]:
    """The variables of a lake, and what is in it."""
    if request.param == "directory":
        return {}, files
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    bucket = server.new_bucket()
    return server.environment(bucket), lambda: objects(server, bucket)


def test_a_day_that_runs_landed_is_deleted_and_no_other(
    stand_in: Callable[..., Sandbox],
    lake: tuple[dict[str, str], Callable[[], dict[str, bytes]]],
) -> None:
    where, content = lake
    environ = variables(stand_in(), **where)
    answer({"date": DAYS[1]}, environ)
    other = content()
    answer({"date": DAYS[0]}, environ)
    both = content()
    assert both.keys() - other.keys() == COMMITTED

    told = command(None, "purge", "--date", DAY, **where)
    assert told.exit_code == 0
    assert set(targets(told)) == COMMITTED
    assert "nothing is deleted yet: add --yes" in told.stderr
    assert content() == both

    done = command(None, "purge", "--date", DAY, "--yes", **where)
    assert done.exit_code == 0, done.stderr
    assert lines(done) == sorted(line.replace("would delete", "delete") for line in lines(told))
    assert "4 deleted" in done.stderr
    assert content() == other

    again = command(None, "purge", "--date", DAY, "--yes", **where)
    assert again.exit_code == 0
    assert "no such partition in " in again.stderr
    answer({"scheduled_time": f"{DAY}T06:00:00Z"}, environ)
    assert content().keys() == both.keys()


@pytest.mark.parametrize(
    "more",
    [
        {"OUTPUT_FORMAT": "jsonl"},
        {"OUTPUT_COMPRESSION": "gzip"},
        {"OUTPUT_FORMAT": "jsonl", "OUTPUT_COMPRESSION": "gzip"},
        {"TMDB_DETAILS": "true"},
        {"RAW_ZONE_PATH": "other (zone)+"},
    ],
    ids=lambda more: " ".join(more.values()),
)
def test_whatever_a_run_lands_a_purge_finds(
    stand_in: Callable[..., Sandbox], more: dict[str, str]
) -> None:
    answer({"limit": 3}, variables(stand_in(), **more))
    landed = files()
    assert len(landed) in {4, 8}
    told = command(None, "purge", "--all", RAW_ZONE_PATH=more.get("RAW_ZONE_PATH", ZONE))
    assert told.stdout.count("would delete") == len(landed)
    zone = {"RAW_ZONE_PATH": more["RAW_ZONE_PATH"]} if "RAW_ZONE_PATH" in more else {}
    assert command(None, "purge", "--all", "--yes", **zone).exit_code == 0
    assert files() == {}


# Which days


def test_before_a_day_and_all(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    days = ["2025-12-31", "2026-01-01", "2026-01-02"]
    partitions = [partition(day) for day in days]
    for each in partitions:
        fill(store, each)
    told = purge(moto_server, store.bucket, "--date", days[0], "--date", days[2], "--dry-run")
    assert set(targets(told)) == partitions[0].keys() | partitions[2].keys()
    assert purge(moto_server, store.bucket, "--before", days[1], "--yes").exit_code == 0
    assert objects(moto_server, store.bucket) == {**partitions[1], **partitions[2]}
    assert purge(moto_server, store.bucket, "--all", "--yes").exit_code == 0
    assert objects(moto_server, store.bucket) == {}


@given(st.dates(), st.sets(st.dates()), st.dates())
def test_days(day: date, dates: set[date], before: date) -> None:
    assert (day in Days(dates=frozenset(dates))) == (day in dates)
    assert day in Days(dates=frozenset({*dates, day}))
    assert (day in Days(before=before)) == (day < before)
    assert day in Days(every=True)
    assert day not in Days(before=day)
    assert day in Days(before=day + timedelta(1)) if day < date.max else True
    assert [None in days for days in (Days(every=True), Days(before=before))] == [True, False]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--yes"],
        ["--date", DAY, "--all"],
        ["--date", DAY, "--before", DAY],
        ["--before", DAY, "--all"],
        ["--date", "2026-02-30"],
        ["--date", "20261120"],
        ["--date", "yesterday"],
        ["--before", ""],
        ["--date"],
        ["everything"],
    ],
    ids=" ".join,
)
def test_days_that_make_no_sense_exit_2_and_touch_nothing(words: list[str]) -> None:
    write(LAKE, partition())
    told = command(None, "purge", *words)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert "--date" in told.stderr or "--before" in told.stderr or "everything" in told.stderr
    assert files() == partition()


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--dry-run", "--yes"]], ids=" ".join)
def test_without_yes_nothing_is_deleted_nor_asked(words: list[str]) -> None:
    write(LAKE, partition())
    told = command(None, "purge", "--all", *words)
    assert told.exit_code == 0
    assert set(targets(told)) == COMMITTED
    assert files() == partition()


# Only what runs made


def test_what_no_run_made_stays_and_is_told(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    fill(store, {**partition(), **dict.fromkeys(FOREIGN, b"mine")})
    done = purge(s3_server, store.bucket, "--all", "--yes")
    assert done.exit_code == 0, done.stderr
    assert objects(s3_server, store.bucket) == dict.fromkeys(FOREIGN, b"mine")
    told = {line for line in done.stdout.splitlines() if line.startswith("skipped: ")}
    reason = "it stays: no run makes such a name"
    inside = [key for key in FOREIGN if key.startswith(f"{ZONE}/")]
    assert {f"skipped: {store.url}/{key} ({reason})" for key in inside} <= told


def test_of_one_day_only_its_own_foreign_files_are_told() -> None:
    write(LAKE, {**partition(), **dict.fromkeys(FOREIGN, b"mine")})
    done = command(None, "purge", "--date", DAY, "--yes")
    told = [line for line in done.stdout.splitlines() if line.startswith("skipped: ")]
    assert len(told) == 5
    assert files() == dict.fromkeys(FOREIGN, b"mine")


def test_what_a_killed_run_left_in_a_directory_goes_too() -> None:
    name = "0123456789abcdef.partial"
    left = f"{ZONE}/Movies/2026/11/20/.movies_2026-11-20.json.{name}"
    other = f"{ZONE}/Movies/2026/11/20/.notes.txt.{name}"
    write(LAKE, {left: b"[", other: b"mine"})
    assert command(None, "purge", "--date", DAY, "--yes").exit_code == 0
    assert files() == {other: b"mine"}


def test_no_link_is_followed_out_of_the_lake(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", {"11/20/movies_2026-11-20.json": b"mine"})
    (LAKE / ZONE / "Movies").mkdir(parents=True)
    (LAKE / ZONE / "Movies/2026").symlink_to(elsewhere)
    done = command(None, "purge", "--all", "--yes")
    assert "symbolic link" in done.stdout
    assert files(elsewhere) == {"11/20/movies_2026-11-20.json": b"mine"}


def test_the_copy_of_a_bucket_is_purged_as_well(rclone_server: S3Server) -> None:
    store = store_of(rclone_server)
    fill(store, partition())
    write(Path("copy"), partition())
    where = rclone_server.environment(store.bucket)
    assert command(None, "purge", "--all", "--yes", LOCAL_DIR="copy", **where).exit_code == 0
    assert objects(rclone_server, store.bucket) == files(Path("copy")) == {}
    assert command(None, "purge", "--all", "--yes", LOCAL_DIR="none", **where).exit_code == 0


# Every version, in order


def test_every_version_goes_and_each_is_named(moto_server: S3Server) -> None:
    store = versioned(moto_server)
    fill(store, {FOREIGN[0]: b"1", f"{MOVIES}.bak": b"1"})
    fill(store, {FOREIGN[0]: b"2", f"{MOVIES}.bak": b"2"})
    before = remaining(store)
    told = purge(moto_server, store.bucket, "--date", DAY)
    assert len(targets(told)) == 13
    assert told.stdout.count("not the latest") == 9
    assert told.stdout.count("delete marker") == 1
    assert remaining(store) == before
    done = purge(moto_server, store.bucket, "--date", DAY, "--yes")
    assert done.exit_code == 0, done.stderr
    assert lines(done) == sorted(line.replace("would delete", "delete") for line in lines(told))
    foreign = [(key, body) for key in (FOREIGN[0], f"{MOVIES}.bak") for body in (b"1", b"2")]
    assert remaining(store) == sorted(foreign)


def test_more_versions_than_one_request_may_delete(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_BATCH", 2)
    store = versioned(moto_server)
    assert purge(moto_server, store.bucket, "--all", "--yes").exit_code == 0
    assert remaining(store) == []


def test_a_bucket_whose_versions_were_switched_on_late_or_off_again(moto_server: S3Server) -> None:
    store, client = store_of(moto_server), moto_server.client()
    for number, status in enumerate((None, "Enabled", "Suspended")):
        if status:
            configuration = {"Status": status}
            client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration=configuration)
        fill(store, {MOVIES: bytes([number])})
    done = purge(moto_server, store.bucket, "--all", "--yes")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert remaining(store) == []


@pytest.mark.parametrize("kept", ["versions", "none"])
def test_a_reader_never_finds_a_manifest_without_its_objects_nor_an_older_one(
    request: pytest.FixtureRequest, kept: str
) -> None:
    name = "moto_server" if kept == "versions" else "rclone_server"
    server: S3Server = request.getfixturevalue(name)
    seen: list[dict[str, str]] = []

    def look(*_: str) -> None:
        # By one request: there is no moment between what a listing tells.
        listed = server.client().list_objects_v2(Bucket=watched.bucket).get("Contents", ())
        seen.append({each["Key"]: each["ETag"] for each in listed})

    with WatchedBucket(server, look) as watched:
        store = versioned(server) if kept == "versions" else store_of(server)
        fill(store, dict.fromkeys(partition(), b"new"))
        watched.bucket = store.bucket
        done = command(None, "purge", "--all", "--yes", **watched.environment)
        assert done.exit_code == 0, done.stderr
    assert seen[0].keys() == COMMITTED
    assert objects(server, watched.bucket) == {}
    assert any(0 < len(state) < 4 for state in seen)
    for state in seen:
        assert set(state.values()) <= {seen[0][MOVIES]}
        for key in (MOVIES, SERIES):
            assert manifest_key(key) not in state or key in state


# What goes wrong


def test_one_that_cannot_be_deleted_is_named_and_the_others_go(s3_server: S3Server) -> None:
    held: set[tuple[str, str]] = {("DELETE", SERIES)}

    def refuse(method: str, key: str) -> str | None:
        return "AccessDenied" if (method, key) in held else None

    with WatchedBucket(s3_server, refuse) as watched:
        fill(store_of(s3_server, watched.bucket), partition())
        told = command(None, "purge", "--all", "--yes", **watched.environment)
        assert told.exit_code == 1
        (line,) = told.stderr.splitlines()[:-1]
        assert line.startswith(f"failed: delete s3://{watched.bucket}/{SERIES}: cannot delete")
        assert "AccessDenied" in line
        assert watched.objects() == {SERIES: b"{}"}
        held.clear()
        assert command(None, "purge", "--all", "--yes", **watched.environment).exit_code == 0
        assert watched.objects() == {}


def test_a_partition_whose_manifest_cannot_be_deleted_stays_whole(s3_server: S3Server) -> None:
    def refuse(method: str, key: str) -> str | None:
        return "AccessDenied" if (method, key) == ("DELETE", manifest_key(MOVIES)) else None

    with WatchedBucket(s3_server, refuse) as watched:
        fill(store_of(s3_server, watched.bucket), partition())
        told = command(None, "purge", "--all", "--yes", **watched.environment)
        assert watched.objects().keys() == {MOVIES, manifest_key(MOVIES)}
    assert told.exit_code == 1
    assert f"failed: delete s3://{watched.bucket}/{manifest_key(MOVIES)}" in told.stderr
    assert f"skipped: s3://{watched.bucket}/{MOVIES} (it stays with its manifest" in told.stdout


@pytest.mark.parametrize("key", [MOVIES, manifest_key(MOVIES)])
def test_where_an_older_version_is_held_the_latest_stays(moto_server: S3Server, key: str) -> None:
    bucket, client = f"held-{moto_server.new_bucket()}", moto_server.client()
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    store = store_of(moto_server, bucket)
    fill(store, dict.fromkeys(partition(), b"old"))
    first = client.head_object(Bucket=bucket, Key=key)["VersionId"]
    fill(store, dict.fromkeys(partition(), b"new"))
    on, off = {"Status": "ON"}, {"Status": "OFF"}
    client.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=first, LegalHold=on)
    told = purge(moto_server, bucket, "--all", "--yes")
    assert told.exit_code == 1
    assert f"cannot delete {store.url}/{key} version {first}" in told.stderr
    left = [(key, b"new"), (key, b"old")]
    if key != MOVIES:  # the manifest: what it commits is still there
        left += [(MOVIES, b"new"), (MOVIES, b"old")]
    assert remaining(store) == sorted(left)
    client.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=first, LegalHold=off)
    assert purge(moto_server, bucket, "--all", "--yes").exit_code == 0
    assert remaining(store) == []


def test_what_a_run_lands_meanwhile_is_told(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, partition())
    landing = Before(lambda: fill(store, {MOVIES: b"anew"}))
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(landing, query="versions", skip=1)]
        told = purge(moto_server, store.bucket, "--all", "--yes", url=proxy.endpoint_url)
    assert told.exit_code == 1
    assert f"cannot delete {store.url}/{MOVIES}: it is there still, or anew" in told.stderr
    assert "purge again" in told.stderr
    assert objects(moto_server, store.bucket) == {MOVIES: b"anew"}


def test_a_store_that_says_it_deleted_and_did_not(rclone_server: S3Server) -> None:
    store = store_of(rclone_server)
    fill(store, partition())
    with FaultProxy(rclone_server.endpoint_url) as proxy:
        proxy.rules = [Rule(Answer(status=204), "DELETE", path=MOVIES, times=None)]
        told = purge(rclone_server, store.bucket, "--all", "--yes", url=proxy.endpoint_url)
    assert told.exit_code == 1
    assert f"cannot delete {store.url}/{MOVIES}: it is there still" in told.stderr
    assert objects(rclone_server, store.bucket) == {MOVIES: b"{}"}


def test_a_store_without_versions_is_told(rclone_server: S3Server) -> None:
    store = store_of(rclone_server)
    fill(store, partition())
    told = purge(rclone_server, store.bucket, "--all")
    assert f"skipped: {store.url}/{ZONE}/ (this store does not tell of older" in told.stdout


def test_a_store_that_answers_versions_with_nothing() -> None:
    tiny = TinyS3(objects=partition())

    def reply(asked: Asked) -> Reply:
        versions_asked = "versions" in asked.query
        return Reply(body="<ListVersionsResult/>") if versions_asked else tiny(asked)

    with serve(reply) as url:
        where = {"ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "secret"}
        done = command(None, "purge", "--all", "--yes", BUCKET_NAME="data", **where)
    assert done.exit_code == 0, done.stderr
    assert tiny.objects == {}


def test_whoever_may_not_list_versions_deletes_nothing(moto_server: S3Server) -> None:
    store = versioned(moto_server)
    before = remaining(store)
    denied = Answer(status=403, code="AccessDenied", message="No.")
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(denied, query="versions", times=None)]
        told = purge(moto_server, store.bucket, "--all", "--yes", url=proxy.endpoint_url)
    assert told.exit_code == 3
    assert told.stdout == ""
    assert "s3:ListBucketVersions" in told.stderr
    assert remaining(store) == before


def test_refused_credentials_exit_3_without_the_secret(rclone_server: S3Server) -> None:
    store = store_of(rclone_server)
    fill(store, partition())
    where = rclone_server.environment(store.bucket) | {"AWS_SECRET_ACCESS_KEY": "a-wrong-secret"}
    told = command(None, "purge", "--all", "--yes", **where)
    assert told.exit_code == 3
    assert told.stderr.startswith("error: ")
    assert "a-wrong-secret" not in told.output
    assert objects(rclone_server, store.bucket).keys() == COMMITTED


def test_no_such_bucket_and_no_such_lake_exit_4(s3_server: S3Server) -> None:
    told = purge(s3_server, "nobody-made-this", "--all", "--yes")
    assert told.exit_code == 4
    assert "nobody-made-this" in told.stderr
    told = command(None, "purge", "--all", "--yes", LOCAL_DIR="nowhere")
    assert told.exit_code == 4
    assert told.stderr.startswith("error: there is no lake nowhere")


def test_an_endpoint_where_nobody_is_exits_1(moto_server: S3Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        told = purge(moto_server, "data", "--all", "--yes", url=url)
    assert told.exit_code == 1
    assert told.stderr.startswith("error: ")


def test_a_wrong_setting_exits_2() -> None:
    told = command(None, "purge", "--all", "--yes", RAW_ZONE_PATH="../up")
    assert told.exit_code == 2
    assert "RAW_ZONE_PATH" in told.stderr


@pytest.mark.parametrize(
    ("name", "stalls"),
    [
        ("moto_server", {"method": "GET"}),
        ("moto_server", {"method": "POST", "query": "delete"}),
        ("rclone_server", {"method": "DELETE", "path": "/movies_"}),
    ],
)
def test_ctrl_c_ends_it_and_the_same_again_completes_it(
    request: pytest.FixtureRequest, name: str, stalls: dict[str, str]
) -> None:
    server: S3Server = request.getfixturevalue(name)
    store = store_of(server)
    fill(store, partition())
    with FaultProxy(server.endpoint_url) as proxy:
        proxy.rules = [Rule(StallAnswer(threading.Event()), times=None, **stalls)]
        environ = {**server.environment(store.bucket), "ENDPOINT_URL": proxy.endpoint_url}
        words = [sys.executable, "-m", "ingest", "purge", "--all", "--yes", "--json"]
        with subprocess.Popen(
            ["env", "--default-signal=INT", *words],
            env=child_environment(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                proxy.wait_until(lambda: bool(proxy.seen(**stalls)))
                running.send_signal(signal.SIGINT)
                out, err = running.communicate(timeout=30)
            finally:
                running.kill()
    assert running.returncode == 130, err
    assert "left to do, by the same command" in err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["interrupted"] is True
    assert purge(server, store.bucket, "--all", "--yes").exit_code == 0
    assert objects(server, store.bucket) == {}


# What is shown


def test_json_is_one_object_a_line(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {**partition(), f"{MOVIES}.bak": b"mine"})
    told = purge(moto_server, store.bucket, "--all", "--yes", "--json")
    *operations, summary = [json.loads(line) for line in told.stdout.splitlines()]
    assert [each["status"] for each in operations] == ["skipped"] + ["done"] * 4
    assert {each["operation"] for each in operations} == {"delete"}
    assert summary["summary"]["operations"] == {"delete": 4}
    assert summary["summary"]["bytes"] == 8


def test_quiet_shows_failures_alone() -> None:
    write(LAKE, partition())
    for words in (["--dry-run"], ["--yes"], ["--yes"]):
        told = command(None, "purge", "--all", "--quiet", *words)
        assert (told.exit_code, told.output) == (0, "")
    assert files() == {}
