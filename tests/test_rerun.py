"""What a second run does to a partition that an earlier one landed, or landed half."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import IngestError
from ingest.sandbox import Fault
from runs import (
    COMMITTED,
    HANDLER,
    LAKE,
    MOVIES,
    SCHEDULED,
    SERIES,
    WatchedBucket,
    child_environment,
    files,
    manifest,
    manifest_key,
    report,
    statuses,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

BOTH_LANDED = {"movies": "landed", "series": "landed"}
BOTH_SKIPPED = {"movies": "skipped", "series": "skipped"}
BY_HAND = {"date": "2026-11-20"}
ONLY_MOVIES: dict[str, Any] = {**BY_HAND, "datasets": ["movies"]}


def asked(sandbox: Sandbox) -> set[str]:
    return {request.path.removeprefix("/3") for request in sandbox.requests}


# The same planned run again


def test_the_same_scheduled_event_again_is_skipped_without_a_request(
    stand_in: Callable[..., Sandbox],
) -> None:
    first = report(SCHEDULED, variables(stand_in()))
    before = files()
    sandbox = stand_in()
    second = report(SCHEDULED, variables(sandbox))
    assert statuses(second) == BOTH_SKIPPED
    assert sandbox.requests == []
    assert files() == before
    sizes = ("name", "records", "pages", "key", "bytes", "consistency")
    for one, other in zip(first["datasets"], second["datasets"], strict=True):
        assert {name: one[name] for name in sizes} == {name: other[name] for name in sizes}


def test_the_planned_time_is_the_same_in_every_event_and_zone(
    stand_in: Callable[..., Sandbox],
) -> None:
    report(SCHEDULED, variables(stand_in()))
    eventbridge = {"source": "aws.events", "detail-type": "Scheduled Event"}
    again = {**eventbridge, "time": "2026-11-20T03:00:00-03:00"}
    assert statuses(report(again, variables(stand_in()))) == BOTH_SKIPPED


def test_a_bucket_is_skipped_like_a_directory(
    stand_in: Callable[..., Sandbox], s3_server: S3Server
) -> None:
    lake = s3_server.environment(s3_server.new_bucket())
    assert statuses(report(SCHEDULED, variables(stand_in(), **lake))) == BOTH_LANDED
    sandbox = stand_in()
    assert statuses(report(SCHEDULED, variables(sandbox, **lake))) == BOTH_SKIPPED
    assert sandbox.requests == []


def test_a_manifest_that_is_not_there_may_be_refused_instead(
    stand_in: Callable[..., Sandbox], s3_server: S3Server
) -> None:
    """As S3 does where the function may not list the whole bucket."""
    there: set[str] = set()

    def refuse(method: str, key: str) -> str | None:
        if method == "PUT":
            there.add(key)
        missing = key.endswith("_manifest.json") and key not in there
        return "AccessDenied" if method in {"GET", "HEAD"} and missing else None

    with WatchedBucket(s3_server, refuse) as lake:
        environ = variables(stand_in(), **lake.environment)
        assert statuses(report(SCHEDULED, environ)) == BOTH_LANDED
        assert statuses(report(SCHEDULED, environ)) == BOTH_SKIPPED
        assert lake.objects().keys() == COMMITTED


def test_a_manifest_that_is_there_and_refused_is_an_error(
    stand_in: Callable[..., Sandbox], s3_server: S3Server
) -> None:
    refused = {"GET", "HEAD"}

    def refuse(method: str, key: str) -> str | None:
        return "AccessDenied" if method in refused and key.endswith("_manifest.json") else None

    with WatchedBucket(s3_server, refuse) as lake:
        environ = variables(stand_in(), **lake.environment)
        refused.clear()
        assert statuses(report(SCHEDULED, environ)) == BOTH_LANDED
        refused.update({"GET", "HEAD"})
        before = lake.objects()
        with pytest.raises(IngestError, match="AccessDenied"):
            report({**SCHEDULED, "force": True}, environ)
        assert lake.objects() == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(SCHEDULED, {**SCHEDULED, "force": True}, id="force"),
        pytest.param(SCHEDULED, BY_HAND, id="by-hand-after-schedule"),
        pytest.param(BY_HAND, BY_HAND, id="by-hand-twice"),
        pytest.param(BY_HAND, SCHEDULED, id="schedule-after-hand"),
        pytest.param(SCHEDULED, {"scheduled_time": "2026-11-20T18:00:00Z"}, id="other-time"),
    ],
)
def test_every_other_run_on_the_same_day_replaces_the_partition(
    stand_in: Callable[..., Sandbox], first: dict[str, Any], second: dict[str, Any]
) -> None:
    report({**first, "limit": 5}, variables(stand_in()))
    sandbox = stand_in()
    body = report(second, variables(sandbox))
    assert statuses(body) == BOTH_LANDED
    assert len(sandbox.requests) == 10
    lake = files()
    assert lake.keys() == COMMITTED
    document = manifest(lake, MOVIES)
    assert len(json.loads(lake[MOVIES])) == 100
    assert document["run_id"] == body["run_id"]
    assert document["run_key"] == second.get("scheduled_time")


# Half of it is missing


def test_after_a_half_failure_only_the_missing_half_is_fetched(
    stand_in: Callable[..., Sandbox],
) -> None:
    broken = stand_in(faults=[Fault("404", path="/discover/tv")])
    with pytest.raises(IngestError, match="series"):
        report(SCHEDULED, variables(broken))
    assert files().keys() == {MOVIES, manifest_key(MOVIES)}
    sandbox = stand_in()
    body = report(SCHEDULED, variables(sandbox))
    assert statuses(body) == {"movies": "skipped", "series": "landed"}
    assert asked(sandbox) == {"/discover/tv"}


def test_missing_details_are_fetched_for_the_ids_in_the_lake(
    stand_in: Callable[..., Sandbox],
) -> None:
    event = {**SCHEDULED, "datasets": ["series"], "limit": 4}
    broken = stand_in(faults=[Fault("404", path="/3/tv/")])
    with pytest.raises(IngestError, match="series_details"):
        report(event, variables(broken, TMDB_DETAILS="true", OUTPUT_COMPRESSION="gzip"))
    sandbox = stand_in()
    body = report(event, variables(sandbox, TMDB_DETAILS="true"))
    assert statuses(body) == {"series": "skipped", "series_details": "landed"}
    (details,) = (
        value for key, value in files().items() if key.endswith("details_2026-11-20.json")
    )
    assert asked(sandbox) == {f"/tv/{record['id']}" for record in json.loads(details)}
    assert len(sandbox.requests) == 4


def test_a_run_killed_between_object_and_manifest_is_completed_by_the_next_try(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    reached, killed = threading.Event(), threading.Event()

    def stop_at_manifest(method: str, key: str) -> str | None:
        if killed.is_set() or method != "PUT" or not key.endswith("_manifest.json"):
            return None
        reached.set()
        killed.wait(30)
        return "AccessDenied"

    with WatchedBucket(rclone_server, stop_at_manifest) as bucket:
        environ = variables(stand_in(), **bucket.environment)
        Path("event.json").write_text(json.dumps({**SCHEDULED, "datasets": ["movies"]}))
        with subprocess.Popen(
            [sys.executable, HANDLER, "event.json"],
            env=child_environment(environ),
            stderr=subprocess.DEVNULL,
        ) as victim:
            assert reached.wait(30)
            victim.kill()
            assert victim.wait(30) == -signal.SIGKILL
        killed.set()
        assert bucket.objects().keys() == {MOVIES}
        body = report({**SCHEDULED, "datasets": ["movies"]}, environ)
        assert statuses(body) == {"movies": "landed"}
        assert bucket.objects().keys() == {MOVIES, manifest_key(MOVIES)}


def test_a_run_killed_while_it_replaces_leaves_no_manifest_of_other_bytes(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    refused = threading.Event()

    def refuse(method: str, key: str) -> str | None:
        stopped = refused.is_set() and method == "PUT" and key.endswith("_manifest.json")
        return "AccessDenied" if stopped else None

    with WatchedBucket(rclone_server, refuse) as bucket:
        environ = variables(stand_in(), **bucket.environment)
        report({**ONLY_MOVIES, "limit": 5}, environ)
        refused.set()
        with pytest.raises(IngestError, match="AccessDenied"):
            report(ONLY_MOVIES, environ)
        assert bucket.objects().keys() == {MOVIES}


# What replacing removes


def test_another_format_removes_the_old_object_before_the_new_manifest(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    with WatchedBucket(rclone_server) as bucket:
        environ = variables(stand_in(), **bucket.environment)
        report(ONLY_MOVIES, environ)
        bucket.seen.clear()
        report(ONLY_MOVIES, {**environ, "OUTPUT_FORMAT": "jsonl"})
    jsonl = MOVIES + "l"
    assert bucket.objects().keys() == {jsonl, manifest_key(MOVIES)}
    changes = bucket.changes("Movies")
    assert changes == [
        ("DELETE", "_manifest.json"),
        ("PUT", "movies_2026-11-20.jsonl"),
        ("DELETE", "movies_2026-11-20.json"),
        ("PUT", "_manifest.json"),
    ]


def test_fewer_parts_remove_those_that_are_left_over(stand_in: Callable[..., Sandbox]) -> None:
    environ = variables(stand_in())
    parts = [MOVIES.replace(".json", f"_{number:03}.json") for number in (1, 2)]
    report(ONLY_MOVIES, environ)
    _rewrite_manifest(parts)
    for part in parts:
        (LAKE / part).write_bytes(b"[]")
    (LAKE / MOVIES).unlink()
    report(ONLY_MOVIES, environ)
    assert files().keys() == {MOVIES, manifest_key(MOVIES)}


def test_an_object_of_an_interrupted_run_in_another_format_does_not_stay(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    refusing = threading.Event()

    def refuse(method: str, key: str) -> str | None:
        stopped = refusing.is_set() and method == "PUT" and key.endswith("_manifest.json")
        return "AccessDenied" if stopped else None

    with WatchedBucket(rclone_server, refuse) as bucket:
        environ = variables(stand_in(), **bucket.environment)
        report(ONLY_MOVIES, environ)
        environ["OUTPUT_FORMAT"] = "jsonl"
        refusing.set()
        with pytest.raises(IngestError):
            report(ONLY_MOVIES, environ)
        refusing.clear()
        report(ONLY_MOVIES, environ)
        assert bucket.objects().keys() == {MOVIES + "l", manifest_key(MOVIES)}


@pytest.mark.parametrize(
    "listed",
    [
        SERIES,
        manifest_key(SERIES),
        "keep.txt",
        "../outside.txt",
        "raw/TMDB/JSON/Movies/2026/11/20/../21/keep.json",
        "raw/TMDB/JSON/Movies/2026/11/20/below/keep.json",
        "raw/TMDB/JSON/Movies/2026/11/200.json",
    ],
)
def test_a_manifest_that_lists_keys_of_others_does_not_remove_them(
    stand_in: Callable[..., Sandbox], listed: str
) -> None:
    environ = variables(stand_in())
    report(BY_HAND, environ)
    victim = LAKE / listed
    if listed not in COMMITTED:
        (LAKE / "raw/TMDB/JSON/Movies/2026/11/21").mkdir()
        victim.parent.mkdir(parents=True, exist_ok=True)
        victim.write_text("mine")
    before = victim.read_bytes()
    _rewrite_manifest([MOVIES, listed])
    assert statuses(report(ONLY_MOVIES, environ)) == {"movies": "landed"}
    assert victim.read_bytes() == before


def test_a_manifest_that_lists_itself_does_not_remove_the_new_one(
    stand_in: Callable[..., Sandbox],
) -> None:
    environ = variables(stand_in())
    report(ONLY_MOVIES, environ)
    _rewrite_manifest([MOVIES, manifest_key(MOVIES)])
    assert statuses(report(ONLY_MOVIES, environ)) == {"movies": "landed"}
    assert files().keys() == {MOVIES, manifest_key(MOVIES)}


def _rewrite_manifest(keys: list[str]) -> None:
    """Make the manifest of the movies list these keys."""
    path = LAKE / manifest_key(MOVIES)
    document = json.loads(path.read_bytes())
    document["objects"] = [{**document["objects"][0], "key": key} for key in keys]
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda body: body[: len(body) // 2], id="cut-short"),
        pytest.param(lambda _: b"\xff\xfe\x00", id="not-utf-8"),
        pytest.param(lambda _: b"null", id="null"),
        pytest.param(lambda _: b"[1, 2]", id="list"),
        pytest.param(lambda _: b"{}", id="object-without-fields"),
        pytest.param(lambda _: b"[" * 200_000, id="deep"),
        pytest.param(lambda body: _with(body, objects=[]), id="no-objects"),
        pytest.param(lambda body: _with(body, objects=None), id="null-objects"),
        pytest.param(lambda body: _with(body, objects=["key"]), id="objects-of-text"),
        pytest.param(lambda body: _with(body, objects=[_entry(key=5)]), id="key-no-text"),
        pytest.param(lambda body: _with(body, objects=[_entry(key=["a"])]), id="key-a-list"),
        pytest.param(lambda body: _with(body, objects=[_entry(bytes="9")]), id="bytes-no-number"),
        pytest.param(lambda body: _with(body, source={}), id="no-source"),
        pytest.param(lambda body: _with(body, dataset="series"), id="of-another-dataset"),
    ],
)
def test_a_corrupt_manifest_counts_as_none(
    stand_in: Callable[..., Sandbox], spoil: Callable[[bytes], bytes]
) -> None:
    environ = variables(stand_in())
    event = {**SCHEDULED, "datasets": ["movies"]}
    report(event, environ)
    path = LAKE / manifest_key(MOVIES)
    path.write_bytes(spoil(path.read_bytes()))
    assert statuses(report(event, environ)) == {"movies": "landed"}
    lake = files()
    assert lake.keys() == {MOVIES, manifest_key(MOVIES)}
    assert manifest(lake, MOVIES)["run_key"] == SCHEDULED["scheduled_time"]


def _with(body: bytes, **fields: object) -> bytes:
    return json.dumps(json.loads(body) | fields).encode()


def _entry(**fields: object) -> dict[str, object]:
    return {"key": MOVIES, "bytes": 2, "records": 0, "sha256": "", **fields}
