"""What the command says and how it exits when something is wrong: one line, never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer, FaultProxy, Rule
from runs import child_environment, files
from stores import (
    command,
    command_environment,
    contents,
    fill,
    store_of,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from ingest.storage.s3 import S3Store
    from support import S3Server

SECRET = "a-very-secret-key"
FILES = {"a": b"1", "b/c": b"2"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.pacing.Backoff.wait_s", lambda *_: 0.0)


def error(result: Result) -> str:
    """The one line that says what is wrong; nothing is on stdout."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def refuse(path: str, method: str | None = None) -> Rule:
    answer = Answer(status=403, code="AccessDenied", message="No.")
    return Rule(answer, method, path=path, times=None)


# Usage


@pytest.mark.parametrize(
    "words",
    [
        ["sync", "here"],
        ["upload", "here", "s3://b", "more"],
        ["nonsense"],
        ["upload", "here", "s3://b", "--nonsense"],
        ["sync", "here", "s3://b", "--compare", "luck"],
        ["sync", "here", "s3://b", "--max-delete", "-1"],
        ["sync", "here", "s3://b", "--max-delete", "many"],
        ["upload", "here", "s3://b", "--concurrency", "0"],
        ["upload", "here", "s3://b", "--limit-rate", "fast"],
        ["upload", "here", "s3://b", "--limit-rate", "0"],
        ["upload", "here", "s3://b", "--provider", "nobody"],
        ["upload", "here", "s3://b", "--sse", "rot13"],
    ],
)
def test_wrong_words_are_told_and_exit_2(moto_server: S3Server, words: list[str]) -> None:
    told = command(moto_server, *words)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert told.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["upload", "here", "there"], "s3://bucket/prefix"),
        (["upload", "here", "http://b/x"], "s3://bucket/prefix"),
        (["upload", "here", "s3:///x"], "s3://bucket/prefix"),
        (["upload", "here"], "or neither"),
        (["download", "s3://b/x"], "or neither"),
        (["download", "here", "s3://b"], "s3://bucket/prefix"),
        (["ls", "here"], "s3://bucket/prefix"),
        (["cat", "here"], "s3://bucket/prefix"),
        (["cat", "s3://bucket"], "object"),
        (["rm", "s3://bucket"], "object"),
        (["sync", "here", "there"], "store"),
        (["cp", "here/a", "there"], "store"),
        (["cp", "s3://bucket/a", "s3://bucket/a"], "itself"),
        (["mv", "s3://bucket/a", "s3://bucket/a"], "itself"),
        (["mv", "--recursive", "s3://bucket/a", "s3://bucket/a/b"], "itself"),
        (["sync", "--delete", "s3://bucket/a/b", "s3://bucket/a"], "itself"),
        (["upload", "here", "s3://bucket", "--metadata", "name"], "NAME=VALUE"),
        (["upload", "here", "s3://bucket", "--metadata", "=value"], "NAME=VALUE"),
        (["upload", "here", "s3://bucket", "--metadata", "a name=value"], "'a name=value'"),
        (["upload", "here", "s3://bucket", "--metadata", "name=ção"], "ASCII"),
        (["upload", "here", "s3://bucket", "--metadata", "name=a\nb"], "'name=a\\nb'"),
        (["upload", "here", "s3://bucket", "--content-type", "a/b\nc"], "--content-type"),
        (["upload", "here", "s3://bucket", "--storage-class", "A\nB"], "--storage-class"),
        (["upload", "here", "s3://bucket", "--sse-kms-key-id", "ção"], "--sse-kms-key-id"),
        (["upload", "here", "s3://bucket", "--acl", "a\r\nb"], "--acl"),
        (["cp", "here", "s3://bucket/x"], "here names no single file (for a directory:"),
        (["mb", "s3://a b"], "'a b' should be a bucket's name"),
        (["rb", "s3://bucket/key"], "a bucket alone"),
        (["presign", "s3://bucket"], "no object"),
        (["cleanup", "s3://x"], "'x' should be a bucket's name"),
        (["upload", "here", "s3://bucket", "--endpoint-url", "localhost:9000"], "--endpoint-url"),
        (["upload", "here", "s3://bucket", "--endpoint-url", "ftp://x"], "http://"),
        (["upload", "here", "s3://bucket", "--endpoint-url", "http://"], "http://"),
        (["ls", "s3://bucket", "--endpoint-url", "http://x:99999"], "http://"),
        (["upload", "here", "s3://bucket", "--region", "us east"], "--region"),
        (["upload", "here", "s3://bucket", "--profile", "nobody"], "nobody"),
        (["upload", "here", "s3://no bucket!"], "no bucket!"),
        (["ls", "s3://x"], "x"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line_and_exit_2(
    moto_server: S3Server, here: Path, words: list[str], part: str
) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"1", "a/b/c": b"2"})
    told = command(moto_server, *(word.replace("s3://bucket", store.url) for word in words))
    assert part in error(told)
    assert told.exit_code == 2
    assert contents(store) == {"a": b"1", "a/b/c": b"2"}
    assert files(here) == FILES


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"ENDPOINT_URL": "localhost:9000"}, "ENDPOINT_URL"),
        ({"ENDPOINT_URL": f"http://me:{SECRET}@localhost"}, "ENDPOINT_URL"),
        ({"REGION_NAME": "us east"}, "REGION_NAME"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_PROFILE"),
    ],
)
def test_a_wrong_setting_is_named_and_exits_2(
    moto_server: S3Server, here: Path, more: dict[str, str], part: str
) -> None:
    told = command(moto_server, "upload", here, "s3://bucket", **more)
    assert part in error(told)
    assert told.exit_code == 2
    assert SECRET not in told.output


def test_a_dot_env_that_is_no_text_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"ENDPOINT_URL=\xff")
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "buckets"],
        env=child_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: .env cannot be read: it is not UTF-8 text\n"


def test_a_profile_with_an_endpoint_that_is_none_is_one_line_and_exit_2(
    here: Path, tmp_path: Path
) -> None:
    (tmp_path / "no-aws-config").write_text(
        "[profile mine]\nendpoint_url = localhost:9000\n"
        "aws_access_key_id = a\naws_secret_access_key = b\n"
    )
    for words in (["buckets"], ["ls", "s3://bucket"], ["upload", here, "s3://bucket"]):
        told = command(None, *words, "--profile", "mine")
        assert told.exit_code == 2
        assert "'localhost:9000' has no scheme (write http://localhost:9000" in error(told)


def test_a_secret_in_the_endpoint_is_never_shown(moto_server: S3Server, here: Path) -> None:
    url = f"http://me:{SECRET}@127.0.0.1:1"
    told = command(moto_server, "upload", here, "s3://bucket", "--endpoint-url", url)
    assert told.exit_code == 2
    assert SECRET not in error(told)


# Sources


def test_a_source_that_does_not_exist_is_not_found(
    server: S3Server, store: S3Store, tmp_path: Path
) -> None:
    fill(store, {"data2/x": b"sibling"})
    for words in (
        ["upload", "none", store.url],
        ["upload", "none/", store.url],
        ["sync", "none", store.url, "--delete"],
        ["cp", "none", store.url],
        ["cp", "--recursive", "none", store.url],
        ["mv", "none", store.url],
        ["cp", f"{store.url}/data", "made"],
        ["mv", f"{store.url}/data", "made"],
        ["cp", f"{store.url}/data/", "made"],
        ["download", f"{store.url}/data", "made"],
        ["cat", f"{store.url}/data"],
        ["rm", f"{store.url}/data"],
        ["ls", f"{store.url}/data"],
        ["verify", "none", store.url],
    ):
        told = command(server, *words)
        assert told.exit_code == 4, words
        assert ("none" if "none" in words or "none/" in words else "data") in error(told)
        assert words[0] not in {"cp", "mv", "rm"} or "--recursive" in told.stderr + str(words)
    assert contents(store) == {"data2/x": b"sibling"}
    assert not (tmp_path / "made").exists()


def test_an_empty_source_is_nothing_to_do_and_deletes_nothing(
    server: S3Server, store: S3Store, tmp_path: Path, here: Path
) -> None:
    fill(store, {"there": b""})
    (tmp_path / "empty").mkdir()
    for words in (
        ["upload", "empty", store.url],
        ["sync", "empty", store.url],
        ["download", f"{store.url}/nothing/", "made"],
        ["sync", f"{store.url}/nothing/", "made"],
        ["cp", "--recursive", f"{store.url}/nothing/", "made"],
    ):
        told = command(server, *words)
        assert (told.exit_code, told.stdout) == (0, "")
        assert "nothing to do" in told.stderr
    for words in (
        ["sync", f"{store.url}/nothing", "made"],
        ["cp", "--recursive", f"{store.url}/nothing", f"{store.url}/other"],
        ["mv", "--recursive", f"{store.url}/nothing", "made"],
    ):
        told = command(server, *words)
        assert (told.exit_code, told.stdout) == (4, "")
        assert f"there is nothing at {store.url}/nothing" in told.stderr
    for words in (
        ["sync", "--delete", "empty", store.url],
        ["sync", "--delete", f"{store.url}/nothing", str(here)],
    ):
        told = command(server, *words)
        assert told.exit_code == 1
        assert "nothing was deleted" in told.stderr
    assert contents(store) == {"there": b""}
    assert files(here) == FILES


def test_a_file_where_a_directory_is_meant(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    fill(store, {"k": b"1"})
    for words in (
        ["sync", "here/a", store.url],
        ["cp", "--recursive", "here/a", store.url],
        ["download", f"{store.url}/", "here/a"],
        ["sync", store.url, "here/a"],
        ["cp", "here/b", store.url],
    ):
        told = command(moto_server, *words)
        assert told.exit_code in {1, 2}, words
        assert "director" in error(told)
    assert contents(store) == {"k": b"1"}
    assert files(here) == FILES


@pytest.mark.parametrize("words", [["upload", "here", "{}"], ["download", "{}", "made"],
    ["sync", "here", "{}"], ["sync", "{}", "here", "--delete"], ["cp", "here/a", "{}"],
    ["cp", "{}/a", "made"], ["ls", "{}"], ["rm", "--recursive", "{}"],
    ["verify", "here", "{}"]])  # fmt: skip
def test_a_bucket_that_does_not_exist_is_named_and_exits_4(
    server: S3Server, here: Path, words: list[str]
) -> None:
    told = command(server, *(word.format("s3://no-such-bucket-here") for word in words))
    assert told.exit_code == 4
    assert "no-such-bucket-here" in error(told)
    assert files(here) == FILES
    assert not Path("made").exists()


def test_a_prefix_without_a_slash_never_means_its_siblings(
    server: S3Server, store: S3Store, tmp_path: Path
) -> None:
    fill(store, {"data/a": b"1", "data2/b": b"2", "database": b"3"})
    assert command(server, "download", f"{store.url}/data", "made").exit_code == 0
    assert files(tmp_path / "made") == {"a": b"1"}
    assert command(server, "sync", f"{store.url}/data", "made", "--delete").exit_code == 0
    assert command(server, "rm", "--recursive", f"{store.url}/data").exit_code == 0
    assert set(contents(store)) == {"data2/b", "database"}


# The store


@pytest.mark.parametrize("words", [["upload", "here", "{}"], ["download", "{}", "made"],
    ["sync", "here", "{}", "--delete"], ["sync", "{}", "here", "--delete"], ["cp", "here/a", "{}"],
    ["cp", "{}/a", "made"], ["ls", "{}"], ["cat", "{}/a"], ["rm", "{}/a"],
    ["rm", "--recursive", "{}"], ["verify", "here", "{}"]])  # fmt: skip
@pytest.mark.parametrize("wrong", ["secret", "id"])
def test_refused_credentials_exit_3_and_are_never_shown(
    rclone_server: S3Server, here: Path, words: list[str], wrong: str
) -> None:
    store = store_of(rclone_server)
    fill(store, FILES)
    name = {"secret": "AWS_SECRET_ACCESS_KEY", "id": "AWS_ACCESS_KEY_ID"}[wrong]
    told = command(rclone_server, *(word.format(store.url) for word in words), **{name: SECRET})
    line = error(told)
    assert told.exit_code == 3, line
    assert store.bucket in line
    assert rclone_server.endpoint_url in line
    assert SECRET not in told.output or wrong == "id"
    assert rclone_server.access_key.secret_access_key not in told.output
    assert contents(store) == FILES
    assert files(here) == FILES


def test_refused_credentials_exit_3_while_many_are_under_way(
    rclone_server: S3Server, tmp_path: Path
) -> None:
    root = write(tmp_path / "many", {f"f{number}": b"x" for number in range(300)})
    store = store_of(rclone_server)
    environ = command_environment(rclone_server) | {"AWS_SECRET_ACCESS_KEY": SECRET}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-m", "ingest", "upload", root, store.url],
            env=child_environment(environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3, done.stderr
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1


def test_a_wrong_region_says_what_to_set(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    message = "The authorization header is malformed; the region 'a' is wrong; expecting 'b'"
    answer = Answer(status=400, code="AuthorizationHeaderMalformed", message=message)
    with FaultProxy(moto_server.endpoint_url, [Rule(answer, times=None)]) as proxy:
        for words in (["upload", here, store.url], ["ls", store.url], ["sync", store.url, here]):
            told = command(moto_server, *words, endpoint_url=proxy.endpoint_url)
            assert told.exit_code == 1
            assert "--region" in told.stderr
            assert "expecting 'b'" in told.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize("words", [["upload", "here/a", "s3://bucket"], ["ls", "s3://bucket"]])
def test_an_endpoint_that_refuses_is_named(
    moto_server: S3Server, here: Path, words: list[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = command(moto_server, *words, endpoint_url=url)
    assert told.exit_code == 1
    (line, *_) = told.stderr.splitlines()
    assert url in line
    assert "refused" in line.lower()
    assert files(here) == FILES


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["upload", "many", "s3://bucket"], "ingest doctor"),
        (["upload", "many", "s3://bucket", "--endpoint-url", "http://store.invalid"], "address"),
        (["buckets"], "ingest doctor"),
        (["buckets", "--endpoint-url", "http://store.invalid"], "ingest doctor"),
        (["cat", "s3://bucket/key"], "ingest doctor"),
    ],
)
def test_where_nobody_answers_one_line_says_so_however_many_files_there_are(
    moto_server: S3Server, tmp_path: Path, words: list[str], hint: str
) -> None:
    write(tmp_path / "many", {str(number): b"" for number in range(100)})
    told = command(moto_server, *words, endpoint_url=f"http://127.0.0.1:{free_port()}")
    assert told.exit_code == 1
    assert hint in error(told).rpartition("(")[2]


def test_keys_that_may_not_list_the_buckets_are_told_to_name_one(moto_server: S3Server) -> None:
    with FaultProxy(moto_server.endpoint_url, [refuse("/", "GET")]) as proxy:
        told = command(moto_server, "buckets", endpoint_url=proxy.endpoint_url)
    assert told.exit_code == 3
    assert "name one" in error(told)


class _WebSite(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b"<!DOCTYPE html><html><body>It works!</body></html>"
        self.send_response(200 if self.command in {"GET", "HEAD"} else 405)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web_site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _WebSite)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "words",
    [
        ["upload", "here", "s3://bucket"],
        ["ls", "s3://bucket"],
        ["sync", "s3://bucket", "here", "--delete"],
        ["download", "s3://bucket/x/", "made"],
    ],
)
def test_an_endpoint_that_is_not_s3_is_an_error(
    moto_server: S3Server, here: Path, web_site: str, words: list[str]
) -> None:
    told = command(moto_server, *words, endpoint_url=web_site)
    assert told.exit_code == 1
    assert web_site in told.stderr
    assert files(here) == FILES


def test_503_that_does_not_end_is_an_error_of_the_store(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    with FaultProxy(moto_server.endpoint_url, [Rule(Answer(), times=None)]) as proxy:
        told = command(moto_server, "ls", store.url, endpoint_url=proxy.endpoint_url)
        assert told.exit_code == 1
        assert "SlowDown" in error(told)
        assert len(proxy.seen()) > 3
    with FaultProxy(moto_server.endpoint_url, [Rule(Answer(), times=4)]) as proxy:
        told = command(moto_server, "sync", here, store.url, endpoint_url=proxy.endpoint_url)
        assert told.exit_code == 0, told.stderr
    assert contents(store) == FILES


def test_a_listing_that_repeats_itself_with_delete_on_deletes_nothing(
    moto_server: S3Server, here: Path
) -> None:
    store = store_of(moto_server)
    fill(store, FILES)
    page = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>same</NextContinuationToken><Contents><Key>a</Key>"
        "<LastModified>2020-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>"
        "</ListBucketResult>"
    )
    web = _serve_page(page)
    with web as url:
        told = command(moto_server, "sync", store.url, here, "--delete", endpoint_url=url)
    assert told.exit_code == 1
    assert store.bucket in told.stderr
    assert files(here) == FILES


class _serve_page:  # noqa: N801 - used as a function
    """A server that answers every GET with the same text."""

    def __init__(self, text: str) -> None:
        class Page(_WebSite):
            def _answer(self) -> None:
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = _answer  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
