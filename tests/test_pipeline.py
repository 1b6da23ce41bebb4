"""The main job, end to end over the stand-in of TMDB: what it lands, where and in which order."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ingest.sandbox import Fault
from runs import (
    COMMITTED,
    MOVIES,
    SCHEDULED,
    SERIES,
    WatchedBucket,
    exact,
    files,
    manifest,
    manifest_key,
    objects,
    report,
    served,
    statuses,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ingest.sandbox import Sandbox
    from support import S3Server

MANIFEST_FIELDS = (
    "dataset run_id run_key partition_date objects source fields errors started_at finished_at "
    "version"
).split()
SOURCE_FIELDS = "endpoint params pages consistency duplicates_dropped".split()
PAGE_FIELDS = "page records total_pages total_results etag age_s date".split()


def assert_matches(document: Mapping[str, Any], lake: Mapping[str, bytes]) -> None:
    """Each object that a manifest lists is in the lake with those bytes."""
    for entry in document["objects"]:
        body = lake[entry["key"]]
        assert entry["bytes"] == len(body)
        assert entry["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_run_lands_100_unique_records_of_each_dataset(stand_in: Callable[..., Sandbox]) -> None:
    body = report(SCHEDULED, variables(stand_in()))
    lake = files()
    assert lake.keys() == COMMITTED
    for key in (MOVIES, SERIES):
        ids = [record["id"] for record in json.loads(lake[key])]
        assert len(ids) == len(set(ids)) == 100
    assert statuses(body) == {"movies": "landed", "series": "landed"}


@pytest.mark.parametrize(
    ("key", "path", "until"),
    [
        (MOVIES, "/discover/movie", "primary_release_date.lte"),
        (SERIES, "/discover/tv", "first_air_date.lte"),
    ],
)
def test_every_record_lands_as_tmdb_serves_it_and_in_its_order(
    stand_in: Callable[..., Sandbox], key: str, path: str, until: str
) -> None:
    sandbox = stand_in()
    report(SCHEDULED, variables(sandbox))
    expected = served(sandbox, path, until)
    landed = exact(files()[key])
    assert landed == expected
    assert [list(record) for record in landed] == [list(record) for record in expected]


def test_accents_land_unescaped(stand_in: Callable[..., Sandbox]) -> None:
    report(SCHEDULED, variables(stand_in()))
    text = files()[MOVIES].decode("utf-8")
    assert re.search("[áéíóúãõç]", text)
    assert "\\u" not in text


@pytest.mark.parametrize(
    ("key", "endpoint", "own"),
    [
        (
            MOVIES,
            "/discover/movie",
            {"primary_release_date.lte": "2023-12-31", "include_video": "false"},
        ),
        (SERIES, "/discover/tv", {"first_air_date.lte": "2023-12-31"}),
    ],
)
def test_a_manifest_has_exactly_the_fields_of_the_contract(
    stand_in: Callable[..., Sandbox], key: str, endpoint: str, own: dict[str, str]
) -> None:
    body = report(SCHEDULED, variables(stand_in()))
    lake = files()
    document = manifest(lake, key)
    assert list(document) == MANIFEST_FIELDS
    assert list(document["source"]) == SOURCE_FIELDS
    assert [set(entry) for entry in document["objects"]] == [{"key", "bytes", "records", "sha256"}]
    assert [list(page) for page in document["source"]["pages"]] == [PAGE_FIELDS] * 5
    assert_matches(document, lake)
    assert document["source"]["endpoint"] == endpoint
    common = {"include_adult": "false", "language": "pt-BR", "with_genres": "16,35"}
    assert document["source"]["params"] == common | own
    assert document["run_id"] == body["run_id"]
    assert document["run_key"] == SCHEDULED["scheduled_time"]
    assert document["partition_date"] == "2026-11-20"
    assert document["errors"] == []
    assert document["started_at"] <= document["finished_at"]


def test_a_manifest_says_what_was_on_each_page_and_in_each_field(
    stand_in: Callable[..., Sandbox],
) -> None:
    report(SCHEDULED, variables(stand_in()))
    lake = files()
    document = manifest(lake, MOVIES)
    pages = document["source"]["pages"]
    assert [page["page"] for page in pages] == [1, 2, 3, 4, 5]
    assert {page["records"] for page in pages} == {20}
    assert all(page["etag"].startswith('W/"') and page["date"].endswith("Z") for page in pages)
    records = json.loads(lake[MOVIES])
    fields = document["fields"]
    assert fields.keys() == {name for record in records for name in record}
    assert fields["id"] == {"types": ["integer"], "nulls": 0, "missing": 0}
    nulls = sum(record["backdrop_path"] is None for record in records)
    assert fields["backdrop_path"] == {"types": ["string"], "nulls": nulls, "missing": 0}


@pytest.mark.parametrize("folder", ["Movies", "Series"])
def test_the_manifest_is_written_after_the_objects(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, folder: str
) -> None:
    with WatchedBucket(rclone_server) as bucket:
        report(SCHEDULED, variables(stand_in(), **bucket.environment))
    name = f"{folder.lower()}_2026-11-20.json"
    assert bucket.changes(folder) == [("PUT", name), ("PUT", "_manifest.json")]


def test_a_bucket_gets_the_same_keys_and_hashes_as_a_directory(
    stand_in: Callable[..., Sandbox], s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket()
    report(SCHEDULED, variables(stand_in(), **s3_server.environment(bucket)))
    lake = objects(s3_server, bucket)
    assert lake.keys() == COMMITTED
    assert_matches(manifest(lake, MOVIES), lake)
    assert_matches(manifest(lake, SERIES), lake)
    assert files() == {}


def test_objects_of_a_bucket_carry_their_type_and_sha256(
    stand_in: Callable[..., Sandbox], moto_server: S3Server
) -> None:
    # Not rclone: in memory it keeps no metadata.
    bucket = moto_server.new_bucket()
    report(SCHEDULED, variables(stand_in(), **moto_server.environment(bucket)))
    lake = objects(moto_server, bucket)
    assert lake.keys() == COMMITTED
    for key, body in lake.items():
        head = moto_server.client().head_object(Bucket=bucket, Key=key)
        assert head["ContentType"] == "application/json"
        assert head["Metadata"]["sha256"] == hashlib.sha256(body).hexdigest()


def test_local_dir_keeps_a_copy_of_what_lands_in_the_bucket(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, tmp_path: Path
) -> None:
    bucket = rclone_server.new_bucket()
    copy = tmp_path / "copy"
    lake = rclone_server.environment(bucket)
    report(SCHEDULED, variables(stand_in(), **lake, LOCAL_DIR=str(copy)))
    assert files(copy) == objects(rclone_server, bucket)
    assert files(copy).keys() == COMMITTED


@pytest.mark.parametrize(
    ("form", "compression", "extension", "content_type"),
    [
        ("json", "none", "json", "application/json"),
        ("jsonl", "none", "jsonl", "application/x-ndjson"),
        ("json", "gzip", "json.gz", "application/gzip"),
        ("jsonl", "gzip", "jsonl.gz", "application/gzip"),
    ],
)
def test_formats_and_compression_hold_the_same_records(  # noqa: PLR0913, PLR0917 - a table of values
    stand_in: Callable[..., Sandbox],
    rclone_server: S3Server,
    form: str,
    compression: str,
    extension: str,
    content_type: str,
) -> None:
    sandbox = stand_in()
    bucket = rclone_server.new_bucket()
    wanted = {"OUTPUT_FORMAT": form, "OUTPUT_COMPRESSION": compression}
    environ = variables(sandbox, **wanted, **rclone_server.environment(bucket))
    report({**SCHEDULED, "datasets": ["movies"]}, environ)
    key = MOVIES.removesuffix("json") + extension
    lake = objects(rclone_server, bucket)
    assert lake.keys() == {key, manifest_key(key)}
    assert_matches(manifest(lake, key), lake)
    text = gzip.decompress(lake[key]) if compression == "gzip" else lake[key]
    records = (
        exact(text) if form == "json" else [exact(line) for line in text.decode().splitlines()]
    )
    assert records == served(sandbox, "/discover/movie", "primary_release_date.lte")
    head = rclone_server.client().head_object(Bucket=bucket, Key=key)
    assert head["ContentType"] == content_type


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_same_records_give_the_same_bytes(
    stand_in: Callable[..., Sandbox], compression: str
) -> None:
    environ = variables(stand_in(), OUTPUT_COMPRESSION=compression)
    hashes = []
    for _ in range(2):
        report({"date": "2026-11-20"}, environ)
        lake = files()
        hashes.append([hashlib.sha256(lake[key]).hexdigest() for key in lake if "/_" not in key])
    assert len(hashes[0]) == 2
    assert hashes[0] == hashes[1]


def test_the_raw_zone_has_the_prefix_that_is_set(stand_in: Callable[..., Sandbox]) -> None:
    report(SCHEDULED, variables(stand_in(), RAW_ZONE_PATH="other/zone/"))
    assert files().keys() == {key.replace("raw/TMDB/JSON", "other/zone") for key in COMMITTED}


# Consistency


@pytest.mark.parametrize(
    ("faults", "more", "consistency"),
    [
        pytest.param([], {}, "consistent", id="same-moment"),
        pytest.param([Fault("torn", page=1, seconds=0)], {}, "torn", id="totals-differ"),
        pytest.param([Fault("torn-age")], {}, "torn", id="six-hours-apart"),
        pytest.param([Fault("torn-age", seconds=590)], {}, "consistent", id="590-s-apart"),
        pytest.param([Fault("torn-age", seconds=610)], {}, "torn", id="610-s-apart"),
        pytest.param(
            [Fault("torn-age", seconds=610)],
            {"TMDB_TORN_AFTER": "3600"},
            "consistent",
            id="setting",
        ),
    ],
)
def test_a_run_over_pages_of_different_moments_is_marked_torn(
    stand_in: Callable[..., Sandbox], faults: list[Fault], more: dict[str, str], consistency: str
) -> None:
    body = report(SCHEDULED, variables(stand_in(faults=faults), **more))
    assert [dataset["consistency"] for dataset in body["datasets"]] == [consistency] * 2
    lake = files()
    assert manifest(lake, MOVIES)["source"]["consistency"] == consistency
    assert manifest(lake, SERIES)["source"]["consistency"] == consistency


def test_a_torn_page_shows_its_age_and_the_moment_it_was_made(
    stand_in: Callable[..., Sandbox],
) -> None:
    report(SCHEDULED, variables(stand_in(faults=[Fault("torn")])))
    first, second, *_ = manifest(files(), MOVIES)["source"]["pages"]
    assert first["age_s"] == 21_414
    assert second["age_s"] is None
    assert first["date"] < second["date"]
    assert first["total_results"] == second["total_results"] - 3


@pytest.mark.parametrize(("fault", "dropped"), [("duplicates", 5), ("short", 0)])
def test_duplicates_and_short_pages_are_made_up_for_by_a_sixth_page(
    stand_in: Callable[..., Sandbox], fault: str, dropped: int
) -> None:
    sandbox = stand_in(faults=[Fault(fault)])
    body = report(SCHEDULED, variables(sandbox))
    assert [(each["records"], each["pages"]) for each in body["datasets"]] == [(100, 6)] * 2
    lake = files()
    assert len({record["id"] for record in json.loads(lake[MOVIES])}) == 100
    assert manifest(lake, MOVIES)["source"]["duplicates_dropped"] == dropped
    assert len(sandbox.requests) == 12


# Dates


@pytest.mark.parametrize(
    ("event", "zone", "day"),
    [
        ({"scheduled_time": "2026-11-20T01:30:00Z"}, "UTC", "2026-11-20"),
        ({"scheduled_time": "2026-11-20T01:30:00Z"}, "America/Sao_Paulo", "2026-11-19"),
        ({"scheduled_time": "2026-11-20T20:00:00Z"}, "Asia/Tokyo", "2026-11-21"),
        ({"scheduled_time": "2026-11-20T23:30:00-03:00"}, "UTC", "2026-11-21"),
        ({"date": "2024-02-29"}, "Asia/Tokyo", "2024-02-29"),
    ],
)
def test_the_partition_is_the_day_of_the_planned_time_in_the_time_zone(
    stand_in: Callable[..., Sandbox], event: dict[str, str], zone: str, day: str
) -> None:
    body = report(event, variables(stand_in(), PARTITION_TIMEZONE=zone))
    assert body["partition_date"] == day
    key = f"raw/TMDB/JSON/Movies/{day.replace('-', '/')}/movies_{day}.json"
    assert manifest(files(), key)["partition_date"] == day
