"""``python handler.py``: what it prints, its exit codes, ``.env``, event files and Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.sandbox import SANDBOX_TOKEN, Fault
from runs import (
    COMMITTED,
    HANDLER,
    MOVIES,
    SCHEDULED,
    child_environment,
    files,
    main,
    manifest,
    manifest_key,
    program,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

LAST_LINES = re.compile(
    r"^2 landed in .*\n"
    r"dataset +status +records +bytes +consistency +seconds +key\n"
    r"movies +landed +100 +[\d,]+ +consistent +[\d.]+ +\S+/movies_\S+\.json\n"
    r"series +landed +100 +[\d,]+ +consistent +[\d.]+ +\S+/series_\S+\.json\n\Z",
    re.MULTILINE,
)


def test_with_no_settings_at_all_it_says_so_and_lands_the_stand_in_in_a_local_lake() -> None:
    done = program({}, HANDLER)
    assert done.code == 0, done.err
    (said,) = (line for line in done.err.splitlines() if "credentials" in line)
    assert "TMDB_ACCESS_TOKEN" in said
    assert "TMDB_API_KEY" in said
    assert "stand-in" in said
    assert LAST_LINES.search(done.out), done.out
    assert len(files()) == 4
    assert {path.name for path in Path().iterdir()} == {"lake"}


def test_with_a_token_it_says_nothing_of_the_stand_in(stand_in: Callable[..., Sandbox]) -> None:
    done = main(variables(stand_in()))
    assert done.code == 0
    assert "stand-in" not in done.err
    assert LAST_LINES.search(done.out), done.out


# .env


@pytest.mark.parametrize("named", ["TMDB_ACCESS_TOKEN", "TMDB_API_KEY", "API_KEY"])
def test_it_reads_dot_env_of_the_working_directory(
    stand_in: Callable[..., Sandbox], named: str
) -> None:
    mark = "eyJ.marked" if named == "TMDB_ACCESS_TOKEN" else "feedc0de" * 4
    sandbox = stand_in(credentials=frozenset({mark}))
    Path(".env").write_text(f"{named}={mark}\nTMDB_BASE_URL={sandbox.base_url}\nLOCAL_DIR=other\n")
    done = program({}, HANDLER)
    assert done.code == 0, done.err
    assert len(files(Path("other"))) == 4
    assert {request.status for request in sandbox.requests} == {200}


def test_the_environment_wins_over_dot_env(stand_in: Callable[..., Sandbox]) -> None:
    Path(".env").write_text("TMDB_ACCESS_TOKEN=eyJ.of-the-file\nTMDB_LANGUAGE=en\n")
    sandbox = stand_in(credentials=frozenset({SANDBOX_TOKEN}))
    done = program(variables(sandbox), HANDLER)
    assert done.code == 0, done.err
    assert {request.query["language"][0] for request in sandbox.requests} == {"en"}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([HANDLER], id="program"),
        pytest.param(["-c", "import handler; handler.lambda_handler({}, None)"], id="function"),
    ],
)
def test_in_lambda_dot_env_is_never_read(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, arguments: list[str]
) -> None:
    lake = rclone_server.environment(rclone_server.new_bucket())
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in lake.items()))
    done = program(variables(stand_in(), AWS_LAMBDA_FUNCTION_NAME="ingest"), *arguments)
    assert done.code != 0
    assert "BUCKET_NAME is not set" in done.err


# The event file


def test_an_event_file_is_what_the_run_is_asked_for(stand_in: Callable[..., Sandbox]) -> None:
    Path("event.json").write_text(json.dumps(SCHEDULED))
    environ = variables(stand_in())
    assert main(environ, "event.json").code == 0
    assert files().keys() == COMMITTED
    assert manifest(files(), MOVIES)["run_key"] == SCHEDULED["scheduled_time"]
    assert "2 skipped" in main(environ, "event.json").out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", r"the event is \[\]"),
        ("null", "the event is None"),
        ('"today"', "the event is 'today'"),
        ('{"dat": "2026-11-20"}', "unknown field dat"),
        ('{"limit": 101}', "limit is 101"),
    ],
)
def test_a_wrong_event_file_is_one_line_and_exit_code_2(
    stand_in: Callable[..., Sandbox], text: str, says: str
) -> None:
    Path("event.json").write_text(text)
    done = main(variables(stand_in()), "event.json")
    assert done.code == 2
    assert re.search(says, done.error)
    assert not Path("lake").exists()


@pytest.mark.parametrize("arguments", [["missing.json"], ["."], ["--help"], ["a", "b"]])
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments: list[str]) -> None:
    done = main({}, *arguments)
    assert done.code == 2
    assert done.error


# Exit codes


@pytest.mark.parametrize(
    ("fault", "more", "code"),
    [
        pytest.param(Fault("404", path="/discover/tv"), {}, 1, id="one-dataset"),
        pytest.param(Fault("404"), {}, 1, id="both-datasets"),
        pytest.param(Fault("400"), {"TMDB_LANGUAGE": "portuguese"}, 2, id="setting"),
        pytest.param(Fault("401"), {}, 3, id="refused"),
        pytest.param(Fault("401", path="/discover/tv"), {}, 3, id="refused-for-one"),
    ],
)
def test_the_exit_code_tells_what_kind_of_failure_it_was(
    stand_in: Callable[..., Sandbox], fault: Fault, more: dict[str, str], code: int
) -> None:
    done = main(variables(stand_in(faults=[fault]), **more))
    assert done.code == code
    assert done.error


def test_what_landed_is_told_although_the_other_dataset_failed(
    stand_in: Callable[..., Sandbox],
) -> None:
    done = main(variables(stand_in(faults=[Fault("404", path="/discover/tv")])))
    assert re.search(r"^movies +landed +100 ", done.out, re.MULTILINE)
    assert re.search(r"^series +failed +0 ", done.out, re.MULTILINE)
    assert "series: " in done.error


# Ctrl-C


# A shell has what it starts in the background ignore Ctrl-C, tests among it.
HEED_CTRL_C = ("env", "--default-signal=INT")


@pytest.mark.parametrize(
    "hangs",
    [
        pytest.param(Fault("hang", page=5), id="last-pages"),
        pytest.param(Fault("429", page=5, retry_after="300"), id="told-to-wait"),
    ],
)
def test_ctrl_c_ends_it_at_once_with_130_and_no_partial_file(
    stand_in: Callable[..., Sandbox], hangs: Fault
) -> None:
    with subprocess.Popen(
        [*HEED_CTRL_C, sys.executable, HANDLER],
        env=child_environment(variables(stand_in(faults=[hangs]))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr
        assert any("page 4" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        try:
            _, err = running.communicate(timeout=5)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    assert files() == {}


def test_after_ctrl_c_what_had_landed_stays(stand_in: Callable[..., Sandbox]) -> None:
    Path("event.json").write_text(json.dumps(SCHEDULED))
    hangs = Fault("hang", path="/discover/tv")
    with subprocess.Popen(
        [*HEED_CTRL_C, sys.executable, HANDLER, "event.json"],
        env=child_environment(variables(stand_in(faults=[hangs]))),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr
        assert any("movies: landed" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        try:
            running.communicate(timeout=5)
        finally:
            running.kill()
    assert running.returncode == 130
    assert files().keys() == {MOVIES, manifest_key(MOVIES)}
