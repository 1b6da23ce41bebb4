"""How the command ends before it is done: Ctrl-C at any time, and readers that go away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from faultproxy import FaultProxy, Rule, Stall, StallAnswer
from runs import child_environment, files
from stores import command_environment, contents, fill, program, store_of, write
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import S3Server


FILES = {"a.txt": b"one", "dir/b.csv": b"two,2", "dir/deeper/c": b"", " é+%20'\"": b"x" * 3000}
LARGE = 17 << 20


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


# A pipe


def test_a_reader_that_goes_away_is_no_error_to_show(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"large": b"line\n" * 1_000_000})
    with program(moto_server, "cat", f"{store.url}/large") as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == "line\n"
        running.stdout.close()
        assert running.stderr.read() == ""


def test_what_was_written_and_never_read_is_no_error_to_show(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"small": b""})
    with program(moto_server, "ls", store.url) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == ""


@pytest.mark.parametrize("words", [["ls"], ["cat"], ["upload", "here"]])
def test_a_full_disk_behind_stdout_is_one_line(
    moto_server: S3Server, here: Path, words: list[str]
) -> None:
    store = store_of(moto_server)
    fill(store, {"key": b"line\n" * 100_000})
    url = f"{store.url}/key" if words == ["cat"] else store.url
    environ = child_environment(command_environment(moto_server))
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "ingest", *words, url],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "error: cannot use stdout: No space left on device" in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert here.exists()


def test_without_a_stdout_it_does_its_work_all_the_same(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    words = f"exec {sys.executable} -m ingest upload here {store.url} >&- 2>&-"
    environ = child_environment(command_environment(moto_server))
    subprocess.run(["sh", "-c", words], env=environ, cwd=here.parent, check=True)
    assert contents(store) == FILES


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


@pytest.mark.parametrize(
    ("words", "method", "query"),
    [
        ("ls {store}", None, ""),
        ("buckets", None, ""),
        ("cat {store}/a", None, ""),
        ("rm {store}/a", None, ""),
        ("verify here {store}", None, ""),
        ("doctor {store}", None, ""),
        ("doctor {store}", "PUT", ""),
        ("doctor {store}", "DELETE", ""),
        ("mb s3://another", None, ""),
        ("rb --force {store}", None, ""),
        ("cleanup {store}", None, ""),
        ("sync here {store}", "GET", ""),
        ("sync {store} here --delete", "GET", ""),
        ("sync here {store} --compare checksum", "GET", ""),
        ("upload here/large {store}", "GET", "uploads"),
        ("upload here/large {store}", "POST", "uploads"),
        ("upload here/large {store}", "POST", "uploadId"),
        ("download {store}/a made", "HEAD", ""),
        ("download {store}/a made", "GET", ""),
        ("cp {store}/a {store}/b", "PUT", ""),
        ("mv {store}/a {store}/b", "DELETE", ""),
        ("mv --recursive {store}/many {store}/other", "POST", "delete"),
        ("rm --recursive {store}", "POST", "delete"),
        ("rm --recursive {store}", "GET", ""),
    ],
)
def test_ctrl_c_ends_whatever_waits_for_the_store(
    moto_server: S3Server, here: Path, words: str, method: str | None, query: str
) -> None:
    write(here, {"large": os.urandom(LARGE)})
    store = store_of(moto_server)
    there = {"a": b"x"} | {f"many/{number}": b"" for number in range(12)}
    fill(store, there)
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(StallAnswer(threading.Event()), method, query=query, times=None)]
        url = proxy.endpoint_url
        asked = words.format(store=store.url).split()
        with program(moto_server, *asked, endpoint_url=url) as running:
            interrupted(
                running,
                lambda: proxy.wait_until(lambda: any(each.failed_by for each in proxy.seen())),
            )
    assert set(there) <= set(contents(store)) or "rm" in asked or "mv" in asked
    assert files(here) == FILES | {"large": (here / "large").read_bytes()}
    assert not (here.parent / "made").exists()


def test_ctrl_c_ends_it_while_it_is_still_loading(tmp_path: Path) -> None:
    # The first that is loaded of others, and one that a command loads.
    for name, words in (("click", ["--help"]), ("botocore", ["ls", "s3://bucket"])):
        modules = write(tmp_path / name, {f"{name}/__init__.py": HANGS})
        environ = {"PYTHONPATH": f"{modules}:{REPOSITORY}"}
        with subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-m", "ingest", *words],
            env=child_environment(environ),
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stderr
            assert running.stderr.readline() == "loading\n"
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=10)
        assert (running.returncode, err) == (130, "interrupted\n")


HANGS = b"""
import sys, threading
print("loading", file=sys.stderr, flush=True)
threading.Event().wait(60)
"""


def test_ctrl_c_ends_it_where_nobody_reads_what_it_writes(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"large": b"line\n" * 1_000_000})
    with program(moto_server, "cat", f"{store.url}/large") as running:
        try:
            assert running.stdout
            assert running.stderr
            assert running.stdout.read(1) == "l"
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=10) == 130
            assert running.stderr.read() == "interrupted\n"
        finally:
            running.kill()


def test_in_the_background_of_a_script_ctrl_c_is_not_heeded(
    moto_server: S3Server, here: Path
) -> None:
    store = store_of(moto_server)
    with FaultProxy(moto_server.endpoint_url) as proxy:
        stall = Stall(threading.Event())
        proxy.rules = [Rule(stall, "PUT", path="/a.txt")]
        environ = child_environment(command_environment(moto_server, proxy.endpoint_url))
        with subprocess.Popen(
            [
                "env",
                "--ignore-signal=INT",
                sys.executable,
                "-m",
                "ingest",
                "upload",
                here,
                store.url,
            ],
            env=environ,
            stdout=subprocess.DEVNULL,
        ) as running:
            proxy.wait_until(lambda: bool(proxy.seen("PUT", "/a.txt")))
            running.send_signal(signal.SIGINT)
            stall.release.set()
            assert running.wait(timeout=30) == 0
    assert contents(store) == FILES


DEAF = """
import sys, threading
from ingest.cli import main, running

def wait(*_):
    while True:
        try:
            print("waiting", file=sys.stderr, flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            pass

running._shown = wait
sys.argv = ["ingest", "upload", "here", "s3://bucket"]
main()
"""


def test_ctrl_c_ends_it_even_where_it_is_not_heard(moto_server: S3Server, here: Path) -> None:
    with subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-c", DEAF],
        env=child_environment(command_environment(moto_server)),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stderr
            assert running.stderr.readline() == "waiting\n"
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=10) == 130
            assert running.stderr.read().splitlines()[-1] == "interrupted"
        finally:
            running.kill()
    assert here.exists()


ELSEWHERE = """
import signal, sys, threading
from ingest.cli import main, running

def wait(*_):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    print("waiting", file=sys.stderr, flush=True)
    threading.Event().wait()

running._shown = wait
sys.argv = ["ingest", "upload", "here", "s3://bucket"]
main()
"""


def test_ctrl_c_is_heard_where_the_main_thread_is_not_woken_by_it(
    moto_server: S3Server, here: Path
) -> None:
    with subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-c", ELSEWHERE],
        env=child_environment(command_environment(moto_server)),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stderr
            assert running.stderr.readline() == "waiting\n"
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=10) == 130
            # It was not merely cut off.
            assert "left to do" in running.stderr.read()
        finally:
            running.kill()
    assert here.exists()
