"""What the command tells: before it is done, as it is done, to a person and to a program."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from runs import child_environment, files
from stores import command, command_environment, contents, fill, lines, store_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.storage.s3 import S3Store
    from support import S3Server


FILES = {"a.txt": b"one", "dir/b.csv": b"two,2", "dir/deeper/c": b"", " é+%20'\"": b"x" * 3000}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


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


# On a terminal, and in a pipe


def on_terminal(
    server: S3Server, *words: str | Path, stdout: int | None = None
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the command with a terminal as stderr, and as stdout unless given; return what it shows.

    Without what moves the cursor and colours.
    """
    end, terminal = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        # Linux ends a terminal that nobody has open with an error.
        with contextlib.suppress(OSError):
            while block := os.read(end, 4096):
                seen.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    environ = command_environment(server) | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "ingest", *words],
        env=child_environment(environ),
        stdout=terminal if stdout is None else stdout,
        stderr=terminal,
        text=True,
        check=False,
    )
    os.close(terminal)
    reader.join()
    os.close(end)
    return done, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(seen).decode())


def test_on_a_terminal_there_is_progress(moto_server: S3Server, tmp_path: Path) -> None:
    root = write(tmp_path / "here", {f"f{number}": bytes([number]) * 2048 for number in range(3)})
    store = store_of(moto_server)
    # Slow enough for the rate and the time that is left to be known.
    done, shown = on_terminal(moto_server, "upload", root, store.url, "--limit-rate", "4K")
    assert done.returncode == 0, shown
    assert re.search(r"[12] files? .* KiB of 6\.0 KiB +[0-9.]+ [KiB]+/s +0:00:0[0-9]", shown)
    assert "3 uploaded; 6.0 KiB" in shown
    assert str(root) not in shown
    done, shown = on_terminal(moto_server, "sync", root, f"{store.url}/other")
    assert done.returncode == 0, shown
    assert "3 uploaded" in shown
    # How much of it is to be sent is not known.
    assert "KiB of" not in shown


def test_on_a_terminal_what_is_not_done_has_a_line_of_its_own(
    moto_server: S3Server, here: Path
) -> None:
    (here / "link").symlink_to("a.txt")
    store = store_of(moto_server)
    name = "long" * 50
    write(here, {name: b""})
    _, shown = on_terminal(moto_server, "upload", here, store.url, "--dry-run")
    lines = shown.replace("\r", "\n").splitlines()
    assert f"would upload {here}/{name} -> {store.url}/{name}" in lines
    assert any(line.startswith("skipped: link") for line in lines)


def test_plain_lines_go_where_there_is_no_terminal(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    done, shown = on_terminal(moto_server, "upload", here, store.url, stdout=subprocess.PIPE)
    assert done.returncode == 0, shown
    assert len(done.stdout.splitlines()) == len(FILES)
    assert "4 uploaded" in shown
    piped = command(moto_server, "upload", here, store.url)
    assert sorted(piped.stdout.splitlines()) == sorted(done.stdout.splitlines())
    assert "\x1b" not in piped.output
