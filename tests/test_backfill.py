"""``ingest backfill`` on this machine: what it lands, what it skips, what it proves."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backfills import (
    FIRST,
    LAST,
    backfill,
    data,
    ingest,
    manifests,
    month,
    plan_in,
    records,
    requested,
    served,
    told,
)
from backfills import small_windows as small_windows  # noqa: PLC0414 - a fixture
from ingest.sandbox import Fault
from ingest.serializer import deserialize
from runs import WatchedBucket, files, objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

pytestmark = pytest.mark.usefixtures("small_windows")


# What lands


def test_every_title_lands_once_as_tmdb_serves_it(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(900), "tv": month(330)})
    done = backfill(sandbox)
    assert done.exit_code == 0, done.output
    lake = files()
    for folder, path, number in (
        ("MoviesBackfill", "/discover/movie", 900),
        ("SeriesBackfill", "/discover/tv", 330),
    ):
        landed = records(lake, folder)
        assert len(landed) == number
        assert sorted(map(json.dumps, landed)) == sorted(map(json.dumps, served(sandbox, path)))


def test_files_are_numbered_and_hold_at_most_100_records(stand_in: Callable[..., Sandbox]) -> None:
    backfill(stand_in(titles={"movie": {FIRST: 130}}), "--datasets", "movies")
    lake = data(files())
    stem = "movies_2001-01-01_2001-01-31"
    (plan_id,) = {window["plan_id"] for window in plan_in(files())}
    directory = f"raw/TMDB/JSON/MoviesBackfill/plan={plan_id}/span=2001-01-01_2001-01-31"
    assert sorted(lake) == [f"{directory}/{stem}_001.json", f"{directory}/{stem}_002.json"]
    assert [len(deserialize(lake[key], key)) for key in sorted(lake)] == [100, 30]


def test_the_manifest_says_what_is_there_and_what_tmdb_counted(
    stand_in: Callable[..., Sandbox],
) -> None:
    backfill(stand_in(titles={"movie": month(900)}), "--datasets", "movies")
    lake = files()
    found = manifests(lake)
    assert len(found) == len(plan_in(lake)) > 3
    for directory, document in found.items():
        assert document["window"] in plan_in(lake)
        assert document["unique_ids"] == document["total_results"]
        assert document["unique_ids"] == sum(each["records"] for each in document["objects"])
        assert document["source"]["consistency"] == "consistent"
        assert document["source"]["params"]["vote_count.gte"] if "votes" in directory else True
        for entry in document["objects"]:
            assert entry["sha256"] == hashlib.sha256(lake[entry["key"]]).hexdigest()
            assert entry["bytes"] == len(lake[entry["key"]])
    named = {entry["key"] for document in found.values() for entry in document["objects"]}
    assert named == data(lake).keys()


def test_the_plan_is_an_array_of_windows_that_follow_each_other(
    stand_in: Callable[..., Sandbox],
) -> None:
    backfill(stand_in(titles={"movie": month(900), "tv": month(10)}), "--dry-run")
    assert files() == {}
    backfill(stand_in(titles={"movie": month(900), "tv": month(10)}))
    windows = plan_in(files())
    movies = [window for window in windows if window["dataset"] == "movies"]
    assert (movies[0]["from"], movies[-1]["to"]) == (FIRST.isoformat(), LAST.isoformat())
    ends = [FIRST.fromisoformat(window["to"]) for window in movies[:-1]]
    assert [(end + timedelta(days=1)).isoformat() for end in ends] == [
        window["from"] for window in movies[1:]
    ]
    assert all(window["total_pages"] <= 10 for window in windows)
    assert sum(window["total_results"] for window in movies) == 900
    assert [window["dataset"] for window in windows].count("series") == 1


def test_a_day_that_is_too_large_lands_in_windows_by_votes(
    stand_in: Callable[..., Sandbox],
) -> None:
    sandbox = stand_in(titles={"movie": {FIRST: 250}})
    assert backfill(sandbox, "--datasets", "movies").exit_code == 0
    lake = files()
    assert {key.rpartition("/")[2].partition("_00")[0] for key in data(lake)} >= {
        "movies_2001-01-01_2001-01-01_votes_0_0"
    }
    assert Counter(each["id"] for each in records(lake)) == Counter(
        each["id"] for each in served(sandbox)
    )


def test_a_day_that_nothing_splits_is_an_error_and_nothing_lands(
    stand_in: Callable[..., Sandbox],
) -> None:
    done = backfill(stand_in(titles={"movie": {FIRST: 500}}), "--datasets", "movies")
    assert done.exit_code == 1
    assert "300 titles of 2001-01-01 with 0 votes" in done.stderr
    assert "nothing is left to split them by" in done.stderr
    assert files() == {}


def test_genres_narrow_the_catalogue(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(300)})
    assert backfill(sandbox, "--datasets", "movies", "--genres", "16,35").exit_code == 0
    wanted = [each for each in served(sandbox) if {16, 35} <= set(each["genre_ids"])]
    assert {each["id"] for each in records(files())} == {each["id"] for each in wanted}
    assert 0 < len(wanted) < 300


def test_a_range_without_titles_is_complete_and_has_no_files(
    stand_in: Callable[..., Sandbox],
) -> None:
    done = backfill(stand_in(titles={"movie": {}}))
    assert done.exit_code == 0
    lake = files()
    assert data(lake) == {}
    assert {document["unique_ids"] for document in manifests(lake).values()} == {0}
    assert len(manifests(lake)) == 2


def test_the_lake_of_a_bucket_has_the_same_objects_as_a_directory(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    sandbox = stand_in(titles={"movie": month(300)})
    bucket = rclone_server.new_bucket()
    assert backfill(sandbox, **rclone_server.environment(bucket)).exit_code == 0
    assert files() == {}
    assert backfill(sandbox).exit_code == 0
    there, here = objects(rclone_server, bucket), files()
    assert there.keys() == here.keys()
    assert plan_in(there) == plan_in(here)
    assert data(there) == data(here)


def test_a_role_that_may_list_prefixes_alone_and_is_not_told_what_is_missing_can_land(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    written: set[str] = set()

    def refuse(method: str, key: str) -> str | None:
        if method == "PUT":
            written.add(key)
        missing = method == "GET" and key.endswith(".json") and key not in written
        return "AccessDenied" if missing else None

    sandbox = stand_in(titles={"movie": month(60)})
    with WatchedBucket(rclone_server, refuse) as bucket:
        assert backfill(sandbox, **bucket.environment).exit_code == 0
        again = told(backfill(sandbox, "--json", **bucket.environment))
    assert again[0]["reused"] is True
    assert {each["status"] for each in again[1:-1]} == {"skipped"}


def test_the_format_is_that_of_the_settings(stand_in: Callable[..., Sandbox]) -> None:
    form = {"OUTPUT_FORMAT": "jsonl", "OUTPUT_COMPRESSION": "gzip"}
    sandbox = stand_in(titles={"movie": month(120)})
    assert backfill(sandbox, **form).exit_code == 0
    assert all(key.endswith(".jsonl.gz") for key in data(files()))
    assert len(records(files())) == 120


# Going on


def test_what_has_landed_is_skipped(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(900)})
    backfill(sandbox)
    before, asked = files(), len(sandbox.requests)
    again = told(backfill(sandbox, "--json"))
    assert files() == before
    assert len(sandbox.requests) == asked
    assert {each["status"] for each in again[1:-1]} == {"skipped"}
    assert again[0]["reused"] is True


@pytest.mark.parametrize("gone", ["_manifest.json", "_001.json"])
def test_a_window_of_which_anything_is_missing_is_fetched_again_and_no_other(
    stand_in: Callable[..., Sandbox], gone: str
) -> None:
    sandbox = stand_in(titles={"movie": month(900)})
    backfill(sandbox)
    before, asked = data(files()), len(sandbox.requests)
    key = next(key for key in sorted(files()) if key.endswith(gone))
    (Path("lake") / key).unlink()
    again = told(backfill(sandbox, "--json", "--workers", "1"))
    assert Counter(each["status"] for each in again[1:-1]) == {
        "skipped": len(plan_in(files())) - 1,
        "landed": 1,
    }
    assert data(files()) == before
    (since,) = {asked[1] for asked in requested(sandbox)[asked:]}
    assert f"span={since}_" in key


def test_a_new_plan_lands_beside_what_the_old_one_has_landed(
    stand_in: Callable[..., Sandbox],
) -> None:
    backfill(stand_in(titles={"movie": month(300)}), "--datasets", "movies")
    (old,) = {window["plan_id"] for window in plan_in(files())}
    grown = stand_in(titles={"movie": month(331)})
    assert backfill(grown, "--datasets", "movies").exit_code == 0
    assert len(records(files())) == 300
    assert backfill(grown, "--datasets", "movies", "--replan").exit_code == 0
    (new,) = {window["plan_id"] for window in plan_in(files())}
    assert new != old
    landed = {key: body for key, body in files().items() if f"plan={new}" in key}
    assert len(records(landed)) == 331


def test_the_same_answers_give_the_same_plan(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(300)})
    backfill(sandbox)
    before = files()
    assert backfill(sandbox, "--replan").exit_code == 0
    assert files() == before


# Faults


@pytest.mark.parametrize(
    "fault",
    [
        Fault("429", times=5, retry_after="0"),
        Fault("500", times=5),
        Fault("503", times=5),
        Fault("dropped", times=5),
        Fault("truncated", times=5),
        Fault("not-json", times=5),
    ],
    ids=lambda fault: fault.kind,
)
def test_passing_faults_are_retried(stand_in: Callable[..., Sandbox], fault: Fault) -> None:
    done = backfill(stand_in(titles={"movie": month(300)}, faults=[fault]))
    assert done.exit_code == 0, done.output
    assert len({each["id"] for each in records(files())}) == 300


def test_a_window_that_fails_does_not_keep_the_others_from_landing(
    stand_in: Callable[..., Sandbox],
) -> None:
    plain = {"movie": month(150), "tv": month(150)}
    backfill(stand_in(titles=plain), "--datasets", "movies")
    fails = stand_in(titles=plain, faults=[Fault("404", path="/discover/tv", page=3)])
    done = backfill(fails)
    assert done.exit_code == 1
    assert "failed series_2001-01-01_2001-01-31: " in done.stderr
    assert "1 of 2 windows are not complete: series_2001-01-01_2001-01-31 has not landed" in (
        done.stderr
    )
    assert len(records(files(), "MoviesBackfill")) == 150 * 2
    assert records(files(), "SeriesBackfill") == []
    assert backfill(stand_in(titles=plain)).exit_code == 0
    assert len(records(files(), "SeriesBackfill")) == 150


def test_one_that_is_not_complete_has_one_summary(stand_in: Callable[..., Sandbox]) -> None:
    done = backfill(stand_in(titles={"movie": month(150)}, faults=[Fault("short")]), "--json")
    assert done.exit_code == 1
    assert [("summary" in line) for line in told(done)[-2:]] == [False, True]
    assert told(done)[-1]["summary"]["datasets"]["movies"]["complete"] == 0


def test_refused_credentials_end_it_with_3(stand_in: Callable[..., Sandbox]) -> None:
    refused = stand_in(titles={"movie": month(300)}, faults=[Fault("401", page=2)])
    done = backfill(refused)
    assert done.exit_code == 3
    assert data(files()) == {}


@pytest.mark.parametrize(
    ("fault", "consistency"),
    [(Fault("duplicates"), "consistent"), (Fault("torn"), "torn")],
    ids=["duplicates", "torn"],
)
def test_titles_that_pages_hide_are_found_in_another_order(
    stand_in: Callable[..., Sandbox], fault: Fault, consistency: str
) -> None:
    honest = stand_in(titles={"movie": month(155)})
    done = backfill(stand_in(titles={"movie": month(155)}, faults=[fault]), "--datasets=movies")
    assert done.exit_code == 0, done.output
    (document,) = manifests(files()).values()
    assert document["source"]["readings"] == 2
    assert document["source"]["rows_repeated"] > 0
    assert document["source"]["consistency"] == consistency
    landed = [each["id"] for each in records(files())]
    assert sorted(landed) == sorted(each["id"] for each in served(honest))


def test_titles_that_are_still_missing_are_told_and_asked_for_again(
    stand_in: Callable[..., Sandbox],
) -> None:
    done = backfill(stand_in(titles={"movie": month(150)}, faults=[Fault("short")]))
    assert done.exit_code == 1
    (document,) = (each for each in manifests(files()).values() if each["dataset"] == "movies")
    ids = document["unique_ids"]
    assert 0 < ids < document["total_results"] == 150
    assert f"movies_2001-01-01_2001-01-31 has {ids} ids of 150" in done.stderr
    assert backfill(stand_in(titles={"movie": month(150)})).exit_code == 0
    assert len(records(files())) == 150


def test_a_window_that_has_outgrown_what_tmdb_hands_out_is_an_error_never_cut(
    stand_in: Callable[..., Sandbox],
) -> None:
    few = {"movie": month(150), "tv": month(150)}
    backfill(stand_in(titles=few, faults=[Fault("404", page=2)]))
    assert (len(plan_in(files())), records(files())) == (2, [])
    done = backfill(stand_in(titles={**few, "movie": month(201)}))
    assert done.exit_code == 1
    assert (
        "failed movies_2001-01-01_2001-01-31: movies_2001-01-01_2001-01-31 has 201 titles on 11 "
        "pages by now; when it was planned it had 150 (plan the backfill anew)"
    ) in done.stderr
    assert records(files(), "MoviesBackfill") == []
    assert len(records(files(), "SeriesBackfill")) == 150


# Usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "2001-02-01", "--to", "2001-01-01"], "--from is 2001-02-01, after --to"),
        (["--from", "2001-02-30", "--to", "2001-03-01"], "should be a calendar date"),
        (["--from", "2001-02-01"], "Missing option '--to'"),
        (["--from", "2001-01-01", "--to", "2001-01-01", "--genres", "comedy"], "'comedy'"),
        (["--from", "2001-01-01", "--to", "2001-01-01", "--workers", "0"], "--workers"),
        (["--from", "2001-01-01", "--to", "2001-01-01", "--datasets", "people"], "people"),
        (["--from=2001-01-01", "--to=2001-01-01", "--remote", "--dry-run"], "--dry-run is for"),
        (["--from=2001-01-01", "--to=2001-01-01", "--remote", "--workers=2"], "--workers is for"),
    ],
)
def test_wrong_usage_is_2_and_asks_nothing(arguments: list[str], says: str) -> None:
    done = ingest("backfill", *arguments)
    assert done.exit_code == 2
    assert says in done.output
    assert files() == {}


def test_a_plan_that_is_none_is_told(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(titles={"movie": month(10)})
    backfill(sandbox)
    (path,) = Path("lake/_plans").iterdir()
    for wrong in (b"", b"{}", b"[]", b'[{"plan_id": 1}]', b"[1]"):
        path.write_bytes(wrong)
        done = backfill(sandbox)
        assert done.exit_code == 1
        assert f"{path} is no plan" in done.stderr
    assert backfill(sandbox, "--replan").exit_code == 0


# Deleting it again


def test_a_backfill_is_purged_with_everything_and_with_no_day(
    stand_in: Callable[..., Sandbox],
) -> None:
    backfill(stand_in(titles={"movie": {FIRST: 250}, "tv": month(150)}))
    landed = {key for key in files() if not key.startswith("_plans/")}
    directory, _, name = min(data(files())).rpartition("/")
    # Of a run that was killed, and of somebody else.
    left = f"{directory}/.{name}.0123456789abcdef.partial"
    foreign = {
        f"{directory}/notes.txt",
        f"{directory}/other_001.json",
        "raw/TMDB/x/movies_001.json",
    }
    for each in (left, *foreign):
        path = Path("lake") / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert ingest("purge", "--before", "2027-01-01", "--yes").exit_code == 0
    assert landed <= files().keys()
    done = ingest("purge", "--all", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert {key for key in files() if not key.startswith("_plans/")} == foreign
    lines = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    deleted = [each["target"] for each in lines if each["status"] == "done"]
    are_manifests = [each.endswith("/_manifest.json") for each in deleted]
    assert are_manifests == sorted(are_manifests, reverse=True)
    assert len(deleted) == len(landed) + 1
