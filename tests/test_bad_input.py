"""Everything that can be wrong outside: one clear line each, and nothing half-written."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from ingest.errors import EventError, SettingsError
from ingest.sandbox import SANDBOX_API_KEY, SANDBOX_TOKEN, Fault
from runs import (
    HANDLER,
    MOVIES,
    SERIES,
    Ended,
    WatchedBucket,
    answer,
    files,
    main,
    manifest_key,
    objects,
    program,
    report,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server


def assert_fails(done: Ended, code: int, *says: str) -> None:
    """It ended with ``code`` and one line that says all of ``says``, and nothing landed."""
    assert done.code == code, done.err
    for words in says:
        assert re.search(words, done.error), done.error
    assert files() == {}


# TMDB


def test_no_network(stand_in: Callable[..., Sandbox]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = variables(stand_in(), TMDB_BASE_URL=f"http://127.0.0.1:{port}/3")
    assert_fails(main(environ), 1, "/discover/movie", "Connection refused", "6 times")


def test_no_such_host(stand_in: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    environ = variables(stand_in(), TMDB_BASE_URL="http://tmdb.invalid/3")
    assert_fails(main(environ), 1, "/discover/movie", "Name or service not known")


@pytest.mark.parametrize(
    ("name", "value"), [("TMDB_ACCESS_TOKEN", "eyJ.wrong"), ("TMDB_API_KEY", "f" * 32)]
)
def test_a_wrong_token_or_key(stand_in: Callable[..., Sandbox], name: str, value: str) -> None:
    sandbox = stand_in(credentials=frozenset({SANDBOX_TOKEN}))
    done = main({"TMDB_BASE_URL": sandbox.base_url, name: value})
    assert_fails(done, 3, "401 Invalid API key", "check TMDB_ACCESS_TOKEN or TMDB_API_KEY")


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("TMDB_ACCESS_TOKEN", SANDBOX_API_KEY, "TMDB_API_KEY"),
        ("TMDB_API_KEY", SANDBOX_TOKEN, "TMDB_ACCESS_TOKEN"),
        ("API_KEY", SANDBOX_TOKEN, "TMDB_ACCESS_TOKEN"),
    ],
)
def test_a_token_in_place_of_a_key_and_the_reverse(
    stand_in: Callable[..., Sandbox], name: str, value: str, other: str
) -> None:
    sandbox = stand_in()
    done = main({"TMDB_BASE_URL": sandbox.base_url, name: value})
    assert_fails(done, 2, f"{name} holds", f"set {other} to it")
    assert sandbox.requests == []


TMDB_FAILURES = [
    pytest.param(Fault("not-json"), 1, "not JSON", id="html"),
    pytest.param(Fault("502"), 1, "HTTP 502 Bad Gateway", id="html-502"),
    pytest.param(Fault("418"), 1, "HTTP 418", id="html-418"),
    pytest.param(Fault("truncated"), 1, "cut short|cannot be decoded", id="truncated"),
    pytest.param(Fault("truncated-json"), 1, "cut short", id="truncated-json"),
    pytest.param(Fault("dropped"), 1, "connection", id="dropped"),
    pytest.param(Fault("null-results"), 1, "page 1: results.*null", id="results-null"),
    pytest.param(Fault("no-id"), 1, "page 1: .*id", id="no-id"),
    pytest.param(Fault("empty-pages"), 1, "no record of movies", id="500-empty-pages"),
    pytest.param(Fault("429"), 1, "HTTP 429 .*6 times", id="always-429"),
    pytest.param(Fault("error", code=46), 1, "503 .*maintenance.*6 times", id="maintenance"),
    pytest.param(Fault("error", code=11), 1, "HTTP 500 .*6 times", id="always-500"),
    pytest.param(Fault("400"), 1, "HTTP 400", id="400"),
    pytest.param(Fault("401"), 3, "HTTP 401", id="401"),
    pytest.param(Fault("403"), 1, "HTTP 403", id="403"),
    pytest.param(Fault("404"), 1, "HTTP 404", id="404"),
    pytest.param(Fault("422"), 1, "HTTP 422", id="422"),
]


@pytest.mark.parametrize(("fault", "code", "says"), TMDB_FAILURES)
def test_an_answer_of_tmdb_that_is_none(
    stand_in: Callable[..., Sandbox], fault: Fault, code: int, says: str
) -> None:
    done = main(variables(stand_in(faults=[fault])))
    assert_fails(done, code, says)


def test_500_empty_pages_are_not_all_asked_for(stand_in: Callable[..., Sandbox]) -> None:
    sandbox = stand_in(faults=[Fault("empty-pages")])
    assert main(variables(sandbox)).code == 1
    assert len(sandbox.requests) <= 10


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_final_answer_is_not_asked_for_again(
    stand_in: Callable[..., Sandbox], status: int
) -> None:
    sandbox = stand_in(faults=[Fault(str(status))])
    main(variables(sandbox))
    asked = [(request.path, *request.query["page"]) for request in sandbox.requests]
    assert len(asked) == len(set(asked))


# The bucket


def test_a_bucket_that_is_missing(stand_in: Callable[..., Sandbox], s3_server: S3Server) -> None:
    sandbox = stand_in()
    done = main(variables(sandbox, **s3_server.environment("nobody-made-this")))
    assert_fails(done, 1, "NoSuchBucket", "s3://nobody-made-this", "check BUCKET_NAME")
    assert sandbox.requests == []


def test_a_bucket_that_knows_no_such_key_pair(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    bucket = rclone_server.new_bucket()
    pair = {"AWS_ACCESS_KEY_ID": "SOMEBODYELSE", "AWS_SECRET_ACCESS_KEY": "another-secret"}
    done = main(variables(stand_in(), **{**rclone_server.environment(bucket), **pair}))
    assert_fails(done, 3, f"s3://{bucket}")
    assert "another-secret" not in done.err


@pytest.mark.parametrize(
    "denied",
    [
        pytest.param({"GET", "PUT", "DELETE", "HEAD", "POST"}, id="everything"),
        pytest.param({"PUT"}, id="writing"),
    ],
)
def test_a_bucket_that_is_forbidden(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, denied: set[str]
) -> None:
    def refuse(method: str, _: str) -> str | None:
        return "AccessDenied" if method in denied else None

    with WatchedBucket(rclone_server, refuse) as bucket:
        done = main(variables(stand_in(), **bucket.environment))
    assert_fails(done, 3, "AccessDenied", "s3:PutObject")
    assert bucket.objects() == {}


def test_a_bucket_that_disappears_between_object_and_manifest(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    def refuse(method: str, key: str) -> str | None:
        gone = method == "PUT" and key.endswith("_manifest.json")
        return "NoSuchBucket" if gone else None

    with WatchedBucket(rclone_server, refuse) as bucket:
        done = main(variables(stand_in(), **bucket.environment))
    assert_fails(done, 1, "NoSuchBucket", "_manifest.json", "check BUCKET_NAME")
    assert bucket.objects().keys() == {MOVIES, SERIES}


def test_a_bucket_that_denies_one_folder_keeps_nothing_of_it(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server
) -> None:
    def refuse(_: str, key: str) -> str | None:
        return "AccessDenied" if "/Series/" in key else None

    with WatchedBucket(rclone_server, refuse) as bucket:
        done = main(variables(stand_in(), **bucket.environment))
    assert_fails(done, 3, "series: .*AccessDenied")
    assert bucket.objects().keys() == {MOVIES, manifest_key(MOVIES)}


def test_one_key_of_a_pair_alone(stand_in: Callable[..., Sandbox]) -> None:
    done = main(variables(stand_in(), BUCKET_NAME="the-lake", AWS_ACCESS_KEY_ID="ONE"))
    assert_fails(done, 2, "AWS_SECRET_ACCESS_KEY is not set")


def test_no_key_pair_anywhere(stand_in: Callable[..., Sandbox]) -> None:
    done = main(variables(stand_in(), BUCKET_NAME="the-lake", REGION_NAME="us-east-1"))
    assert_fails(done, 2, "no S3 credentials", "AWS_ACCESS_KEY_ID")


# The disk

SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import handler
sys.exit(handler.main([]))
"""


def test_a_disk_that_takes_no_more(stand_in: Callable[..., Sandbox]) -> None:
    done = program({**variables(stand_in()), "PYTHONDONTWRITEBYTECODE": "1"}, "-c", SMALL_DISK)
    assert_fails(done, 1, "cannot write 'lake/", "File too large")


def test_a_disk_that_is_full_when_written_through(
    stand_in: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_fails(main(variables(stand_in())), 1, "cannot write 'lake/", "No space left on device")


@pytest.mark.parametrize(
    ("directory", "code", "says"),
    [
        pytest.param("a-file/lake", 1, "cannot [a-z]+ '?a-file/lake", id="below-a-file"),
        pytest.param("a-file", 2, "LOCAL_DIR holds 'a-file'; it should be", id="a-file"),
        pytest.param("/proc/lake", 1, "cannot [a-z]+ '?/proc/lake", id="read-only"),
    ],
)
def test_a_directory_that_cannot_be_written(
    stand_in: Callable[..., Sandbox], directory: str, code: int, says: str
) -> None:
    Path("a-file").write_text("mine")
    done = main(variables(stand_in(), LOCAL_DIR=directory))
    assert_fails(done, code, says)
    assert files(Path()) == {"a-file": b"mine"}


@pytest.mark.parametrize(
    "in_the_way",
    [
        pytest.param(MOVIES, id="object"),
        pytest.param(manifest_key(MOVIES), id="manifest"),
    ],
)
def test_a_copy_that_fails_keeps_the_bucket_uncommitted(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, in_the_way: str
) -> None:
    # A directory in the place of a file: the copy fails there and nowhere before.
    (Path("copy") / in_the_way).mkdir(parents=True)
    Path("event.json").write_text('{"date": "2026-11-20", "datasets": ["movies"]}')
    bucket = rclone_server.new_bucket()
    lake = rclone_server.environment(bucket)
    done = main(variables(stand_in(), LOCAL_DIR="copy", **lake), "event.json")
    assert_fails(done, 1, f"cannot write 'copy/{in_the_way}")
    assert manifest_key(MOVIES) not in objects(rclone_server, bucket)


# Settings and events


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TMDB_RELEASED_UNTIL", "2023-02-30", "YYYY-MM-DD"),
        ("TMDB_RELEASED_UNTIL", "31/12/2023", "YYYY-MM-DD"),
        ("TMDB_RELEASED_UNTIL", "20231231", "YYYY-MM-DD"),
        ("TMDB_GENRES", "comedy", "genre ids"),
        ("TMDB_GENRES", "16,35|18", "genre ids"),
        ("TMDB_GENRES", "\N{ARABIC-INDIC DIGIT ONE}6", "genre ids"),
        ("TMDB_LANGUAGE", "portuguese", "pt-BR"),
        ("TMDB_LANGUAGE", "pt_BR", "pt-BR"),
        ("PARTITION_TIMEZONE", "Mars/Olympus", "America/Sao_Paulo"),
        ("PARTITION_TIMEZONE", "America", "America/Sao_Paulo"),
        ("PARTITION_TIMEZONE", "../../etc/passwd", "America/Sao_Paulo"),
        ("TMDB_MAX_RECORDS", "0", "1 to 100"),
        ("TMDB_MAX_RECORDS", "101", "1 to 100"),
        ("TMDB_MAX_RECORDS", "ten", "1 to 100"),
        ("TMDB_MAX_RECORDS", "-1", "1 to 100"),
        ("TMDB_RATE", "0", "1 to 50"),
        ("TMDB_BASE_URL", "https://api.example.org/4", "ends in /3"),
        ("TMDB_BASE_URL", "api.example.org/3", "http"),
        ("BUCKET_NAME", "s3://lake/raw", "bucket's name"),
        ("RAW_ZONE_PATH", "raw/../other", "prefix"),
        ("ENDPOINT_URL", "localhost:9000", "http"),
        ("OUTPUT_FORMAT", "parquet", "json, jsonl"),
        ("OUTPUT_COMPRESSION", "zip", "none, gzip"),
        ("ALLOW_EMPTY", "maybe", "true or false"),
        ("LOG_LEVEL", "CHATTY", "DEBUG"),
    ],
)
def test_a_wrong_setting_names_itself_what_it_holds_and_what_it_should(
    stand_in: Callable[..., Sandbox], name: str, value: str, says: str
) -> None:
    sandbox = stand_in()
    done = main(variables(sandbox) | {name: value})
    assert_fails(done, 2, f"{name} holds", re.escape(repr(value)), says)
    assert sandbox.requests == []
    assert not Path("lake").exists()


def test_a_genre_that_tmdb_does_not_know_lands_nothing(stand_in: Callable[..., Sandbox]) -> None:
    done = main(variables(stand_in(), TMDB_GENRES="999999"))
    assert_fails(done, 1, "no record of movies", "with_genres=999999", "check the filters")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ([], r"the event is \[\]; it should be a JSON object"),
        ([{}], "should be a JSON object"),
        ("2026-11-20", "the event is '2026-11-20'"),
        (None, "the event is None"),
        (7, "the event is 7"),
        ({"date": "2026-02-30"}, "date is '2026-02-30'.*YYYY-MM-DD"),
        ({"date": 20261120}, "date is 20261120"),
        ({"scheduled_time": "2026-11-20"}, "scheduled_time is '2026-11-20'.*time zone"),
        ({"scheduled_time": "2026-11-20T06:00:00"}, "time zone"),
        ({"scheduled_time": None}, "scheduled_time is None"),
        ({"scheduled_time": "0001-01-01T00:00:00+23:00"}, "scheduled_time"),
        ({"limit": 0}, "limit is 0.*1 to 100"),
        ({"limit": 101}, "limit is 101"),
        ({"limit": True}, "limit is True"),
        ({"limit": "10"}, "limit is '10'"),
        ({"datasets": []}, "datasets"),
        ({"datasets": "movies"}, "datasets is 'movies'"),
        ({"datasets": ["films"]}, "datasets.*films"),
        ({"datasets": [["movies"]]}, "datasets"),
        ({"force": "yes"}, "force is 'yes'"),
        ({"dry_run": 1}, "dry_run is 1"),
        ({"Date": "2026-11-20", "lang": "en"}, "unknown field Date, lang"),
        ({"date": "2026-11-20", "scheduled_time": "2026-11-20T06:00:00Z"}, "both"),
    ],
)
def test_a_wrong_event_is_refused_by_name(
    stand_in: Callable[..., Sandbox], event: Any, says: str
) -> None:
    sandbox = stand_in()
    with pytest.raises(EventError, match=says) as caught:
        answer(event, variables(sandbox))
    assert "\n" not in str(caught.value)
    assert sandbox.requests == []
    assert not Path("lake").exists()


def test_in_lambda_a_wrong_setting_raises_what_python_handler_prints(
    stand_in: Callable[..., Sandbox],
) -> None:
    environ = variables(stand_in(), TMDB_LANGUAGE="portuguese")
    with pytest.raises(SettingsError) as caught:
        report({}, environ)
    assert main(environ).error == f"error: {caught.value}"


def test_a_failure_as_a_program_shows_no_traceback(stand_in: Callable[..., Sandbox]) -> None:
    done = program(variables(stand_in(faults=[Fault("404")])), HANDLER)
    assert_fails(done, 1, "HTTP 404")
